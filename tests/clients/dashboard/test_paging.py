"""A result on the page of its run: each page shows its rows, and the last one comes as quickly as the first (TESTS_LONG=1: of
1,000,000 rows); the charts are what the library answers. Lists of jobs, likewise (TESTS_LONG=1: of 10,000)."""

import json
import os
import random
import re
import statistics
import time

import pytest
import requests

from harness.api import Api
from harness.oracle import Answer
from harness.server import Server
from harness.wait import until

LONG = os.environ.get("TESTS_LONG") == "1"
PAGE_S = 0.1
SIZE = 128


@pytest.fixture(scope="module")
def chance():
    seed = int(os.environ.get("TESTS_SEED") or random.randrange(1 << 32))
    print(f"TESTS_SEED={seed}")
    return random.Random(seed)


def plain(answer):
    """The text of a page; numbers and what they belong to are on one line of it."""
    return answer.text.replace("\xa0", " ")


def timed(session, url, token):
    """The text of a page, and the best time of three, or of more if all are slow: others use the machine, too."""
    times = []
    while len(times) < 3 or (min(times) >= PAGE_S and len(times) < 100):
        begun = time.monotonic()
        answer = session.get(url, headers={"Authorization": token}, timeout=60)
        times.append(time.monotonic() - begun)
        assert answer.status_code == 200, answer.text[:500]
    return plain(answer), min(times)


def test_pages_of_a_result(tmp_path, chance):
    side = 1_000 if LONG else 250
    with Server(tmp_path) as server, Api(server.url) as api, requests.Session() as session:
        project = api.project("similarity_scores")
        for party in (0, 1):
            project.upload_binary(party, [chance.randbytes(SIZE) for _ in range(side)])
        run = project.run(0.1)
        scores = run.result(timeout_s=300)["similarity_scores"]
        assert len(scores) == side * side
        last = (len(scores) - 1) // 50
        times = []
        for page in [0, 1, last // 2, last, *(chance.randrange(last) for _ in range(6))]:
            view = f"{server.origin}/dashboard/view{run.path}/result?page={page}"
            text, took = timed(session, view, project.token)
            times.append(took)
            rows = [tuple(row) for row in table(text, "Table of the result")]
            expected = enumerate(scores[50 * page : 50 * page + 50], 50 * page)
            assert rows == [(f"{at:,}", str(a[1]), str(b[1]), repr(score)) for at, (a, b, score) in expected]
        print(f"{len(scores)} results: median {statistics.median(times):.4f} s, slowest {max(times):.4f} s")
        assert max(times) < PAGE_S


def test_pages_of_groups_have_the_scores_that_were_kept(server, api, chance):
    people = [chance.randbytes(SIZE) for _ in range(130)]
    for parties in (2, 3):
        project = api.project("groups", parties=parties)
        for party in range(parties):
            project.upload_binary(party, [row[:-1] + bytes([party]) for row in people[party:]])
        run = project.run(0.8, scores=True)
        run.complete()
        result = run.get_result(params={"scores": "true"}).json()
        for page in range(3):
            view = f"{server.origin}/dashboard/view{run.path}/result?page={page}"
            text = plain(requests.get(view, headers={"Authorization": project.token}, timeout=60))
            rows = [tuple(row) for row in table(text, "Table of the result")]
            expected = []
            for at in range(50 * page, min(50 * page + 50, len(result["groups"]))):
                records = {dataset: str(record) for dataset, record in result["groups"][at]}
                pairs = [(f"{a[0]}–{b[0]}: ", repr(score)) for a, b, score in result["scores"][at]]
                shown = pairs[0][1] if len(pairs) == 1 else ", ".join(name + score for name, score in pairs)
                expected.append((str(at), *(records.get(dataset, "–") for dataset in range(parties)), shown))
            assert rows == expected and rows


def table(text, name):
    """The rows of a table of a view."""
    found = re.search(rf'aria-label="{name}">.*?<tbody>(.*?)</tbody>', text, re.S)
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in found[1].split("</tr>") if row.strip()]


@pytest.mark.parametrize(("kind", "parties"), [("groups", 2), ("groups", 4), ("similarity_scores", 2)])
def test_higher_thresholds_are_shown_as_the_library_would_answer(server, api, chance, kind, parties):
    people = [[chance.random() < 0.3 for _ in range(256)] for _ in range(60)]

    def encoding(bits):
        bits = [bit != (chance.random() < 0.03) for bit in bits]
        return int("".join("01"[bit] for bit in bits), 2).to_bytes(32)

    datasets = [[encoding(bits) for bits in people] for _ in range(parties)]
    project = api.project(kind, parties=parties)
    for party, dataset in enumerate(datasets):
        project.upload_encodings(party, dataset)
    run = project.run(0.75)
    run.complete()
    view = requests.get(f"{server.origin}/dashboard/view{run.path}/charts", headers={"Authorization": project.token}, timeout=60)
    rows = table(view.text, "Table of higher thresholds")
    assert [row[0] for row in rows] == ["0.75", *(f"0.{at}" for at in range(76, 100)), "1.00"]
    for label, pairs, groups in rows[::4]:
        answer = Answer(datasets, float(label))
        assert int(groups) == len([group for group in answer.groups() if len(group) > 1]), label
        if kind == "similarity_scores":
            assert int(pairs) == len(answer.scores()), label
    # Groups of one size are described in a sentence.
    assert view.text.count("<svg") == (1 if re.search("(Each of the [0-9]+ groups|The group) has", view.text) else 2)


def test_pages_of_jobs(tmp_path, admin, chance):
    """The jobs of a paused queue are listed once each, in the order of their sequences."""
    count = 10_000 if LONG else 250
    with Server(tmp_path, *admin.flags) as server, Api(server.url) as api, requests.Session() as session:
        queues = f"http://127.0.0.1:{server.ops_port}/admin/queue"
        session.headers.update(admin.headers)
        paused = session.post(f"{queues}/pause", json={"queue": "compute"}, timeout=60)
        assert paused.status_code == 204, paused.text
        project = api.project("groups")
        for party in (0, 1):
            project.upload_binary(party, [chance.randbytes(SIZE)])
        runs = [project.run(0.5).id for _ in range(count)]
        until(lambda: session.get(queues, timeout=60).json()["queues"]["compute"]["ready"] == count, "all jobs", 120)
        found, after, times = [], 0, []
        while page := json.loads((answer := timed(session, f"{queues}/jobs?queue=compute&after={after}", admin.headers["Authorization"]))[0])["jobs"]:
            found += page
            after = page[-1]["sequence"]
            times.append(answer[1])
        assert sorted(job["group"].split("/")[-1] for job in found) == sorted(runs)
        sequences = [job["sequence"] for job in found]
        assert sequences == sorted(sequences)
        print(f"{len(found)} jobs: median {statistics.median(times):.4f} s, slowest {max(times):.4f} s")
        assert max(times) < PAGE_S
