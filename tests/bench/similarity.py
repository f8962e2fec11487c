#!/usr/bin/env python3
"""Compares the comparisons per second with those of the `anonlink` library, on the same encodings.

    cargo build --release && python3 tests/bench/similarity.py [--records N] [--repeats N] [--only PART] [--json FILE]

Makes 2 x N (20,000) invented people with typing errors, encoded by clkhash in 128 bytes; anonlink and clkhash are
installed into a venv under the target directory, in the versions of tests/clients/requirements.txt. Measurements of
the two alternate, REPEATS (5) of each; each pair of figures is best (median). Both must find the same number of pairs.

Parts: `thresholds`, one thread at 0.70, 0.80, 0.90 and 0.95; `kernels`, every kernel of this machine at 0.80; `threads`,
two threads compared with one, also without filters and for a CPU-bound loop.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import data

THRESHOLDS = (0.70, 0.80, 0.90, 0.95)
KERNELS = ("amx", "avx512", "avx2", "popcnt", "neon", "portable")
# Reads the encodings. For each line of input, which is a threshold, prints the number of found pairs and the seconds.
LIBRARY = """
import sys, time
from anonlink.similarities import dice_coefficient
from bitarray import bitarray

def read(path, size):
    content = open(path, "rb").read()
    rows = []
    for start in range(0, len(content), size):
        row = bitarray()
        row.frombytes(content[start:start + size])
        rows.append(row)
    return rows

datasets = [read(path, int(sys.argv[1])) for path in sys.argv[2:]]
for line in sys.stdin:
    began = time.perf_counter()
    scores = dice_coefficient(datasets, float(line))[0]
    print(len(scores), time.perf_counter() - began, flush=True)
"""


class Library:
    """anonlink in a separate process, which holds the encodings."""

    def __init__(self, paths):
        command = [data.python(), "-c", LIBRARY, str(data.ENCODING_BYTES), *paths]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pairs = {}

    def seconds(self, threshold):
        self.process.stdin.write(f"{threshold}\n")
        self.process.stdin.flush()
        pairs, seconds = self.process.stdout.readline().split()
        self.pairs[threshold] = int(pairs)
        return float(seconds)


def bench(paths, threshold, kernel=None, threads=1):
    command = [data.BINARY, "bench", "similarity", "--left", paths[0], "--right", paths[1], "--encoding-bytes",
               str(data.ENCODING_BYTES), "--threshold", str(threshold), "--threads", str(threads), "--repeat", "1", "--json"]
    if kernel:
        command += ["--kernel", kernel]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def summary(rates):
    return {"best": round(max(rates)), "median": round(statistics.median(rates))}


def figures(rates):
    return f"{max(rates) / 1e6:>6,.0f} ({statistics.median(rates) / 1e6:>6,.0f})"


def sifting(measured):
    parts, components = measured["signature_parts"], measured["components"]
    return f"{parts} parts" if parts else f"{components} components" if components else "nothing"


class Table:
    """Measures and prints the lines of a table, and stores their figures."""

    def __init__(self, paths, repeats):
        self.paths, self.repeats, self.library, self.lines = paths, repeats, Library(paths), []
        rows = [path.stat().st_size // data.ENCODING_BYTES for path in paths]
        self.comparisons = rows[0] * rows[1]

    def heading(self):
        print("threshold  kernel    threads  entityd M/s best (median)  anonlink        ratio         sifted by       counted   brute force  pairs")

    def line(self, threshold, kernel=None, threads=1):
        ours, theirs, brute, last = [], [], [], None
        for _ in range(self.repeats):
            last = bench(self.paths, threshold, kernel, threads)
            if last is None:
                return
            ours.append(last["comparisons_per_second"])
            brute.append(last["brute_force_per_second"])
            theirs.append(self.comparisons / self.library.seconds(threshold))
        if last["pairs"] != self.library.pairs[threshold]:
            sys.exit(f"{last['pairs']} pairs found at {threshold}, and anonlink finds {self.library.pairs[threshold]}")
        ratios = max(ours) / max(theirs), statistics.median(ours) / statistics.median(theirs)
        print(f"{threshold:<9.2f}  {last['kernel']:<8}  {threads:>7}  {figures(ours):>25}  {figures(theirs)}  "
              f"{ratios[0]:>5.1f} ({ratios[1]:>5.1f})  {sifting(last):<14}  {last['counted_share']:>7.3%}  "
              f"{max(brute) / 1e6:>11,.0f}  {last['pairs']:,}")
        self.lines.append({"threshold": threshold, "kernel": last["kernel"], "threads": threads, "entityd": summary(ours),
                           "anonlink": summary(theirs), "ratio": round(ratios[0], 2), "ratio_of_medians": round(ratios[1], 2),
                           "brute_force": summary(brute), "pairs": last["pairs"], "form": last["form"],
                           "parts": last["signature_parts"], "components": last["components"], "costs": last["costs"]})
        return self.lines[-1]


def spin(seconds):
    """Starts a process that counts the iterations of a CPU-bound loop for some seconds."""
    program = ("import time\nend = time.perf_counter() + %f\nturns = 0\n"
               "while time.perf_counter() < end:\n    for _ in range(1000): pass\n    turns += 1\nprint(turns)" % seconds)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def cores(seconds=1.0):
    """Returns the speedup of two processes over one, which is 2 if each has its own core."""
    best = 0.0
    for _ in range(3):
        one = int(spin(seconds).communicate()[0])
        both = [spin(seconds), spin(seconds)]
        best = max(best, sum(int(process.communicate()[0]) for process in both) / one)
    return round(best, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", action="append", choices=("thresholds", "kernels", "threads"))
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    parts = arguments.only or ["thresholds", "kernels", "threads"]
    about = data.machine()
    table = Table(data.people(arguments.records), arguments.repeats)
    print(f"2 x {arguments.records:,} people in {data.ENCODING_BYTES} bytes, {arguments.repeats} of each: {about['cpu']}, "
          f"{about['cores']} cores, {' '.join(about['flags'])}, load {about['load']}")
    table.heading()
    if "thresholds" in parts:
        for threshold in THRESHOLDS:
            table.line(threshold)
    if "kernels" in parts:
        for kernel in KERNELS:
            table.line(0.80, kernel)
    gains = {}
    if "threads" in parts:
        gains["two processes, a loop alone"] = cores()
        for threshold in THRESHOLDS:
            one, two = table.line(threshold), table.line(threshold, threads=2)
            gains[f"two threads at {threshold:.2f}"] = round(two["entityd"]["best"] / one["entityd"]["best"], 2)
            gains[f"two threads, brute force at {threshold:.2f}"] = round(two["brute_force"]["best"] / one["brute_force"]["best"], 2)
        for what, gain in gains.items():
            print(f"{what}: {gain:.2f} times one")
    report = {"machine": about, "load_after": round(os.getloadavg()[0], 2), "lines": table.lines, "two_of_one": gains}
    print(f"load after it {report['load_after']}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
