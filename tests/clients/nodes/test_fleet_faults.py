"""A schedule of faults over every engine and every kind of node, drawn from the seed: this costs time, but changes no answer."""

import collections
import concurrent.futures
import contextlib
import inspect
import os
import random
import signal
import threading
import time

import pytest
from harness.api import Api
from harness.fleet import SpreadApi, fleet
from harness.link import Link, is_possible
from harness.nodes import LEASE_MS, LIBFAKETIME, WorkerNode, changed, clock
from harness.persistent import PATIENCE_S, delete, linked
from harness.postgres import Cutter
from harness.redis import ask, needs_redis
from harness.server import Server
from harness.wait import until

from harness import linkages

pytestmark = needs_redis
LONG = os.environ.get("TESTS_LONG") == "1"
FAULTS = 200 if LONG else 8
ROWS = 800
OUTAGE_S = 30 if LONG else 3
STEP_S = 20 if LONG else 5
JOB_STEPS = [
    f"{kind}{moment}"
    for kind in ("ingest", "plan", "compare", "finalize")
    for moment in ("", ".opened", ".done", ".published")
    if moment != ".opened" or kind == "compare"
]
API_STEPS = ["body", "spooled.done", "spooled.published", "spooled.reported", "purge", "purge.published"]
API_STEPS += [f"{kind}.reported" for kind in ("ingest", "plan", "compare", "finalize", "purge")]


@pytest.fixture(scope="module")
def seed():
    return int(os.environ["TESTS_SEED"])


class Scene:
    """What faults act on."""

    def __init__(self, seed, engines, nodes, workers, link):
        self.rng = random.Random(seed)
        self.engines, self.nodes, self.workers, self.link = engines, nodes, workers, link
        self.steps = collections.Counter()
        self.is_linked = threading.Event()

    def until_it_ends(self, process, step):
        """Waits for the process that ends itself at a step, unless the linkage ends first."""
        with contextlib.suppress(AssertionError):
            until(lambda: process.poll() is not None or self.is_linked.is_set(), "it reaches the step", STEP_S)
        self.steps[step if process.poll() is not None else "no step"] += 1


def revive(node, may_abort=False):
    """Starts an API node until it serves, as a supervisor would: its engines may be unavailable. With `may_abort`, it may
    reach a breakpoint before it serves."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return node.__enter__()
        except AssertionError:
            if may_abort and node.process.returncode == -signal.SIGABRT:
                return node
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def pause(process, seconds):
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def kill_api(scene):
    node = scene.rng.choice(scene.nodes)
    node.kill()
    time.sleep(scene.rng.uniform(0, 1))
    revive(node)


def pause_api(scene):
    pause(scene.rng.choice(scene.nodes).process, scene.rng.uniform(0.1, 1.5))


def silence_api(scene):
    """Longer than a lease, and longer than other nodes wait for it: they take over what it holds."""
    pause(scene.rng.choice(scene.nodes).process, 18 if LONG else 1.5 * LEASE_MS / 1_000)


def kill_api_at_a_step(scene):
    node, step = scene.rng.choice(scene.nodes), scene.rng.choice(API_STEPS)
    node.kill()
    with changed(node, ENTITYD_BREAKPOINT=step):
        revive(node, may_abort=True)
    yield
    scene.until_it_ends(node.process, step)
    node.kill()
    revive(node)


def kill_worker(scene):
    worker = scene.rng.choice(scene.workers)
    worker.kill()
    time.sleep(scene.rng.uniform(0, 0.5))
    worker.start()


def pause_worker(scene):
    pause(scene.rng.choice(scene.workers).process, scene.rng.uniform(0.1, 1.5))


def expire_worker(scene):
    """Its lease is over when it continues, and others have its jobs."""
    pause(scene.rng.choice(scene.workers).process, 1.5 * LEASE_MS / 1_000)


def kill_worker_at_a_step(scene):
    """The other workers are dead meanwhile, so that this one reaches the step."""
    one, step = scene.rng.choice(scene.workers), scene.rng.choice(JOB_STEPS)
    for worker in scene.workers:
        worker.kill()
    with changed(one, ENTITYD_BREAKPOINT=step):
        one.start()
    yield
    scene.until_it_ends(one.process, step)
    one.kill()
    for worker in scene.workers:
        worker.start()


def shift_clock(scene):
    """A node whose clock is a day behind or ahead of the others, until it is killed."""
    node = scene.rng.choice([*scene.nodes, *scene.workers])
    node.kill()
    with changed(node, **clock(scene.rng.choice(["-1d", "+1d"]))):
        revive(node) if node in scene.nodes else node.start()


def slow_link(scene):
    scene.link.set(delay_s=0.2, loss=0.05)
    time.sleep(10 if LONG else 2)
    scene.link.set()


def partition_worker(scene):
    """Nothing passes until the worker's leases are over; it continues to compute."""
    scene.link.set(loss=1)
    time.sleep(scene.rng.uniform(1.2, 2) * LEASE_MS / 1_000)
    scene.link.set()


def restart_postgres(scene):
    scene.engines.postgres.stop(scene.rng.choice([signal.SIGINT, signal.SIGKILL]))
    time.sleep(scene.rng.uniform(0, 1))
    scene.engines.postgres.start()


def stop_postgres(scene):
    if scene.rng.random() < 0.5:
        scene.engines.postgres.stop(signal.SIGINT)
        time.sleep(OUTAGE_S)
        scene.engines.postgres.start()
    else:
        go_on = scene.engines.postgres.freeze()
        time.sleep(OUTAGE_S)
        go_on()


def cut_commits(scene):
    scene.engines.cutter.share = 0.4
    time.sleep(scene.rng.uniform(1, 3))
    scene.engines.cutter.behave()


def restart_redis(scene):
    leader, other = scene.engines.sentinels.settle()
    behind = scene.rng.choice([None, leader])
    server = other if behind else leader
    server.kill()
    scene.engines.sentinels.start(server, behind)


def kill_redis(scene):
    """The master stays away until its replica has taken over."""
    leader, other = scene.engines.sentinels.settle()
    leader.kill()
    scene.engines.sentinels.until_leader(other)
    scene.engines.sentinels.start(leader, other)


def fail_over_redis(scene):
    _, other = scene.engines.sentinels.settle()
    watcher = scene.engines.sentinels.watchers[0]

    def begins():
        with contextlib.suppress(OSError):
            return "OK" in ask(watcher.port, "SENTINEL", "FAILOVER", "queue")

    # A Sentinel refuses this for some seconds after another fail-over.
    until(begins, "it begins", 180)
    scene.engines.sentinels.until_leader(other)


def split_redis(scene):
    """The old master answers again as a master for some seconds, beside the new one."""
    leader, other = scene.engines.sentinels.settle()
    leader.signal(signal.SIGSTOP)
    try:
        scene.engines.sentinels.until_leader(other)
    finally:
        leader.signal(signal.SIGCONT)
    time.sleep(scene.rng.uniform(1, 5))


def flush_redis(scene):
    leader, _ = scene.engines.sentinels.settle()
    ask(leader.port, "FLUSHALL")


def roll_back_redis(scene):
    """Both servers begin again with a copy of the master's files that is some seconds old."""
    leader, other = scene.engines.sentinels.settle()
    copy = leader.saved()
    time.sleep(scene.rng.uniform(0.5, 3))
    other.kill()
    leader.kill()
    leader.settings = ()
    leader.go_back(copy)
    scene.engines.sentinels.start(other, leader)


def pause_store(scene):
    pause(scene.engines.store.process, scene.rng.uniform(0.1, 1.5))


def deny_store(scene):
    scene.engines.proxy.refuse(503, "SlowDown") if scene.rng.random() < 0.5 else scene.engines.proxy.hang()
    time.sleep(scene.rng.uniform(2, 8 if LONG else 3))
    scene.engines.proxy.behave()


def slow_store(scene):
    scene.engines.proxy.slow(scene.rng.uniform(0.1, 0.5))
    time.sleep(3)
    scene.engines.proxy.behave()


NODE_KINDS = [kill_api, pause_api, silence_api, kill_api_at_a_step, kill_worker, pause_worker, expire_worker, kill_worker_at_a_step]
ENGINE_KINDS = [
    restart_postgres, stop_postgres, cut_commits, restart_redis, kill_redis, fail_over_redis, split_redis, flush_redis,
    roll_back_redis, pause_store, deny_store, slow_store,
]
if LIBFAKETIME.exists():
    NODE_KINDS.append(shift_clock)
if is_possible():
    NODE_KINDS += [slow_link, partition_worker]


def schedule_of(rng):
    """Pairs of a fault of a node and one of an engine, each kind about as often as any other."""
    shuffled = lambda kinds: (kind for _ in iter(int, 1) for kind in rng.sample(kinds, len(kinds)))
    nodes, engines = shuffled(NODE_KINDS), shuffled(ENGINE_KINDS)
    done = 0
    while done < FAULTS:
        yield next(nodes), next(engines)
        done += 2


@contextlib.contextmanager
def afar(seed, nodes, folder):
    """A worker behind a link, if this machine allows one."""
    if not is_possible():
        yield None, []
        return
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(Link(seed))
        ways = [stack.enter_context(Cutter(node.worker_port, seed, 0, link.outside)) for node in nodes]
        urls = [f"http://{link.outside}:{way.port}" for way in ways]
        worker = WorkerNode(folder, urls, nodes[0].join_token(), within=link.command())
        stack.enter_context(worker)
        worker.wait_until_said("no telemetry")
        yield link, [worker]


def test_faults_of_every_kind_change_no_answer(tmp_path, seed):
    print(f"TESTS_SEED={seed}")
    rng = random.Random(seed)
    cases = [case for case in linkages.cases(seed, ROWS) if case[1] != "permutations"]
    (tmp_path / "whole").mkdir()
    with Server(tmp_path / "whole") as server, Api(server.url) as api:
        expected = [linkages.outcome(linkages.start(api, case), case) for case in cases]
    done, began = collections.Counter(), time.monotonic()
    flags = ("--comparisons-per-job", "50000")
    with fleet(tmp_path, flags=flags, seed=seed) as (engines, nodes, workers), SpreadApi(nodes) as api:
        with afar(seed, nodes, tmp_path / "afar") as (link, more):
            scene = Scene(seed, engines, nodes, workers + more, link)
            pool = concurrent.futures.ThreadPoolExecutor(2)
            for kinds in schedule_of(rng):
                case, names = rng.randrange(len(cases)), " ".join(kind.__name__ for kind in kinds)
                scene.is_linked.clear()
                faults = [pool.submit(act) for act in [begun(scene, kind) for kind in kinds]]
                since = time.monotonic()
                run, result = linked(api, cases[case])
                took = time.monotonic() - since
                scene.is_linked.set()
                for fault in faults:
                    fault.result()
                done.update(kind.__name__ for kind in kinds)
                print(f"{time.monotonic() - began:6.0f} s  {cases[case][0]:26} {took:5.1f} s  {names}", flush=True)
                assert result == expected[case], (cases[case][0], names)
                counted_once(engines, run)
                delete(run.project)
            print("\n".join(f"{kind.__name__:22} {done[kind.__name__]}" for kind in NODE_KINDS + ENGINE_KINDS))
            print("killed at", dict(scene.steps), "commits cut", engines.cutter.cuts, "packets lost", link and link.lost)
            until(lambda: has_no_dead_jobs(nodes[0]), "no job was given up")
            left = lambda: [key for key in engines.store.keys_in("internal") if "/projects/" in key]
            until(lambda: not left(), "the objects of deleted projects go", 120)


def begun(scene, kind):
    """Returns the fault to be done beside a linkage; its part up to a `yield` is done now."""
    pause_s = scene.rng.uniform(0, 1.5)
    if not inspect.isgeneratorfunction(kind):
        return lambda: (time.sleep(pause_s), kind(scene))
    steps = kind(scene)
    next(steps)
    return lambda: list(steps)


def counted_once(engines, run):
    """Checks that a run has counted each comparison once."""
    columns = "state, comparisons, comparisons_total"
    [found] = engines.postgres.sql("fleet", f"SELECT {columns} FROM entityd.entityd_runs WHERE run_id = '{run.id}'")
    state, comparisons, total = found.split("|")
    assert (state, comparisons) == ("completed", total), found


def has_no_dead_jobs(node):
    # The queue may still recover from the last fault.
    with contextlib.suppress(AssertionError, OSError):
        return node.admin("GET", "queue/jobs", params={"state": "dead"})["jobs"] == []


def test_attempts_are_counted_although_the_queue_is_lost_after_each(tmp_path, seed):
    """A job that always fails ends its run after three attempts, with Redis flushed between them."""
    case = next(linkages.cases(seed, 60))
    with fleet(tmp_path, nodes=1, workers=0) as (engines, [node], _), node.client() as api:
        panics = {"ENTITYD_BREAKPOINT": "compare#"}
        with WorkerNode(tmp_path / "worker", [node.join_url], node.join_token(), environment=panics):
            run = linkages.start(api, case)
            said = lambda words: node.log.read_text(errors="replace").count(words)
            for attempt in (1, 2):
                until(lambda: said("job failed and will be retried") >= attempt, "an attempt fails", 120)
                ask(engines.sentinels.leader()[0].port, "FLUSHALL")
            until(lambda: run.get_status().json()["state"] == "error", "the run has failed", 120)
            until(lambda: said("job failed and will not be retried"), "it is logged")
            assert said("job failed and will be retried") == 2 and said("job failed and will not be retried") == 1
