#!/usr/bin/env python3
"""Comparisons a second, one thread, beside the `anonlink` library on the same encodings in the same run.

    cargo build --release && tests/run venv
    target/venv/bin/python tests/bench/similarity.py [RECORDS [REPEATS]]

The encodings are those of `entityd demo --records RECORDS` (20,000): invented people with typing errors,
128 bytes. Measurements alternate; the best of REPEATS (5) counts for each, and both must find as many pairs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from anonlink.similarities import dice_coefficient
from bitarray import bitarray

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
ENCODING_BYTES = 128


def read(path):
    content = path.read_bytes()
    rows = []
    for start in range(0, len(content), ENCODING_BYTES):
        row = bitarray()
        row.frombytes(content[start:start + ENCODING_BYTES])
        rows.append(row)
    return rows


def library(datasets, threshold):
    began = time.perf_counter()
    scores = dice_coefficient(datasets, threshold)[0]
    return len(scores), time.perf_counter() - began


def ours(paths, threshold):
    command = [BINARY, "bench", "similarity", "--left", paths[0], "--right", paths[1],
               "--threshold", str(threshold), "--repeat", "1", "--json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = json.loads(answer.splitlines()[-1])
    return line["pairs"], line["seconds"], line["kernel"]


def main():
    records = sys.argv[1] if len(sys.argv) > 1 else "20000"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        subprocess.run([BINARY, "demo", "--records", records, "--keep", kept, "--json"],
                       check=True, capture_output=True)
        paths = [kept / f"party-{party}.bin" for party in (0, 1)]
        datasets = [read(path) for path in paths]
        comparisons = len(datasets[0]) * len(datasets[1])
        print(f"{comparisons:,} comparisons of {ENCODING_BYTES} bytes, best of {repeats}, load {os.getloadavg()[0]:.1f}")
        print("threshold   entityd    anonlink   ratio   pairs     kernel")
        for threshold in (0.70, 0.80, 0.90, 0.95):
            mine, theirs = [], []
            for _ in range(repeats):
                found, seconds, kernel = ours(paths, threshold)
                mine.append(comparisons / seconds)
                expected, seconds = library(datasets, threshold)
                theirs.append(comparisons / seconds)
                if found != expected:
                    sys.exit(f"{found} pairs found, and anonlink finds {expected}")
            print(f"{threshold:<11.2f} {max(mine) / 1e6:>7,.0f} M  {max(theirs) / 1e6:>7,.0f} M  "
                  f"{max(mine) / max(theirs):>6.1f}   {found:<8}  {kernel}")


main()
