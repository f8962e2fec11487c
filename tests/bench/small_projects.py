#!/usr/bin/env python3
"""The time of small projects: two parties with RECORDS encodings each, from the creation of the project to the last
byte of its result, and the syncs of the disk in each step.

    cargo build --release
    python3 tests/bench/small_projects.py [RECORDS] [PROJECTS] [--syncs]

Each of PROJECTS (20) projects is created, filled by both parties with RECORDS (1,000) encodings of 128 bytes as binary,
linked once, and read, with one connection. The next request follows each answer at once; the status of the run is asked
for every half millisecond. Prints the best and the median time of each step, on the client's clock, which is that of the same
machine. With `--syncs`, a second server runs under `strace`, and the calls that sync the disk are printed by step and file,
from one project after the first ten.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from api import Api
from data import BINARY, ENCODING_BYTES, machine

STEPS = ["create", "upload 1", "upload 2", "run", "wait", "result"]
SYNC = re.compile(r"^\d+ +(\d+\.\d+) (fsync|fdatasync|syncfs|sync_file_range)\(\d+<([^>]*)>")


class Server:
    def __init__(self, folder, prefix=()):
        listeners = ["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        limits = [f"--rate-limit{name}=off" for name in ("", "-uploads", "-results")]
        self.data = Path(folder) / "data"
        self.log = open(Path(folder) / "log", "wb")
        command = [*prefix, BINARY, "serve", *listeners, *limits, "--data-dir", self.data]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = next(line for line in self.process.stdout if line.strip().startswith("API"))
        self.api = Api(line.split("http://")[1].split("/")[0].strip())
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.api.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()


def link(server, sides, records):
    """Runs one project, and returns the moments between its steps."""
    moments = [time.time()]

    def then(content):
        moments.append(time.time())
        return content

    project = json.loads(then(server.api.ask("POST", "/projects", body=json.dumps(
        {"schema": {}, "result_type": "groups"}))))
    path, token = f"/projects/{project['project_id']}", project["result_token"]
    headers = {"Content-Type": "application/octet-stream", "Hash-Count": str(records), "Hash-Size": str(ENCODING_BYTES)}
    for side, update_token in zip(sides, project["update_tokens"]):
        then(server.api.ask("POST", f"{path}/binaryclks", update_token, side, headers))
    run = json.loads(then(server.api.ask("POST", f"{path}/runs", token, json.dumps({"threshold": 0.9}))))
    run_path = f"{path}/runs/{run['run_id']}"
    while (status := json.loads(server.api.ask("GET", f"{run_path}/status", token)))["state"] != "completed":
        if status["state"] == "error":
            sys.exit(status["message"])
        time.sleep(0.0005)
    moments.append(time.time())
    groups = json.loads(then(server.api.ask("GET", f"{run_path}/result", token)))["groups"]
    if len(groups) != records // 2:
        sys.exit(f"found {len(groups)} groups")
    return moments


def encodings(records):
    draw = random.Random(1)
    left = [draw.randbytes(ENCODING_BYTES) for _ in range(records)]
    right = [row if record < records // 2 else draw.randbytes(ENCODING_BYTES) for record, row in enumerate(left)]
    return [b"".join(side) for side in (left, right)]


def syncs(sides, records, folder):
    """Prints the syncs of one project by step."""
    trace = Path(folder) / "trace"
    calls = "trace=fsync,fdatasync,syncfs,sync_file_range"
    server = Server(folder, ["strace", "-D", "-f", "-qq", "-ttt", "-y", "-s", "0", "-e", calls, "-o", trace])
    try:
        for _ in range(10):
            link(server, sides, records)
        time.sleep(1)
        moments = link(server, sides, records)
        time.sleep(1)
    finally:
        server.stop()
    found = {step: Counter() for step in [*STEPS, "later"]}
    for line in trace.read_text().splitlines():
        if (match := SYNC.match(line)) and float(match[1]) >= moments[0]:
            step = sum(float(match[1]) >= moment for moment in moments[1:])
            name = re.sub(r"[0-9a-f]{16,}", "*", match[3].replace(str(server.data), "").strip("/"))
            if float(match[1]) < moments[-1] + 0.9:
                found[[*STEPS, "later"][step]][f"{match[2]} {re.sub(r'[.]tmp[A-Za-z0-9]+', '.tmp*', name) or '.'}"] += 1
    for step, files in found.items():
        print(f"{step:<9}{sum(files.values()):3} syncs   " + ", ".join(
            f"{count} x {name}" for name, count in sorted(files.items())))


def main():
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    records, projects = [*numbers, *[1_000, 20][len(numbers):]]
    sides = encodings(records)
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        server = Server(folder)
        try:
            link(server, sides, records)
            taken = [link(server, sides, records) for _ in range(projects)]
        finally:
            server.stop()
        spans = {step: [(moments[at + 1] - moments[at]) * 1000 for moments in taken] for at, step in enumerate(STEPS)}
        spans["all"] = [(moments[-1] - moments[0]) * 1000 for moments in taken]
        for step, times in spans.items():
            times.sort()
            print(f"{step:<9} best {times[0]:6.2f} ms   median {times[len(times) // 2]:6.2f} ms")
    if "--syncs" in sys.argv:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            syncs(sides, records, folder)


if __name__ == "__main__":
    main()
