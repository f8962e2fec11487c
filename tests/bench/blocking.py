#!/usr/bin/env python3
"""The time of runs with many blocks, through HTTP.

    cargo build --release
    python3 tests/bench/blocking.py [RECORDS]

Two parties have RECORDS (200,000) random encodings of 128 bytes each. Half of the records are in both, with a few
bits changed. In the first linkage, every block has two records; in the second, every record is in five of RECORDS / 20
blocks, whose sizes are Zipf-distributed. Prints the time of the uploads, the time of a run from its creation until its
result is read, and the peak memory of the process during the run; anonymous memory excludes mapped files.
"""

import base64
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
ENCODING_BYTES = 128
THRESHOLD = 0.9


class Server:
    def __init__(self, folder):
        doors = ["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen([BINARY, "serve", *doors, "--data-dir", Path(folder) / "data"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = next(line for line in self.process.stdout if line.strip().startswith("API"))
        self.address = line.split("http://")[1].split("/")[0].strip()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def ask(self, method, path, token="", body=None):
        connection = http.client.HTTPConnection(self.address)
        headers = {"Authorization": token, "Content-Type": "application/json"}
        connection.request(method, f"/api/v1{path}", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {content[:500]}")
        return json.loads(content)

    def memory(self, kind):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(kind)) / 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def encodings(records):
    draw = random.Random(1)
    left = [draw.randbytes(ENCODING_BYTES) for _ in range(records)]
    right = [draw.randbytes(ENCODING_BYTES) for _ in range(records)]
    for record in range(0, records, 2):
        row = bytearray(left[record])
        for _ in range(draw.randrange(8)):
            row[draw.randrange(ENCODING_BYTES)] ^= 1 << draw.randrange(8)
        right[record] = bytes(row)
    return left, right


def small_blocks(records):
    return [[[f"block {record // 2}"] for record in range(records)]] * 2


def zipf_blocks(records):
    blocks = max(records // 20, 10)
    sums = list(accumulate(1 / rank for rank in range(1, blocks + 1)))
    draw = random.Random(2)
    left = [draw.choices(range(blocks), cum_weights=sums, k=5) for _ in range(records)]
    right = [draw.choices(range(blocks), cum_weights=sums, k=5) for _ in range(records)]
    for record in range(0, records, 2):
        right[record] = left[record]
    return [[[str(block) for block in row] for row in side] for side in (left, right)]


def body(rows, blocks):
    encoded = (base64.b64encode(row).decode() for row in rows)
    return json.dumps({"clknblocks": [[row, *names] for row, names in zip(encoded, blocks)]}).encode()


def measure(server, name, bodies, result_type):
    project = server.ask("POST", "/projects", body=json.dumps(
        {"schema": {}, "result_type": result_type, "uses_blocking": True}))
    path, token = f"/projects/{project['project_id']}", project["result_token"]
    began = time.perf_counter()
    for content, update_token in zip(bodies, project["update_tokens"]):
        server.ask("POST", f"{path}/clks", update_token, content)
    uploaded = time.perf_counter() - began
    while server.ask("GET", path, token)["parties_contributed"] < 2:
        time.sleep(0.01)
    # The server ingests the last upload after its response. A first run waits for that, so that it is not measured.
    warm = server.ask("POST", f"{path}/runs", token, json.dumps({"threshold": 1.0}))
    wait(server, f"{path}/runs/{warm['run_id']}", token)
    server.forget_peak()
    anonymous, done = [server.memory("RssAnon")], threading.Event()

    def watch():
        while not done.wait(0.002):
            anonymous.append(server.memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    run = server.ask("POST", f"{path}/runs", token, json.dumps({"threshold": THRESHOLD}))
    run_path = f"{path}/runs/{run['run_id']}"
    status = wait(server, run_path, token)
    result = server.ask("GET", f"{run_path}/result", token)
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    found = len(next(iter(result.values())))
    print(f"{name:<22} {result_type:<18} upload {uploaded:6.2f} s ({sum(map(len, bodies)) / uploaded / 1e6:.0f} MB/s)   "
          f"run to result {took:6.2f} s   {status['total_number_comparisons']:,} comparisons, {found:,} found   "
          f"peak {server.memory('VmHWM'):.0f} MiB, anonymous +{max(anonymous) - anonymous[0]:.0f} MiB", flush=True)


def wait(server, path, token):
    while True:
        status = server.ask("GET", f"{path}/status", token)
        if status["state"] == "error":
            sys.exit(status["message"])
        if status["state"] == "completed":
            return status
        time.sleep(0.005)


def main():
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    sides = encodings(records)
    cases = {"small blocks": small_blocks(records), "Zipf, 5 a record": zipf_blocks(records)}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            for name, blocks in cases.items():
                bodies = [body(rows, names) for rows, names in zip(sides, blocks)]
                if name.startswith("Zipf"):
                    say_duplicates(blocks)
                for result_type in ("groups", "similarity_scores"):
                    measure(server, name, bodies, result_type)
        finally:
            server.process.terminate()
            server.process.wait()


def say_duplicates(blocks):
    """Prints the number of times that true pairs are found again, in a second or later common block."""
    again = sum(len(set(names)) - 1 for names in blocks[0][::2])
    print(f"Zipf: the largest block has {largest(blocks[0]):,} records; "
          f"pairs that are the same person are found {again:,} times more than once")


def largest(side):
    counts = {}
    for names in side:
        for name in set(names):
            counts[name] = counts.get(name, 0) + 1
    return max(counts.values())


main()
