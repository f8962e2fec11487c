#!/usr/bin/env python3
"""Compares the rate at which the metadata store records finished parts of a run, in SQLite and in PostgreSQL, with the
rate of single-row updates by pgbench.

    apt-get install postgresql
    cargo build --release && python3 tests/bench/database.py [REPORTS]

Each report sets a bit in the row of a run with REPORTS parts, and is on disk before it is answered: PostgreSQL runs
with `fsync` and `synchronous_commit` on. pgbench updates one row from the same number of clients, each update in its own
transaction, whereas the metadata store shares transactions. If this is run as root, PostgreSQL runs as the user postgres.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data

BINARY = data.BINARY
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
AS_SERVER = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
WORKERS = [1, 16, 64, 256]


def main():
    reports = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if AS_SERVER:
            shutil.chown(folder, "postgres", "postgres")
        with open(folder / "log", "wb") as log:
            server = start(folder, log)
        try:
            print(f"{cpu()}, {os.cpu_count()} cores, {reports} reports of one run")
            print(f"{'workers':>8} {'SQLite':>9} {'PostgreSQL':>11} {'pgbench':>9}   reports a second")
            for workers in WORKERS:
                sqlite = measure(reports if workers > 1 else reports // 10, workers)
                postgres = measure(reports if workers > 1 else reports // 10, workers, database(folder, f"w{workers}"))
                print(f"{workers:8} {sqlite:9.0f} {postgres:11.0f} {peer(folder, workers):9.0f}", flush=True)
        finally:
            server.terminate()
            server.wait()


def start(folder, log):
    quiet = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **AS_SERVER}
    subprocess.run(
        [PROGRAMS / "initdb", "-U", "entityd", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", folder / "data"],
        check=True, **quiet,
    )
    words = ["-k", folder, "-c", "listen_addresses=", "-c", "max_connections=300"]
    server = subprocess.Popen([PROGRAMS / "postgres", "-D", folder / "data", *words], **quiet)
    while subprocess.run([PROGRAMS / "pg_isready", "-q", "-h", folder]).returncode:
        time.sleep(0.1)
    return server


def database(folder, name):
    subprocess.run([PROGRAMS / "createdb", "-h", folder, "-U", "entityd", name], check=True)
    return f"postgres:///{name}?host={folder}&user=entityd"


def measure(reports, workers, url=None):
    words = ["bench", "database", "--json", "--reports", str(reports), "--workers", str(workers)]
    words += ["--database", url] if url else []
    done = subprocess.run([BINARY, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["reports_per_second"]


def peer(folder, clients, seconds=5):
    """Returns the transactions per second of pgbench. Each transaction increments a value in the same row."""
    run = lambda *words, **rest: subprocess.run(
        [*words, "-h", folder, "-U", "entityd", "postgres"], check=True, capture_output=True, text=True, **rest
    )
    run("psql", "-qc", "CREATE TABLE IF NOT EXISTS counter AS SELECT 0 AS value")
    script = folder / "script.sql"
    script.write_text("UPDATE counter SET value = value + 1;\n")
    done = run(PROGRAMS / "pgbench", "-n", "-f", script, "-c", str(clients), "-j", "2", "-T", str(seconds))
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    return float(line.split()[2])


def cpu():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
