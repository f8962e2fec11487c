#!/usr/bin/env python3
"""Compares the candidate pairs grouped per second with the `anonlink` library, on the same number of random pairs.

    cargo build --release && tests/run venv
    target/venv/bin/python tests/bench/solve.py [PAIRS ...]

The PAIRS (1,000,000 and 5,000,000) pairs are of records drawn at random; each party has PAIRS / 20 records.
Measurements alternate; the best of 3 is reported. The library gets its pairs as arrays, the binary generates other pairs
while it groups them. The groups are not compared here, but in the tests of the solver. At the end, the binary alone
groups 100 million pairs.
"""

import array
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from anonlink.solving import greedy_solve

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
REPEATS = 3


def random_pairs(count, parties):
    draw = random.Random(1)
    records = count // 20
    sims = array.array("d", (1.0 - at / (2 * count) for at in range(count)))
    datasets = array.array("I"), array.array("I")
    indices = array.array("I"), array.array("I")
    for _ in range(count):
        for dataset, into in zip(sorted(draw.sample(range(parties), 2)), datasets):
            into.append(dataset)
        for into in indices:
            into.append(int(draw.random() * records))
    return sims, datasets, indices


def library(candidates):
    began = time.perf_counter()
    groups = sum(1 for _ in greedy_solve(candidates))
    return time.perf_counter() - began, groups


def ours(pairs, parties):
    command = [BINARY, "bench", "solve", "--pairs", str(pairs), "--parties", str(parties), "--json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def main():
    sizes = [int(text) for text in sys.argv[1:]] or [1_000_000, 5_000_000]
    print(f"best of {REPEATS}, load {os.getloadavg()[0]:.1f}")
    print("pairs       parties  entityd      anonlink    ratio   groups (ours, theirs)")
    for pairs in sizes:
        for parties in (2, 3, 5):
            candidates = random_pairs(pairs, parties)
            mine, theirs = [], []
            for _ in range(REPEATS):
                mine.append(ours(pairs, parties))
                theirs.append(library(candidates))
            best, seconds = min(line["seconds"] for line in mine), min(theirs)[0]
            print(f"{pairs:<11,} {parties:<8} {pairs / best / 1e6:>6.2f} M/s  {pairs / seconds / 1e6:>7.3f} M/s  "
                  f"{seconds / best:>6.0f}x  {mine[0]['groups']:,} {theirs[0][1]:,}")
    for parties in (2, 3, 5):
        line = ours(100_000_000, parties)
        print(f"100,000,000 {parties:<8} {line['pairs_per_second'] / 1e6:>6.2f} M/s in {line['seconds']:.1f} s, "
              f"peak {line['peak_resident_bytes'] / 2**30:.2f} GiB")


main()
