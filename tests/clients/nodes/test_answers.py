"""An API node and two workers give the answers of one process, byte for byte."""

import os
import random

import pytest
import requests
from harness.api import Api
from harness.nodes import ApiNode, WorkerNode, cluster
from harness.server import Server
from harness.upload import upload
from harness.wait import until

from harness import linkages


@pytest.fixture(scope="module")
def seed():
    return int(os.environ["TESTS_SEED"])


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.fixture(scope="module")
def split(nodes):
    with nodes[0].client() as api:
        yield api


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("whole")) as server, Api(server.url) as api:
        yield api


def test_every_kind_of_result_is_that_of_one_process(split, whole, seed):
    cases = list(linkages.cases(seed))
    runs = [[linkages.start(api, case) for case in cases] for api in (split, whole)]
    for case, far, near in zip(cases, *runs):
        assert linkages.outcome(far, case) == linkages.outcome(near, case), case[0]


def test_the_scores_within_groups_are_those_of_one_process(split, whole, seed):
    cases = [case for case in linkages.cases(seed) if case[1] == "groups"]
    runs = [[linkages.start(api, case, scores=True) for case in cases] for api in (split, whole)]
    for case, far, near in zip(cases, *runs):
        assert linkages.outcome(far, case) == linkages.outcome(near, case), case[0]
        answers = [run.get_result(params={"scores": "true"}) for run in (far, near)]
        assert answers[0].json()["scores"] and answers[0].content == answers[1].content, case[0]


def test_files_of_clients_are_read_by_workers(nodes, whole, seed):
    # The S3 client of the tests does not trust a self-signed certificate.
    with cluster(nodes[0].folder.parent / "plain", workers=1, tls=False) as (node, _), node.client() as api:
        results = []
        for one in (api, whole):
            project = linkages.through_the_store(one, random.Random(seed))
            results.append(project.run(0.8).result(timeout_s=120))
        assert results[0] == results[1]


def test_objects_of_many_pieces_are_transferred_whole(split, whole, seed):
    """A matrix of more than a piece, and a result that is sent in parts."""
    rng = random.Random(seed)
    results = []
    wide, few = [rng.randbytes(1024) for _ in range(9_000)], [rng.randbytes(1024) for _ in range(30)]
    for api in (split, whole):
        project = api.project("similarity_scores")
        upload(project, 0, "binary", wide)
        upload(project, 1, "binary", few)
        run = project.run(0.3)
        run.complete(180)
        results.append(run.get_result().content)
    assert results[0] == results[1] and len(results[0]) > 9_000_000, len(results[0])


def test_the_work_is_done_by_workers_alone(nodes, split, seed):
    node, workers = nodes
    case = next(iter(linkages.cases(seed)))
    linkages.outcome(linkages.start(split, case), case)
    # A job is counted after its run, and a late heartbeat shows a worker as silent for a moment.
    counts = lambda: any('entityd_jobs_total{kind="plan"' in worker.ops("/metrics").text for worker in workers)
    until(counts, "a worker has counted a job")
    wanted = ('entityd_nodes{role="worker",state="joined"} 2', 'entityd_queue_backlog_seconds{queue="compute"} 0',
              'entityd_node_info{role="api"')
    url = f"{node.scheme}://127.0.0.1:{node.ops_port}/metrics"
    metrics = lambda: node.client().session.get(url, verify=str(node.certificate)).text
    until(lambda: (text := metrics()) and all(words in text for words in wanted), "the workers are counted")
    assert not any(f'entityd_jobs_total{{kind="{kind}"' in metrics() for kind in ("plan", "compare", "finalize"))
    ready = workers[0].ops("/readyz?verbose")
    assert ready.status_code == 200 and "role: worker" in ready.text, ready.text
    assert workers[0].ops("/admin/queue").status_code == 404


def test_nothing_of_a_deleted_project_stays_on_a_worker(nodes, seed, tmp_path):
    node, _ = nodes
    with cluster(tmp_path, workers=1, worker_flags=("--maintenance-every-ms", "1000")) as (node, [worker]):
        with node.client() as api:
            case = next(iter(linkages.cases(seed)))
            run = linkages.start(api, case)
            linkages.outcome(run, case)
            cache = worker.folder / "data" / "cache"
            assert list(cache.iterdir())
            assert run.project.delete().status_code == 204
            until(lambda: not list(cache.iterdir()), "the copies go")
            until(lambda: not list((worker.folder / "data" / "spool").iterdir()), "the spool is empty")


def test_a_queue_that_no_worker_serves_is_named(tmp_path):
    with ApiNode(tmp_path / "api") as node:
        said = lambda: requests.get(f"http://127.0.0.1:{node.ops_port}/readyz?verbose", timeout=60).text
        assert "no node serves: ingest, compute, highmemory (" in said(), said()
        token = node.join_token()
        with WorkerNode(tmp_path / "some", [node.join_url], token, "--worker-queues", "compute") as worker:
            worker.wait_until_said("no telemetry")
            assert "no node serves: ingest, highmemory (" in said(), said()
            with WorkerNode(tmp_path / "rest", [node.join_url], token) as rest:
                rest.wait_until_said("no telemetry")
                assert "no node serves" not in said(), said()


def test_a_worker_drains_and_others_take_over(tmp_path, seed):
    with cluster(tmp_path, workers=1) as (node, [worker]), node.client() as api:
        [known] = node.workers()
        assert (known["state"], known["threads"]) == ("joined", 1)
        node.admin("POST", "nodes/drain", json={"node": known["node"]})
        case = next(iter(linkages.cases(seed)))
        run = linkages.start(api, case)
        assert until(lambda: node.workers()[0]["state"] == "drained", "it drains")
        assert run.get_status().json()["state"] in ("created", "queued")
        token = node.join_token(keep_s=0)
        with WorkerNode(tmp_path / "other", [node.join_url], token):
            linkages.outcome(run, case)
        worker.kill()
        node.admin("POST", "nodes/forget", json={"node": known["node"]})
        assert known["node"] not in [found["node"] for found in node.workers()]
