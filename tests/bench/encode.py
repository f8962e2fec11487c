#!/usr/bin/env python3
"""Compares the records encoded and blocked per second with the libraries `clkhash` and `blocklib`, on the same file.

    cargo build --release && tests/run venv
    target/venv/bin/python tests/bench/encode.py [RECORDS ...]
    target/venv/bin/python tests/bench/encode.py --link RECORDS

The file has RECORDS (50,000 and 500,000) records of four names each, drawn from 20,000 invented names with different
frequencies. The schema encodes the bigrams of all names in 1024 bits, with each of the two hash functions. Measurements
alternate; the best of 3 is reported. Then all options of `hardening` are measured, alone and together, with `blakeHash`; the
library has none of them. On one core, processor time is measured, which depends less on other programs; on
all cores, elapsed time. Both programs must make the same bytes. Then up to 500,000 records are blocked on one core by P-Sig
with three strategies, and up to 50,000 by lambda-fold. Both programs write the blocks of each record as JSON, which must be
equal. At last two tables of up to 50,000 people are linked on all cores, from CSVs to matched ids, beside `clkhash` and `anonlink`.

With --link, two tables of RECORDS people are linked by entityd alone, because the libraries would take hours for 1,000,000.
Their time is extrapolated from a hundredth and a twentieth of RECORDS: encoding takes a time in proportion to the records,
comparing in proportion to their square. The peak memory of entityd is printed with it.
"""

import contextlib
import csv
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

import anonlink
from blocklib import generate_candidate_blocks
from blocklib.blocks_generator import generate_reverse_blocks
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
    weights = list(accumulate(1 / (rank + 8) for rank in range(len(names))))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for _ in range(records):
            writer.writerow(draw.choices(names, cum_weights=weights, k=len(COLUMNS)))


def clock(cores):
    """Returns the elapsed time, or on one core the processor time of this process and of its ended child processes."""
    if cores > 1:
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def library(folder, workers):
    compiled = from_json_dict(json.loads((folder / "schema.json").read_text()))
    with open(folder / "people.csv") as file:
        started = clock(workers)
        clks = clk.generate_clk_from_csv(file, "secret", compiled, progress_bar=False, max_workers=workers)
        return clock(workers) - started, b"".join(one.tobytes() for one in clks)


def binary(folder, threads):
    out = folder / "people.bin"
    started = clock(threads)
    subprocess.run([BINARY, "encode", folder / "people.csv", "--schema", folder / "schema.json", "--secret-file",
                    folder / "secret", "-o", out, "--threads", str(threads)], check=True, capture_output=True)
    return clock(threads) - started, out.read_bytes()


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


HARDENING = {
    "salt": {"salt": {"column": "town", "characters": 2}},
    "xorFolds": {"xorFolds": 1},
    "blip": {"blip": {"epsilon": 4, "column": "family"}},
    "balance": {"balance": True},
}
HARDENING["all"] = {name: value for options in HARDENING.values() for name, value in options.items()}


def hardened(folder, records):
    for name, options in HARDENING.items():
        (folder / "schema.json").write_text(json.dumps({**schema("blakeHash"), "hardening": options}))
        best = min(binary(folder, 1)[0] for _ in range(REPEATS))
        print(f"{records:9,} {name:>11} {1:>6} {'-':>12} {records / best:12,.0f}", flush=True)


THRESHOLD = 0.9


def write_parties(folder, records):
    """Two tables with ids, of which half the people are the same; some of their names differ in a letter."""
    write_people(folder / "people.csv", 2 * records)
    with open(folder / "people.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    draw = random.Random(2)
    for party, start in enumerate((0, records // 2)):
        with open(folder / f"{party}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *COLUMNS])
            for number, row in enumerate(rows[start:start + records], start):
                if party and draw.random() < 0.3:
                    row = [row[0][:-1] + draw.choice("aeiou"), *row[1:]]
                writer.writerow([f"{'ab'[party]}{number}", *row])
    linked = schema("blakeHash")
    linked["features"].insert(0, {"identifier": "id", "ignored": True})
    (folder / "schema.json").write_text(json.dumps(linked))


def library_link(folder, cores):
    started = time.perf_counter()
    compiled = from_json_dict(json.loads((folder / "schema.json").read_text()))
    encoded, ids = [], []
    for party in (0, 1):
        with open(folder / f"{party}.csv") as file:
            encoded.append(clk.generate_clk_from_csv(file, "secret", compiled, progress_bar=False, max_workers=cores))
        with open(folder / f"{party}.csv", newline="") as file:
            ids.append([row[0] for row in csv.reader(file)][1:])
    pairs = anonlink.candidate_generation.find_candidate_pairs(encoded, anonlink.similarities.dice_coefficient, THRESHOLD)
    groups = anonlink.solving.greedy_solve(pairs)
    found = {frozenset(ids[party][record] for party, record in group) for group in groups}
    return time.perf_counter() - started, found


def binary_link(folder):
    started = time.perf_counter()
    subprocess.run([BINARY, "link", folder / "0.csv", folder / "1.csv", "--schema", folder / "schema.json", "--secret-file",
                    folder / "secret", "--threshold", str(THRESHOLD), "--id", "id", "-o", folder / "linked.csv"],
                   check=True, capture_output=True)
    seconds = time.perf_counter() - started
    groups = {}
    with open(folder / "linked.csv", newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], set()).add(row["id"])
    return seconds, set(map(frozenset, groups.values()))


def compare_links(folder, records):
    """Returns the seconds that the libraries take."""
    cores = os.cpu_count()
    write_parties(folder, records)
    theirs, expected = library_link(folder, cores)
    ours, found = min((binary_link(folder) for _ in range(REPEATS)), key=lambda measured: measured[0])
    assert found == expected and len(found) > records // 3, "the groups differ"
    print(f"{records:9,} {'link':>11} {cores:>6} {theirs:10.1f} s {ours:10.2f} s {theirs / ours:8.1f}", flush=True)
    return theirs


def link_large(folder, records):
    """Links large tables, and compares with the time that the libraries would take."""
    small, large = records // 100, records // 20
    per_record_of_small, per_record_of_large = (compare_links(folder, size) / size for size in (small, large))
    square = (per_record_of_large - per_record_of_small) / (large - small)
    linear = per_record_of_small - square * small
    theirs = linear * records + square * records**2
    write_parties(folder, records)
    ours, found = binary_link(folder)
    assert len(found) > records // 3, "too few groups"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{records:9,} {'link':>11} {os.cpu_count():>6} {theirs:10.0f} s {ours:10.2f} s {theirs / ours:8.1f} "
          f"(extrapolated; peak memory {peak:.0f} MiB)", flush=True)


def cpu():
    models = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{models[0] if models else 'unknown processor'}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


P_SIG = {"type": "p-sig", "version": 1, "config": {
    "blocking-features": COLUMNS, "filter": {"type": "ratio", "min": 0, "max": 0.1},
    "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
    "signatureSpecs": [
        [{"type": "characters-at", "config": {"pos": [":3"]}, "feature": "given"}, {"type": "feature-value", "feature": "family"}],
        [{"type": "feature-value", "feature": "given"}, {"type": "characters-at", "config": {"pos": [0, 2]}, "feature": "town"}],
        [{"type": "feature-value", "feature": "street"}]]}}
LAMBDA_FOLD = {"type": "lambda-fold", "version": 1, "config": {
    "blocking-features": COLUMNS[:2], "Lambda": 5, "bf-len": 2048, "num-hash-funcs": 5, "K": 30, "random_state": 0,
    "input-clks": False}}


def library_blocks(data, config, out):
    """Writes the blocks of each record as JSON, like anonlink-client."""
    started = clock(1)
    with open(data) as file, contextlib.redirect_stdout(io.StringIO()):
        header, *rows = ([value.strip() for value in row] for row in csv.reader(file))
        made = generate_candidate_blocks(rows, json.loads(config.read_text()), header=header)
        (records,) = generate_reverse_blocks([made.blocks])
    with open(out, "w") as file:
        json.dump({"blocks": {str(record): list(names) for record, names in records.items()}}, file)
    return clock(1) - started


def binary_blocks(data, config, out):
    started = clock(1)
    subprocess.run([BINARY, "block", data, "--config", config, "-o", out], check=True, capture_output=True)
    return clock(1) - started


def compare_blocks(folder, records):
    with open(folder / "people.csv") as file, open(folder / "part.csv", "w") as part:
        part.writelines(line for line, _ in zip(file, range(records + 1)))
    # With more records, lambda-fold takes the library minutes.
    methods = [("p-sig", P_SIG), ("lambda-fold", LAMBDA_FOLD)][:2 if records <= 50_000 else 1]
    for name, config in methods:
        (folder / "blocking.json").write_text(json.dumps(config))
        best, made = {}, []
        for _ in range(REPEATS):
            for who, run in [("blocklib", library_blocks), ("entityd", binary_blocks)]:
                seconds = run(folder / "part.csv", folder / "blocking.json", folder / who)
                best[who] = min(seconds, best.get(who, seconds))
        for who in best:
            blocks = json.loads((folder / who).read_text())["blocks"]
            made.append({record: sorted(set(names)) for record, names in blocks.items()})
        assert made[0] == made[1], "the blocks differ"
        theirs, ours = records / best["blocklib"], records / best["entityd"]
        print(f"{records:9,} {name:>11} {1:>6} {theirs:12,.0f} {ours:12,.0f} {ours / theirs:8.1f}", flush=True)


def main():
    print(cpu())
    print(f"{'records':>9} {'hash':>11} {'cores':>6} {'library /s':>12} {'entityd /s':>12} {'ratio':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret").write_text("secret")
        if sys.argv[1:2] == ["--link"]:
            return link_large(folder, int(sys.argv[2]))
        for records in [int(argument) for argument in sys.argv[1:]] or [50_000, 500_000]:
            write_people(folder / "people.csv", records)
            for hash_type in ["doubleHash", "blakeHash"]:
                (folder / "schema.json").write_text(json.dumps(schema(hash_type)))
                for cores in sorted({1, os.cpu_count()}):
                    print(f"{records:9,} {hash_type:>11} {cores:>6} {compare(folder, records, cores)}", flush=True)
            hardened(folder, records)
            compare_blocks(folder, min(records, 500_000))
            compare_links(folder, min(records, 50_000))
    print(cpu())


if __name__ == "__main__":
    main()
