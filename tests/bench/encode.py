#!/usr/bin/env python3
"""Records encoded a second, beside the `clkhash` library on the same file in the same run.

    cargo build --release && tests/run venv
    target/venv/bin/python tests/bench/encode.py [RECORDS ...]

The file has RECORDS (50,000 and 500,000) of four names each, drawn from 20,000 made-up ones, the frequent ones
more often; the schema turns each into bigrams and all into 1024 bits, with either hash function. Measurements alternate; the best of 3
counts for each. One core each, then all cores. Both must make the same bytes.
"""

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clkhash import clk
from clkhash.schema import from_json_dict

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
REPEATS = 3
COLUMNS = ["given", "family", "street", "town"]


def schema(hash_type):
    hashing = {"comparison": {"type": "ngram", "n": 2}, "strategy": {"bitsPerToken": 15}, "hash": {"type": hash_type}}
    features = [{"identifier": name, "format": {"type": "string"}, "hashing": hashing} for name in COLUMNS]
    return {"version": 3, "clkConfig": {"l": 1024, "kdf": {"type": "HKDF"}}, "features": features}


def write_people(path, records):
    draw = random.Random(1)
    names = ["".join(draw.choices("aaeeiioustrnlmdkbp", k=draw.randint(4, 10))) for _ in range(20_000)]
    weights = [1 / (rank + 8) for rank in range(len(names))]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for _ in range(records):
            writer.writerow(draw.choices(names, weights, k=len(COLUMNS)))


def library(folder, workers):
    compiled = from_json_dict(json.loads((folder / "schema.json").read_text()))
    with open(folder / "people.csv") as file:
        started = time.perf_counter()
        clks = clk.generate_clk_from_csv(file, "secret", compiled, progress_bar=False, max_workers=workers)
        return time.perf_counter() - started, b"".join(one.tobytes() for one in clks)


def binary(folder, threads):
    out = folder / "people.bin"
    started = time.perf_counter()
    subprocess.run([BINARY, "encode", folder / "people.csv", "--schema", folder / "schema.json", "--secret-file",
                    folder / "secret", "-o", out, "--threads", str(threads)], check=True, capture_output=True)
    return time.perf_counter() - started, out.read_bytes()


def compare(folder, records, cores):
    best = {}
    for _ in range(REPEATS):
        made = set()
        for name, run in [("clkhash", library), ("entityd", binary)]:
            seconds, encodings = run(folder, cores)
            best[name] = min(seconds, best.get(name, seconds))
            made.add(encodings)
        assert len(made) == 1, "the encodings differ"
    theirs, ours = records / best["clkhash"], records / best["entityd"]
    return f"{theirs:12,.0f} {ours:12,.0f} {ours / theirs:8.1f}"


def main():
    print(f"{'records':>9} {'hash':>11} {'cores':>6} {'clkhash /s':>12} {'entityd /s':>12} {'ratio':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret").write_text("secret")
        for records in [int(argument) for argument in sys.argv[1:]] or [50_000, 500_000]:
            write_people(folder / "people.csv", records)
            for hash_type in ["doubleHash", "blakeHash"]:
                (folder / "schema.json").write_text(json.dumps(schema(hash_type)))
                for cores in [1, os.cpu_count()]:
                    print(f"{records:9,} {hash_type:>11} {cores:>6} {compare(folder, records, cores)}", flush=True)


if __name__ == "__main__":
    main()
