"""`/metrics` as a monitor reads it: with Prometheus's own parser, before and after a linkage."""

import math
import random
import re

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from harness.api import Api
from harness.server import Server
from harness.wait import until

# A part of the name of every sample that belongs to a histogram.
HISTOGRAM = ("_bucket", "_count", "_sum")
# The metrics that monitoring needs: a family, the labels of one of its series, and its minimum.
WANTED = [
    ("entityd_http_requests_total", {"listener": "api", "route": "/api/v1/projects", "method": "POST", "status": "201"}, 3),
    ("entityd_http_requests_total", {"listener": "api", "route": "none", "status": "404"}, 1),
    ("entityd_http_requests_total", {"listener": "s3", "route": "/{bucket}/{key}", "status": "403"}, 1),
    ("entityd_http_requests_total", {"listener": "ops", "route": "/metrics", "status": "200"}, 1),
    ("entityd_http_requests_total", {"listener": "ops", "route": "/admin/queue", "status": "401"}, 1),
    ("entityd_http_request_duration_seconds_count", {"listener": "api", "route": "/api/v1/projects", "method": "POST"}, 3),
    ("entityd_http_requests_in_progress", {}, 1),
    ("entityd_http_requests_limited_total", {"limit": "uploads"}, 1),
    ("entityd_uploads_total", {"form": "json", "outcome": "accepted"}, 6),
    ("entityd_upload_bytes_total", {}, 1_000),
    ("entityd_spool_bytes", {}, 0),
    ("entityd_queue_jobs", {"queue": "compute", "state": "ready"}, 0),
    ("entityd_queue_oldest_ready_job_age_seconds", {"queue": "compute"}, 0),
    ("entityd_queue_wait_duration_seconds_count", {"queue": "ingest"}, 6),
    ("entityd_queue_wait_duration_seconds_count", {"queue": "compute"}, 6),
    ("entityd_queue_wait_duration_seconds_count", {"queue": "highmemory"}, 3),
    ("entityd_oldest_lease_age_seconds", {}, 0),
    ("entityd_jobs_total", {"kind": "compare", "outcome": "done"}, 3),
    ("entityd_comparisons_total", {}, 30_000),
    ("entityd_comparisons_per_second", {}, 1),
    ("entityd_candidate_pairs_total", {}, 1),
    ("entityd_run_stage_duration_seconds_count", {"result_type": "groups", "stage": "waiting"}, 1),
    ("entityd_run_stage_duration_seconds_count", {"result_type": "groups", "stage": "comparing"}, 1),
    ("entityd_run_stage_duration_seconds_count", {"result_type": "permutations", "stage": "finalizing"}, 1),
    ("entityd_run_duration_seconds_count", {"result_type": "similarity_scores", "outcome": "completed"}, 1),
    ("entityd_object_store_call_duration_seconds_count", {"operation": "stream"}, 3),
    ("entityd_metadata_call_duration_seconds_count", {"operation": "update"}, 10),
    ("entityd_disk_free_bytes", {}, 1),
    ("entityd_build_info", {}, 1),
    ("process_resident_memory_bytes", {}, 1 << 20),
    ("process_open_fds", {}, 3),
    ("process_cpu_seconds_total", {}, 0.01),
]


def datasets(records):
    """The same encodings twice."""
    rng = random.Random(1)
    return [[rng.randbytes(32) for _ in range(records)]] * 2


class Figures:
    """One scrape of `/metrics`."""

    def __init__(self, server):
        response = requests.get(f"http://{server.host}:{server.ops_port}/metrics", timeout=60)
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.text = response.text
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name, labels):
        """Returns the sum of the series that have these labels; None if none has."""
        wanted = labels.items()
        found = [s.value for s in self.samples if s.name == name and wanted <= s.labels.items()]
        return sum(found) if found else None

    def lacks(self):
        """Returns the wanted series that are missing or too low."""
        found = [(wanted, self.value(*wanted[:2])) for wanted in WANTED]
        return [wanted for wanted, value in found if value is None or value < wanted[2]]

    def growing(self):
        """Returns every value that may only grow, by series."""
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in self.families
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """A server that has linked once in each way, its metrics in between and at the end, and every id and token."""
    flags = ("--comparisons-per-job", "1000000")
    with Server(tmp_path_factory.mktemp("entityd"), *flags, environment={"ENTITYD_RATE_LIMIT_UPLOADS": "1:6"}) as server:
        with Api(server.url) as api:
            secrets, looks = [], [Figures(server)]
            for result_type in ("groups", "permutations", "similarity_scores"):
                project = api.project(result_type)
                for party, encodings in enumerate(datasets(100)):
                    secrets.append(project.upload_encodings(party, encodings))
                run = project.run()
                run.complete()
                assert run.get_result().status_code == 200
                secrets += [project.id, project.token, *project.update_tokens, run.id]
                looks.append(Figures(server))
            while project.post_clks(0, {"clks": []}).status_code != 503:
                pass
            assert api.get("/no/such/thing").status_code == 404
            requests.get(f"http://{server.host}:{server.s3_port}/uploads/{project.id}", timeout=60)
            requests.get(f"http://{server.host}:{server.ops_port}/admin/queue", timeout=60)
            # The last job is counted after its run.
            until(lambda: not (last := Figures(server)).lacks() and looks.append(last) is None, "everything is counted")
        yield looks, secrets


def test_every_metric_that_monitoring_needs_is_there(linked):
    last = linked[0][-1]
    assert not last.lacks(), (last.lacks(), last.text)


def test_every_family_is_described_once(linked):
    for figures in linked[0]:
        lines = figures.text.splitlines()
        for word in ("HELP", "TYPE"):
            named = [line.split()[2] for line in lines if line.startswith(f"# {word} ")]
            assert len(named) == len(set(named)), word
        for family in figures.families:
            assert family.documentation.endswith("."), family
            assert family.type in ("counter", "gauge", "histogram"), family


def test_no_series_is_repeated_and_no_label_holds_an_id_or_a_token(linked):
    looks, secrets = linked
    for figures in looks:
        series = [(sample.name, *sorted(sample.labels.items())) for sample in figures.samples]
        assert len(series) == len(set(series))
        assert all(secret not in figures.text for secret in secrets)
        values = [value for sample in figures.samples for value in sample.labels.values()]
        assert not [value for value in values if re.search(r"[0-9a-f]{8}", value)]


def test_histograms_add_up(linked):
    histograms = [family for family in linked[0][-1].families if family.type == "histogram"]
    assert len(histograms) >= 6
    for family in histograms:
        by_series = {}
        for sample in family.samples:
            part = next(part for part in HISTOGRAM if sample.name == family.name + part)
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            found = by_series.setdefault(tuple(sorted(labels.items())), {"_bucket": []})
            if part == "_bucket":
                found[part].append((float(sample.labels["le"]), sample.value))
            else:
                found[part] = sample.value
        for series, found in by_series.items():
            bounds, counts = zip(*found["_bucket"], strict=True)
            assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf, (family.name, series)
            assert list(counts) == sorted(counts), (family.name, series, counts)
            assert counts[-1] == found["_count"] > 0, (family.name, series)
            assert found["_sum"] >= 0


def test_counters_only_grow(linked):
    looks = linked[0]
    for before, after in zip(looks, looks[1:], strict=False):
        earlier, later = before.growing(), after.growing()
        for series, value in earlier.items():
            assert later.get(series, -1) >= value, series


def test_a_run_counts_once(linked):
    last = linked[0][-1]
    for result_type, stages in (("groups", 3), ("permutations", 3), ("similarity_scores", 2)):
        labels = {"result_type": result_type}
        assert last.value("entityd_run_duration_seconds_count", labels) == 1
        assert last.value("entityd_run_stage_duration_seconds_count", labels) == stages
        # A run's stages follow each other without a gap.
        whole = last.value("entityd_run_duration_seconds_sum", labels)
        assert last.value("entityd_run_stage_duration_seconds_sum", labels) == pytest.approx(whole, abs=1e-5)


def test_a_wait_in_the_queue_is_measured(tmp_path):
    with Server(tmp_path, "--queues", "ingest=1") as server, Api(server.url) as api:
        project = api.project("groups")
        for party, encodings in enumerate(datasets(10)):
            project.upload_encodings(party, encodings)
        run = project.run()
        until(lambda: run.get_status().json()["state"] == "queued", "the run is queued")
        age = lambda: Figures(server).value("entityd_queue_oldest_ready_job_age_seconds", {"queue": "compute"})
        until(lambda: (age() or 0) >= 1.9, "the wait is shown")
        figures = Figures(server)
        assert figures.value("entityd_queue_wait_duration_seconds_count", {"queue": "compute"}) is None
    with Server(tmp_path) as server, Api(server.url) as api:
        waits = lambda: Figures(server).value("entityd_queue_wait_duration_seconds_count", {"queue": "compute"})
        until(lambda: waits() is not None, "the job is claimed")
        waited = Figures(server).value("entityd_queue_wait_duration_seconds_sum", {"queue": "compute"})
        assert waited >= 1.9, "the time in which the server was stopped counts"
