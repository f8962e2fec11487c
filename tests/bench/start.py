#!/usr/bin/env python3
"""The time from the start of `entityd serve` to its first response, on an existing data directory.

    cargo build --release && python3 tests/bench/start.py [STARTS]

Prints best, median and worst of STARTS (20) starts, and the resident memory of the idle server.
"""

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")


def start(data_dir, log):
    """Returns the milliseconds to the first response, and the resident memory after it in kilobytes."""
    command = [BINARY, "serve", "--data-dir", data_dir]
    for flag in ("--listen", "--s3-listen", "--ops-listen"):
        command += [flag, "127.0.0.1:0"]
    began = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        # The server prints its addresses when it listens.
        address = next(line.split("//")[1].split("/")[0] for line in server.stdout if "API" in line)
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/api/v1/status")
        if connection.getresponse().status != 200:
            sys.exit("the first answer is not 200")
        took = (time.monotonic() - began) * 1000
        status = Path(f"/proc/{server.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return took, resident
    finally:
        server.terminate()
        server.wait()


def main():
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "wb") as log:
        start(f"{folder}/data", log)
        figures = [start(f"{folder}/data", log) for _ in range(starts)]
    times = [took for took, _ in figures]
    print(f"start to first 200, {starts} starts: best {min(times):.1f} ms, "
          f"median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    print(f"resident after it: median {statistics.median(kb for _, kb in figures) / 1024:.1f} MiB")


main()
