#!/usr/bin/env python3
"""Puts and gets through the S3 endpoint beside Garage on the same machine, by the same client, taking turns.

    cargo build --release && python3 tests/bench/objects.py [ROUNDS]

Both have every PUT on the disk before they answer: Garage runs as one node with `data_fsync` and `metadata_fsync`, with
LMDB for its metadata (its default) and, since nothing here compresses, without compression. It is built from its crate
into `target/peers` at the first call, which takes a quarter of an hour. The ratios are of medians over ROUNDS (5).
"""

import contextlib
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data

GARAGE = ("garage", "2.5.0")
REGION = "garage"
FIGURES = {
    "small_put_per_second": ("4 KiB puts/s", 1),
    "small_get_per_second": ("4 KiB gets/s", 1),
    "large_put_bytes_per_second": ("64 MiB put MB/s", 1e6),
    "large_get_bytes_per_second": ("64 MiB get MB/s", 1e6),
}
CONFIG = """
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "lmdb"
metadata_fsync = true
data_fsync = true
compression_level = "none"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secret}"

[s3_api]
s3_region = "{region}"
api_bind_addr = "127.0.0.1:{s3}"
"""
QUIET = {**os.environ, "RUST_LOG": "warn"}


class Target:
    """An endpoint and what opens it."""

    def __init__(self, port, region, access_key, secret_key):
        self.flags = ["--endpoint", f"http://127.0.0.1:{port}", "--region", region]
        self.keys = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}

    def measure(self):
        command = [data.BINARY, "bench", "objects", "--json", *self.flags]
        done = subprocess.run(command, env={**os.environ, **self.keys}, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def running(command, log, **options):
    process = subprocess.Popen(command, stderr=log, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def entityd(folder, log):
    command = [data.BINARY, "serve", "--data-dir", folder, "--log", "warn"]
    for flag in ("--listen", "--s3-listen", "--ops-listen"):
        command += [flag, "127.0.0.1:0"]
    with running(command, log, stdout=subprocess.PIPE, text=True) as server:
        port = next(int(re.search(r":(\d+)", line)[1]) for line in server.stdout if "S3" in line)
        yield Target(port, "us-east-1", *(folder / "s3-credentials").read_text().split())


@contextlib.contextmanager
def garage(folder, log):
    """A node of Garage with a layout of its own, and one key that may make buckets."""
    folder.mkdir()
    rpc, s3 = free_ports(2)
    binary, config = garage_binary(), folder / "garage.toml"
    config.write_text(CONFIG.format(folder=folder, rpc=rpc, s3=s3, secret=secrets.token_hex(32), region=REGION))

    def ask(*words):
        command = [binary, "-c", config, *words]
        return subprocess.run(command, env=QUIET, check=True, stdout=subprocess.PIPE, stderr=log, text=True).stdout

    access_key, secret_key = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
    with running([binary, "-c", config, "server"], log, env=QUIET, stdout=log) as server:
        until_answered(s3, server)
        node = ask("node", "id", "-q").split("@")[0]
        ask("layout", "assign", "--zone", "here", "--capacity", "20G", node.strip())
        ask("layout", "apply", "--version", "1")
        ask("key", "import", "--yes", "-n", "bench", access_key, secret_key)
        ask("key", "allow", "--create-bucket", access_key)
        yield Target(s3, REGION, access_key, secret_key)


def garage_binary():
    name, version = GARAGE
    folder = data.TARGET / "peers"
    binary = folder / "bin" / name
    said = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout if binary.exists() else ""
    if version not in said:
        print(f"building {name} {version}", file=sys.stderr)
        subprocess.run(["nice", "-n", "19", "cargo", "install", "--quiet", "--locked", name, "--version", version,
                        "--root", folder, "--target-dir", folder / "build"], check=True)
    return binary


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def until_answered(port, server):
    for _ in range(300):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=5).close()
        if server.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit("Garage does not start")


def said(target, found):
    figures = ", ".join(f"{label} {found[key] / unit:,.0f}" for key, (label, unit) in FIGURES.items())
    return f"{target:8} {figures}  (load average {os.getloadavg()[0]:.1f})"


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found = {"entityd": [], "garage": []}
    data.TARGET.mkdir(exist_ok=True)
    garage_binary()
    with contextlib.ExitStack() as stack:
        # On the disk that is built on: what is in /tmp may be in memory alone.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data.TARGET)))
        log = stack.enter_context((folder / "log").open("wb"))
        targets = {
            "entityd": stack.enter_context(entityd(folder / "entityd", log)),
            "garage": stack.enter_context(garage(folder / "garage", log)),
        }
        for number in range(rounds):
            # Who goes first takes turns, too.
            for name in sorted(targets, reverse=number % 2 == 1):
                found[name].append(targets[name].measure())
                print(said(name, found[name][-1]), flush=True)
    medians = {name: {key: statistics.median(one[key] for one in measured) for key in FIGURES}
               for name, measured in found.items()}
    print(f"\n{'median of ' + str(rounds):20}{'entityd':>12}{'Garage':>12}{'ratio':>9}")
    behind = []
    for key, (label, unit) in FIGURES.items():
        ours, theirs = medians["entityd"][key], medians["garage"][key]
        print(f"{label:20}{ours / unit:>12,.0f}{theirs / unit:>12,.0f}{ours / theirs:>8.1f}x")
        behind += [label] if ours <= theirs else []
    if behind:
        sys.exit(f"entityd is not ahead: {'; '.join(behind)}")


main()
