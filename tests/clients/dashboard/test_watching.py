"""Pages and streams that stay open while runs come and go: neither a page nor the server grows. TESTS_LONG=1: for an hour."""

import contextlib
import http.client
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import threading
import time
from pathlib import Path

import requests

from dashboard.test_dashboard import HERE, environment
from harness.api import Api
from harness.server import Server

LONG = os.environ.get("TESTS_LONG") == "1"
# TESTS_WATCH_S is another length of the long form.
SECONDS = int(os.environ.get("TESTS_WATCH_S", "3600")) if LONG else 12
WARM_S = 300 if LONG else 4
EVERY_S = 60 if LONG else 4
# The pause between two runs. Each has four events.
PAUSE_S = 2 if LONG else 0.25
KEPT_RUNS = 12
WAITING = 200 if LONG else 60
REPLAYED = 0 if LONG else 100
STREAMS = 1_000
MIB = 1 << 20


class Traffic:
    """Runs that come and go, each followed to its end by two programs, and programs that wait for a run."""

    def __init__(self, project, waiting):
        self.project, self.waiting = project, waiting
        self.is_over = threading.Event()
        self.events, self.beats = itertools.count(), itertools.count()
        self.faults = []
        self.streams = []

    def __enter__(self):
        headers = {"Authorization": self.waiting.project.token, "Accept": "text/event-stream"}
        url = f"{self.waiting.api.url}{self.waiting.path}/status"
        for _ in range(WAITING):
            self.streams.append(requests.get(url, headers=headers, stream=True, timeout=120))
            assert self.streams[-1].status_code == 200
        self.thread = threading.Thread(target=self.go_on)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        for stream in self.streams:
            stream.close()

    def go_on(self):
        runs = []
        try:
            while not self.is_over.wait(PAUSE_S):
                runs.append(self.project.run(0.9))
                followers = [threading.Thread(target=self.follow, args=[runs[-1]]) for _ in range(2)]
                for follower in followers:
                    follower.start()
                for follower in followers:
                    follower.join()
                if len(runs) > KEPT_RUNS:
                    assert runs.pop(0).delete().status_code == 204
        except (AssertionError, OSError) as error:
            self.faults.append(repr(error))

    def follow(self, run):
        headers = {"Authorization": self.project.token, "Accept": "text/event-stream"}
        url = f"{run.api.url}{run.path}/status"
        with requests.get(url, headers=headers, stream=True, timeout=120) as stream:
            said = [line for line in stream.iter_lines(decode_unicode=True) if line.startswith("data: ")]
        for _ in said:
            next(self.events)
        if json.loads(said[-1][6:])["state"] != "completed":
            self.faults.append(said[-1])


def resident(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def watch(scene, server):
    """Plays the scene; returns its measurements, each with the server's resident memory."""
    command = ["node", HERE / "watching.mjs"]
    found = []
    with subprocess.Popen(
        command, env=environment(scene), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as browser:
        try:
            for line in browser.stdout:
                found.append({**json.loads(line), "server": resident(server)})
                print(json.dumps(found[-1]), flush=True)
            assert browser.wait(timeout=60) == 0, browser.stderr.read()[-4_000:]
        finally:
            browser.kill()
    return found


def test_neither_a_page_nor_the_server_grows(tmp_path, admin, capsys):
    chance = random.Random(int(os.environ.get("TESTS_SEED", "1")))
    with Server(tmp_path, *admin.flags) as server, Api(server.url) as api:
        project, empty = api.project("groups"), api.project("groups")
        receipt = [project.upload_binary(party, [chance.randbytes(128) for _ in range(100)]) for party in (0, 1)][0]
        waiting = empty.run(0.9)
        address = lambda of, token: f"{server.origin}/#token={token}&project={of.id}"
        pages = {
            "project": (project, project.token),
            "receipt": (project, receipt),
            "upload": (empty, empty.update_tokens[0]),
        }
        scene = {
            "root": f"{server.origin}/",
            "ops": f"http://127.0.0.1:{server.ops_port}/",
            "pages": {name: {"url": address(of, token), "token": token, "project": of.id} for name, (of, token) in pages.items()},
            "admin": admin.token,
            "warm_s": WARM_S,
            "seconds": SECONDS,
            "every_s": EVERY_S,
            "replayed": REPLAYED,
        }
        for _ in range(KEPT_RUNS):
            project.run(0.9).complete()
        begun = server.cpu_ticks()
        with capsys.disabled() if LONG else contextlib.nullcontext(), Traffic(project, waiting) as traffic:
            start = time.monotonic()
            found = watch(scene, server)
            took = time.monotonic() - start
            print(f"{next(traffic.events)} events of runs, {(server.cpu_ticks() - begun) / took:.1f} % of a processor")
        assert not traffic.faults, traffic.faults
    first, last = found[0], found[-1]
    assert last["s"] - first["s"] >= SECONDS - WARM_S - EVERY_S - 1
    # A part that was just replaced may still be there at one moment; what leaks is there at every later one.
    latest = found[-5:] if LONG else found[1:]
    for page in [*pages, "operator", *(["replayed"] if REPLAYED else [])]:
        before, after = first[page], {name: min(one[page][name] for one in latest) for name in first[page]}
        assert after["heap"] < before["heap"] + MIB // 2, (page, found)
        assert after["nodes"] < before["nodes"] + 500, (page, found)
        assert after["listeners"] <= before["listeners"] + 5, (page, found)
    for page in ("project", "operator", *(["replayed"] if REPLAYED else [])):
        assert last[page]["changes"] > first[page]["changes"], (page, found)
    assert last["server"] < first["server"] + 16 * MIB, found


def latency(api):
    """The median time of a small request."""
    times = []
    for _ in range(200):
        begun = time.monotonic()
        assert api.get("/status").status_code == 200
        times.append(time.monotonic() - begun)
    return statistics.median(times)


def test_a_thousand_open_streams_take_less_than_32_mib(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(4_096, limits[1])), limits[1]))
    with Server(tmp_path, "--connections-per-address-max", "2000") as server, Api(server.url) as api, contextlib.ExitStack() as open_:
        waiting = api.project("groups").run(0.9)
        headers = {"Authorization": waiting.project.token, "Accept": "text/event-stream"}
        before, alone = resident(server), latency(api)
        for _ in range(STREAMS):
            stream = http.client.HTTPConnection(server.host, server.port, timeout=60)
            open_.callback(stream.close)
            stream.request("GET", f"/api/v1{waiting.path}/status", headers=headers)
            answer = stream.getresponse()
            assert answer.status == 200, answer.read(500)
            # The first event: the state of the run.
            assert answer.readline().startswith(b"data: ") or answer.readline().startswith(b"data: ")
        taken, beside = resident(server) - before, latency(api)
    with capsys.disabled():
        print(f"{STREAMS} streams: {taken / MIB:.1f} MiB; a request takes {alone * 1e3:.2f} ms, beside them {beside * 1e3:.2f} ms")
    assert taken < 32 * MIB
