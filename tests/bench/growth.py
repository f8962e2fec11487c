#!/usr/bin/env python3
"""The time, the memory and the writes of a whole run through HTTP, as the number of records grows.

    cargo build --release && python3 tests/bench/growth.py [--records N ...] [--thresholds T ...] [--threads N] [--json FILE]

Links two sets of N (10,000, 100,000 and 1,000,000) encodings of people (128 bytes, made by clkhash) into groups, at each
threshold (0.80, 0.90, 0.95), each with a new server. Prints for the time between the creation of the run and its end: seconds,
million comparisons a second, groups, peak memory (all, and without file pages), bytes written to the disk, and, if `perf` is
installed (Debian: linux-perf), the processor seconds in the similarity kernel and outside of it. Sets of 1,000,000 take about
20 minutes on two cores, and as long again to make for the first time.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import data
import run

HEADER = (f"{'records':>9} {'threshold':>9} {'seconds':>8} {'M cmp/s':>8} {'groups':>9} {'peak MiB':>8} {'anonymous':>9} "
          f"{'written MiB':>11} {'kernel s':>9} {'outside s':>9}")


def line(figures):
    outside = kernel = "-"
    if "profile_percent" in figures:
        share = figures["profile_percent"]["kernel"] / 100
        kernel = f"{share * figures['processor_seconds']:.2f}"
        outside = f"{(1 - share) * figures['processor_seconds']:.2f}"
    mebibytes = {name: figures[name] / 2**20 for name in ("peak_bytes", "peak_anonymous_bytes", "written_bytes")}
    return (f"{figures['records']:9,} {figures['threshold']:9.2f} {figures['run_seconds']:8.2f} "
            f"{figures['comparisons_per_second'] / 1e6:8,.0f} {figures['groups']:9,} {mebibytes['peak_bytes']:8.0f} "
            f"{mebibytes['peak_anonymous_bytes']:9.0f} {mebibytes['written_bytes']:11.1f} {kernel:>9} {outside:>9}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.80, 0.90, 0.95])
    parser.add_argument("--threads", default="0")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    sets = {records: data.people(records) for records in arguments.records}
    about = data.machine()
    print(f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}, load {about['load']}\n{HEADER}", flush=True)
    measured = []
    for records, paths in sets.items():
        for threshold in arguments.thresholds:
            wish = argparse.Namespace(records=records, threshold=threshold, profile=shutil.which("perf") is not None)
            measured.append(run.measure(wish, paths, ["--worker-threads", arguments.threads]))
            print(line(measured[-1]), flush=True)
    load = round(os.getloadavg()[0], 2)
    print(f"load {load}")
    if arguments.json:
        report = {"machine": about, "load_after": load, "runs": measured}
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
