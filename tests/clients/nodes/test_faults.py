"""Nodes that are killed, stopped and cut off while they link: this costs time, but changes no answer."""

import os
import random
import signal
import time

import pytest
from harness.api import Api
from harness.nodes import LEASE_MS, cluster
from harness.server import Server
from harness.wait import until

from harness import linkages

LONG = os.environ.get("TESTS_LONG") == "1"
FAULTS = 200 if LONG else 8
BIG_ROWS = 1_500


@pytest.fixture(scope="module")
def seed():
    return int(os.environ["TESTS_SEED"])


def big_cases(seed):
    """Linkages that take long enough to be disturbed, in many small parts."""
    return [case for case in linkages.cases(seed, BIG_ROWS) if case[1] != "permutations"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, seed):
    cases = big_cases(seed)
    with Server(tmp_path_factory.mktemp("whole")) as server, Api(server.url) as api:
        return cases, [linkages.outcome(linkages.start(api, case), case) for case in cases]


def kill_worker(rng, node, workers):
    worker = rng.choice(workers)
    worker.kill()
    time.sleep(rng.uniform(0, 0.5))
    worker.start()


def pause_worker(rng, node, workers):
    worker = rng.choice(workers)
    worker.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    worker.signal(signal.SIGCONT)


def partition_worker(rng, node, workers):
    """Partitions a worker until its leases have expired, and then reconnects it."""
    worker = rng.choice(workers)
    worker.signal(signal.SIGSTOP)
    time.sleep(1.5 * LEASE_MS / 1_000)
    worker.signal(signal.SIGCONT)


def kill_api(rng, node, workers):
    node.kill()
    time.sleep(rng.uniform(0, 0.5))
    node.__enter__()


def pause_api(rng, node, workers):
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    node.process.send_signal(signal.SIGCONT)


FAULT_KINDS = [kill_worker, pause_worker, kill_api, pause_api, partition_worker]


def test_faults_change_no_answer(tmp_path, seed, expected):
    cases, answers = expected
    rng = random.Random(seed)
    done = {kind.__name__: 0 for kind in FAULT_KINDS}
    flags = ("--comparisons-per-job", "50000")
    with cluster(tmp_path, flags=flags) as (node, workers):
        while sum(done.values()) < FAULTS:
            with node.client() as api:
                case_number = rng.randrange(len(cases))
                run = linkages.start(api, cases[case_number])
                for kind in rng.sample(FAULT_KINDS, 2):
                    time.sleep(rng.uniform(0, 1.0))
                    kind(rng, node, workers)
                    done[kind.__name__] += 1
                assert linkages.outcome(run, cases[case_number], 180) == answers[case_number]
        print("\n".join(f"{kind:20} {count}" for kind, count in done.items()))
        assert node.admin("GET", "queue/jobs", params={"state": "dead"})["jobs"] == []


def test_a_worker_keeps_its_outcome_while_no_node_answers(tmp_path, seed, expected):
    cases, answers = expected
    with cluster(tmp_path, workers=1, flags=("--comparisons-per-job", "50000")) as (node, [worker]):
        with node.client() as api:
            run = linkages.start(api, cases[0])
            time.sleep(0.3)
            node.kill()
            until(lambda: "cannot claim" in worker.said(), "the worker notices")
            node.__enter__()
            assert linkages.outcome(run, cases[0], 120) == answers[0]
        worker.wait_until_said("claiming jobs again")
