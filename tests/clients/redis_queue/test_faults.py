"""Linkages whose jobs are in Redis, while Redis is killed, stopped, flushed, rolled back and failed over."""

import random
import time

import pytest

from harness.api import Api
from harness.redis import Redis, Sentinels, ask, needs_redis
from harness.server import Server
from harness.wait import until

pytestmark = needs_redis

# Some hundred short jobs.
PER_JOB = 20_000
FLAGS = ["--comparisons-per-job", str(PER_JOB), "--lease-ms", "5_000"]
# The fault meets a run that is not complete.
SLOW = {"ENTITYD_SLOW_MS": "compare=30"}
THRESHOLD = 0.8


def people(seed, count=2_000):
    rng = random.Random(seed)
    first = [rng.randbytes(128) for _ in range(count)]
    second = [rng.randbytes(128) for _ in range(count)]
    second[: count // 2] = first[: count // 2]
    rng.shuffle(second)
    return first, second


def upload(api, parties):
    project = api.project()
    for party, encodings in enumerate(parties):
        project.upload_binary(party, encodings)
    return project


@pytest.fixture(scope="module")
def parties():
    return people(15)


@pytest.fixture(scope="module")
def right(parties, tmp_path_factory):
    """The result of the embedded queue, byte for byte."""
    with Server(tmp_path_factory.mktemp("embedded"), *FLAGS) as server, Api(server.url) as api:
        run = upload(api, parties).run(THRESHOLD)
        run.complete()
        return run.get_result().content


def until_comparing(run, beyond=0):
    """Waits until the run has made more comparisons than `beyond`, or is complete; returns their number."""

    def compared():
        status = run.get_status().json()
        assert status["state"] != "error", status
        stage = status["current_stage"]["number"]
        done = status["current_stage"].get("progress", {}).get("absolute", 0)
        return stage > 2 or status["state"] == "completed" or (stage == 2 and done > beyond and done)

    return until(compared, "the run compares")


def kill(redis, _):
    redis.restart()


def stop(redis, _):
    redis.stop_for(6)


def flush(redis, _):
    ask(redis.port, "FLUSHALL")


def go_back(redis, saved):
    redis.go_back(saved)


@pytest.mark.parametrize("fault", [kill, stop, flush, go_back])
def test_a_linkage_survives(fault, parties, right, tmp_path):
    with Redis(tmp_path / "redis") as redis, Server(tmp_path, "--queue", redis.url, *FLAGS, environment=SLOW) as server:
        with Api(server.url) as api:
            project = upload(api, parties)
            run = project.run(THRESHOLD)
            until_comparing(run)
            saved = redis.saved() if fault is go_back else None
            if saved:
                # Some jobs are claimed and acknowledged after the copy: it is older than the queue.
                until_comparing(run, until_comparing(run) + 10 * PER_JOB)
            time.sleep(random.random() / 2)
            fault(redis, saved)
            run.complete()
            assert run.get_result().content == right
            # The next linkage is not affected.
            again = project.run(THRESHOLD)
            again.complete()
            assert again.get_result().content == right
        lost = "the queue in Redis is lost" in server.log.read_text()
        assert lost == (fault in (flush, go_back)), server.tail()


def test_a_failover_loses_nothing(parties, right, tmp_path):
    with Sentinels(tmp_path) as redis, Server(tmp_path, "--queue", redis.url, *FLAGS) as server:
        with Api(server.url) as api:
            run = upload(api, parties).run(THRESHOLD)
            until_comparing(run)
            redis.master.kill()
            run.complete()
            assert run.get_result().content == right
            said = lambda: api.session.get(f"http://127.0.0.1:{server.ops_port}/readyz?verbose", timeout=60).text
            wanted = (f"127.0.0.1:{redis.replica.port}", "of 3 Sentinels")
            until(lambda: (text := said()) and all(words in text for words in wanted), "the new master is described")


def test_a_killed_server_continues_after_a_restart(parties, right, tmp_path):
    with Redis(tmp_path / "redis") as redis:
        server = Server(tmp_path, "--queue", redis.url, *FLAGS)
        with server, Api(server.url) as api:
            run = upload(api, parties).run(THRESHOLD)
            until_comparing(run)
            server.process.kill()
            server.process.wait()
            server.__enter__()
            run.complete()
            assert run.get_result().content == right
