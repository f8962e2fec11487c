#!/usr/bin/env python3
"""Compares PUTs and GETs at the S3 endpoint with those at Garage, on the same machine and by the same client, in turns.

    cargo build --release && python3 tests/bench/objects.py [ROUNDS]

Both sync every PUT to disk before they answer. Garage runs as one node with `data_fsync` and `metadata_fsync`, with
LMDB for its metadata (its default), and without compression, since the data does not compress. The first call builds it
from its crate into `target/peers`, which takes a quarter of an hour. The ratios are those of medians over ROUNDS (5).

Garage leaves Nagle's algorithm on: over loopback, its small answers wait 40 ms until the client acknowledges their
headers. A second node therefore gets TCP_NODELAY for its connections (by a preloaded library that `cc` builds), and
`entityd` must be faster than the faster of the two.
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
NODELAY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int accept4(int listener, struct sockaddr *peer, socklen_t *length, int flags) {
    int (*accept)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    int connection = accept(listener, peer, length, flags), on = 1;
    if (connection >= 0) setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connection;
}
"""


class Target:
    """An endpoint and its credentials."""

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
def garage(folder, log, **environment):
    """Starts a Garage node with a layout and with one key that may create buckets."""
    folder.mkdir()
    rpc, s3 = free_ports(2)
    binary, config = garage_binary(), folder / "garage.toml"
    config.write_text(CONFIG.format(folder=folder, rpc=rpc, s3=s3, secret=secrets.token_hex(32), region=REGION))

    def ask(*words):
        command = [binary, "-c", config, *words]
        return subprocess.run(command, env=QUIET, check=True, stdout=subprocess.PIPE, stderr=log, text=True).stdout

    access_key, secret_key = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
    with running([binary, "-c", config, "server"], log, env={**QUIET, **environment}, stdout=log) as server:
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


def nodelay(folder):
    """Builds a library for preloading that sets TCP_NODELAY on accepted connections."""
    library = folder / "nodelay.so"
    compiler = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library]
    subprocess.run(compiler, input=NODELAY, text=True, check=True)
    return {"LD_PRELOAD": str(library)}


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
    return f"{target:16} {figures}  (load average {os.getloadavg()[0]:.1f})"


def table(found, rounds):
    """Prints the medians; returns the names of the figures in which `entityd` is not faster."""
    ours, *peers = found
    print(f"\n{f'median of {rounds}':20}" + "".join(f"{name:>16}" for name in found) + f"{'ratio':>8}")
    behind = []
    for key, (label, unit) in FIGURES.items():
        medians = {name: statistics.median(one[key] for one in measured) for name, measured in found.items()}
        ratio = medians[ours] / max(medians[peer] for peer in peers)
        print(f"{label:20}" + "".join(f"{median / unit:>16,.0f}" for median in medians.values()) + f"{ratio:>7.1f}x")
        behind += [label] if ratio <= 1 else []
    return behind


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    data.TARGET.mkdir(exist_ok=True)
    garage_binary()
    with contextlib.ExitStack() as stack:
        # The data is in the target directory, since /tmp may be in memory.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data.TARGET)))
        log = stack.enter_context((folder / "log").open("wb"))
        targets = {
            "entityd": stack.enter_context(entityd(folder / "entityd", log)),
            "Garage": stack.enter_context(garage(folder / "garage", log)),
            "Garage, nodelay": stack.enter_context(garage(folder / "garage-nodelay", log, **nodelay(folder))),
        }
        found = {name: [] for name in targets}
        for number in range(rounds):
            # Every second round is in reverse order.
            for name in list(targets)[:: -1 if number % 2 else 1]:
                found[name].append(targets[name].measure())
                print(said(name, found[name][-1]), flush=True)
    if behind := table(found, rounds):
        sys.exit(f"entityd is not ahead: {'; '.join(behind)}")


main()
