#!/usr/bin/env python3
"""Compares runs on workers, which join an API node, with runs in one process.

    cargo build --release && python3 tests/bench/nodes.py [RECORDS [THRESHOLD]] [--repeat N] [--json FILE]

Links 2 x RECORDS (100,000) encodings of people (128 bytes, made by clkhash) at THRESHOLD (0.7) into groups, with

- one process with one thread, and with all threads (role all),
- an API node with one worker with one thread, and with one such worker per core,
- an API node with one worker with all threads, over TLS,

in turns. Prints the median time between the creation of the run and its end, the processor time of API nodes and of workers in
it, and the ratios of these times. All processes share one machine, so that the API node uses some of its cores.
"""

import argparse
import http.client
import json
import os
import signal
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import data

CORES = os.cpu_count() or 2
# The time between two questions about a run, in seconds. A question takes some 2 ms of the cores that are measured.
PAUSE = 0.1


class Node:
    """A process in one role. It prints its addresses at the start."""

    def __init__(self, folder, flags):
        Path(folder).mkdir(parents=True)
        command = [data.BINARY, "serve", "--data-dir", f"{folder}/data", "--ops-listen", "127.0.0.1:0", *flags]
        self.log = open(f"{folder}/log", "wb")
        self.folder = folder
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.banner = []
        for line in self.process.stdout:
            self.banner.append(line)
            if "no telemetry" in line:
                return
        raise SystemExit(Path(f"{folder}/log").read_text())

    def said(self, label):
        return next(line.split(label)[1].split()[0] for line in self.banner if line.strip().startswith(label))

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def connected(url):
    scheme, address = url.rstrip("/").split("://")
    if scheme == "https":
        return http.client.HTTPSConnection(address, timeout=600, context=ssl._create_unverified_context())
    return http.client.HTTPConnection(address, timeout=600)


def ask(url, method, path, token=None, body=None, headers=None):
    connection = connected(url)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = token
    if isinstance(body, dict):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    assert response.status < 300, text[:500]
    return text


def link(api, nodes, datasets, threshold):
    """Links two datasets; returns the seconds of the run, and the processor time of the last node and of the others."""
    call = lambda *rest, **named: json.loads(ask(api, *rest, **named))
    created = call("POST", "/api/v1/projects", body={"schema": {}, "result_type": "groups"})
    path = f"/api/v1/projects/{created['project_id']}"
    for token, (count, rows) in zip(created["update_tokens"], datasets):
        headers = {"Content-Type": "application/octet-stream", "Hash-Count": str(count), "Hash-Size": "128"}
        ask(api, "POST", f"{path}/binaryclks", token, rows, headers)
    token = created["result_token"]
    # Waits until the uploads are ingested, so that this is not measured.
    time.sleep(2 + datasets[0][0] / 100_000)
    used = [node.cpu_seconds() for node in nodes]
    began = time.monotonic()
    run = call("POST", f"{path}/runs", token, body={"threshold": threshold})["run_id"]
    # A connection for each question would cost a handshake, and only where the API has TLS.
    connection = connected(api)
    while True:
        connection.request("GET", f"{path}/runs/{run}/status", headers={"Authorization": token})
        state = json.loads(connection.getresponse().read())["state"]
        if state == "completed":
            seconds = time.monotonic() - began
            used = [node.cpu_seconds() - before for node, before in zip(nodes, used)]
            ask(api, "DELETE", path, token)
            return seconds, used[-1], sum(used[:-1])
        assert state != "error"
        time.sleep(PAUSE)


def whole(folder, threads):
    node = Node(folder, ["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--worker-threads", str(threads)])
    return node.said("API").split("/api/")[0], [node]


def split(folder, workers, threads):
    flags = ["--role", "api", "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0"]
    api = Node(f"{folder}/api", [*flags, "--tls", "self-signed"])
    ops = api.said("health").split("/healthz")[0]
    answer = ask(ops, "POST", "/admin/join-token", api.said("admin token"), body={"keep_s": 0})
    token = Path(folder, "token")
    token.touch(mode=0o600)
    token.write_text(json.loads(answer)["join_token"])
    join = ["--role", "worker", "--join", api.said("workers"), "--join-token-file", str(token)]
    joined = [Node(f"{folder}/{number}", [*join, "--worker-threads", str(threads)]) for number in range(workers)]
    return api.said("API").split("/api/")[0], [*joined, api]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="?", type=int, default=100_000)
    parser.add_argument("threshold", nargs="?", type=float, default=0.7)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json")
    wish = parser.parse_args()
    datasets = [(wish.records, path.read_bytes()) for path in data.people(wish.records)]
    forms = {
        "all, 1 thread": lambda folder: whole(folder, 1),
        f"all, {CORES} threads": lambda folder: whole(folder, CORES),
        "1 worker, 1 thread": lambda folder: split(folder, 1, 1),
        f"{CORES} workers, 1 thread": lambda folder: split(folder, CORES, 1),
        f"1 worker, {CORES} threads": lambda folder: split(folder, 1, CORES),
    }
    seconds = {name: [] for name in forms}
    for _ in range(wish.repeat):
        for name, start in forms.items():
            with tempfile.TemporaryDirectory() as folder:
                api, nodes = start(f"{folder}/nodes")
                seconds[name].append(link(api, nodes, datasets, wish.threshold))
                for node in nodes:
                    node.stop()
    median = {name: statistics.median(value for value, *_ in values) for name, values in seconds.items()}
    machine = data.machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']}; 2 x {wish.records:,} at {wish.threshold}")
    for name, value in median.items():
        server, workers = (statistics.median(value[place] for value in seconds[name]) for place in (1, 2))
        print(f"{name:24} {value:8.2f} s, processor time {server:.2f} s, of workers {workers:.2f} s")
    more = median["1 worker, 1 thread"] / median[f"{CORES} workers, 1 thread"]
    away = median[f"1 worker, {CORES} threads"] / median[f"all, {CORES} threads"]
    brute = median["all, 1 thread"] / median[f"all, {CORES} threads"]
    print(f"{CORES} workers against one: {more:.2f} times as fast; {CORES} threads of one process: {brute:.2f} times")
    print(f"one worker over the listener takes {away:.2f} of the time of one process")
    if wish.json:
        Path(wish.json).write_text(json.dumps({"machine": machine, "seconds": seconds, "more": more, "away": away, "threads": brute}))


if __name__ == "__main__":
    main()
