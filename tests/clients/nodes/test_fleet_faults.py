"""A schedule of faults over every engine and every kind of node, drawn from the seed: this costs time, but changes no answer."""

import os
import random
import signal
import time

import pytest
from harness.api import Api
from harness.fleet import fleet
from harness.redis import ask, needs_redis
from harness.server import Server
from harness.wait import until

from harness import linkages

pytestmark = needs_redis
FAULTS = 200 if os.environ.get("TESTS_LONG") == "1" else 7
ROWS = 800


@pytest.fixture(scope="module")
def seed():
    return int(os.environ["TESTS_SEED"])


def pause(process, rng):
    process.send_signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1.5))
    process.send_signal(signal.SIGCONT)


def kill_api(rng, engines, nodes, workers):
    # The client uses the first node.
    nodes[1].kill()
    nodes[1].__enter__()


def pause_api(rng, engines, nodes, workers):
    pause(rng.choice(nodes).process, rng)


def kill_worker(rng, engines, nodes, workers):
    worker = rng.choice(workers)
    worker.kill()
    worker.start()


def pause_worker(rng, engines, nodes, workers):
    pause(rng.choice(workers).process, rng)


def restart_postgres(rng, engines, nodes, workers):
    engines.postgres.stop(rng.choice([signal.SIGINT, signal.SIGKILL]))
    time.sleep(rng.uniform(0, 1))
    engines.postgres.start()


def flush_redis(rng, engines, nodes, workers):
    for server in (engines.sentinels.master, engines.sentinels.replica):
        if "role:master" in ask(server.port, "INFO", "replication"):
            ask(server.port, "FLUSHALL")


def pause_store(rng, engines, nodes, workers):
    pause(engines.store.process, rng)


KINDS = [kill_api, pause_api, kill_worker, pause_worker, restart_postgres, flush_redis, pause_store]


def started(api, case):
    """Begins a linkage, and begins again if that meets a fault."""
    for _ in range(20):
        try:
            return linkages.start(api, case)
        except (AssertionError, OSError):
            time.sleep(0.5)
    raise AssertionError("no linkage could be begun")


def finished(run, case):
    """Returns the outcome, and repeats the request until there is a response."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return linkages.outcome(run, case, 60)
        except (AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_faults_of_every_kind_change_no_answer(tmp_path, seed):
    print(f"TESTS_SEED={seed}")
    rng = random.Random(seed)
    cases = [case for case in linkages.cases(seed, ROWS) if case[1] != "permutations"]
    (tmp_path / "whole").mkdir()
    with Server(tmp_path / "whole") as server, Api(server.url) as api:
        expected = [linkages.outcome(linkages.start(api, case), case) for case in cases]
    done = {kind.__name__: 0 for kind in KINDS}
    schedule = []
    while len(schedule) < FAULTS:
        schedule += rng.sample(KINDS, len(KINDS))
    flags = ("--comparisons-per-job", "50000")
    with fleet(tmp_path, flags=flags) as (engines, nodes, workers), nodes[0].client() as api:
        while schedule:
            number = rng.randrange(len(cases))
            run = started(api, cases[number])
            for kind in [schedule.pop() for _ in range(min(2, len(schedule)))]:
                time.sleep(rng.uniform(0, 0.7))
                kind(rng, engines, nodes, workers)
                done[kind.__name__] += 1
            assert finished(run, cases[number]) == expected[number], (cases[number][0], done)
        print("\n".join(f"{kind:20} {count}" for kind, count in done.items()))
        until(lambda: dead_jobs(nodes[0]) == [], "no job was given up")


def dead_jobs(node):
    return node.admin("GET", "queue/jobs", params={"state": "dead"})["jobs"]
