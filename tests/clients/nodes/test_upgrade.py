"""A rolling upgrade under load, and back: nodes of two versions serve and compute beside each other, and no request is lost."""

import os
import random
import signal
import threading
from pathlib import Path

import pytest
from harness.api import Api, assert_problem
from harness.fleet import SpreadApi, fleet
from harness.nodes import ApiNode, WorkerNode
from harness.persistent import delete, linked
from harness.redis import needs_redis
from harness.server import BINARY, STOP_S, Server
from harness.wait import until

from harness import linkages

OLD = os.environ.get("ENTITYD_OLD_BIN")
pytestmark = [needs_redis, pytest.mark.skipif(not OLD, reason="ENTITYD_OLD_BIN names no binary of an earlier version")]
ROWS = 600


class Load(threading.Thread):
    """Linkages one after the other, each compared with the right answer."""

    def __init__(self, nodes, cases, expected, seed):
        super().__init__()
        self.nodes, self.cases, self.expected, self.rng = nodes, cases, expected, random.Random(seed)
        self.is_over, self.error, self.done = threading.Event(), None, 0

    def run(self):
        try:
            with SpreadApi(self.nodes) as api:
                while not self.is_over.is_set():
                    number = self.rng.randrange(len(self.cases))
                    run, result = linked(api, self.cases[number])
                    assert result == self.expected[number], self.cases[number][0]
                    delete(run.project)
                    self.done += 1
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.join()

    def goes_on(self, count=2):
        """Waits until more linkages are complete."""
        before = self.done
        until(lambda: self.error or self.done >= before + count, "linkages go on", 120)
        assert self.error is None, self.error


def replace(node, binary):
    """Drains a node, and starts it with another binary."""
    node.process.send_signal(signal.SIGTERM)
    code = node.process.wait(timeout=STOP_S)
    assert code == 0, (code, node.tail())
    node.binary = binary
    node.__enter__()


@pytest.mark.parametrize("first", ["api", "worker"])
def test_a_rolling_upgrade_and_back_loses_nothing(tmp_path, first):
    seed = int(os.environ["TESTS_SEED"])
    cases = [case for case in linkages.cases(seed, ROWS) if case[1] != "permutations"]
    (tmp_path / "whole").mkdir()
    with Server(tmp_path / "whole") as server, Api(server.url) as api:
        expected = [linkages.outcome(linkages.start(api, case), case) for case in cases]
    flags = ("--comparisons-per-job", "50000")
    with fleet(tmp_path, flags=flags, binary=Path(OLD)) as (_, nodes, workers):
        with Load(nodes, cases, expected, seed) as load:
            load.goes_on()
            order = [*nodes, *workers] if first == "api" else [*workers, *nodes]
            for nodes_in_turn, binary in ((order, BINARY), (order[::-1], Path(OLD))):
                for node in nodes_in_turn:
                    replace(node, binary)
                    load.goes_on()
        assert load.error is None, load.error
        assert nodes[0].admin("GET", "queue/jobs", params={"state": "dead"})["jobs"] == []
        for worker in workers:
            assert "the API node rejects" not in worker.said(), worker.tail()
        print(f"{load.done} linkages")


def test_a_worker_of_the_old_version_finishes_a_run_without_its_scores(tmp_path):
    seed = int(os.environ["TESTS_SEED"])
    case = next(case for case in linkages.cases(seed, ROWS) if case[1] == "groups")
    with fleet(tmp_path, binary=Path(OLD)) as (_, nodes, workers):
        for node in nodes:
            replace(node, BINARY)
        with SpreadApi(nodes) as api:
            run = linkages.start(api, case, scores=True)
            groups = linkages.outcome(run, case)
            assert_problem(run.get_result(params={"scores": "true"}), 409, "older version")
            for worker in workers:
                replace(worker, BINARY)
            again = run.project.run(case[4], scores=True)
            assert linkages.outcome(again, case) == groups
            assert again.get_result(params={"scores": "true"}).json()["scores"]


@pytest.mark.parametrize(("of_node", "of_worker"), [(OLD, BINARY), (BINARY, OLD), (BINARY, BINARY)])
def test_a_small_run_is_one_job_where_both_versions_know_that(tmp_path, of_node, of_worker):
    """The API node has its own database, so that no other node gets the outcome."""
    seed = int(os.environ["TESTS_SEED"])
    cases = [case for case in linkages.cases(seed, ROWS) if case[1] == "groups"]
    (tmp_path / "whole").mkdir()
    with Server(tmp_path / "whole") as server, Api(server.url) as api:
        expected = [linkages.outcome(linkages.start(api, case), case) for case in cases]
    node = ApiNode(tmp_path / "api")
    node.binary = Path(of_node)
    with node:
        worker = WorkerNode(tmp_path / "worker", [node.join_url], node.join_token())
        worker.binary = Path(of_worker)
        with worker, node.client() as api:
            assert [linkages.outcome(linkages.start(api, case), case) for case in cases] == expected
            assert "the API node rejects" not in worker.said(), worker.tail()
            is_one_job = of_node == of_worker
            assert is_one_job == ('entityd_jobs_total{kind="compare"' not in worker.ops("/metrics").text)
