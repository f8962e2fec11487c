#!/usr/bin/env python3
"""The time and the memory of a whole run through HTTP.

    cargo build --release && python3 tests/bench/run.py [RECORDS [THRESHOLD]] [--threads N] [--kernel NAME]
        [--repeat N] [--profile] [--json FILE]

Starts the real binary, uploads 2 x RECORDS (100,000) encodings of people (128 bytes, made by clkhash) as binary,
starts a run for groups at THRESHOLD (0.9), and prints time, rate, processor time by thread, and peak memory between
the creation of the run and its end. With --profile, `perf` (Debian: linux-perf) shows the shares of processor time:
*kernel* is the loops that filter pairs and count bits, and the decision about pairs that pass the filter.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data

TICK = os.sysconf("SC_CLK_TCK")
# The symbols of the similarity kernel, and those of the code that prepares its input.
KERNEL = re.compile(r"similarity::(kernel::(?!lines)|sieve::Sieve::(search|survivors|decide)|packed::RowSide::needed)")
PREPARATION = re.compile(r"linkage::similarity::")


class Server:
    """A server with a new data directory, and a client of it."""

    def __init__(self, folder, flags):
        command = [data.BINARY, "serve", "--data-dir", f"{folder}/data", *flags]
        for flag in ("--listen", "--s3-listen", "--ops-listen"):
            command += [flag, "127.0.0.1:0"]
        self.log = open(f"{folder}/log", "wb")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.address = next((line.split("//")[1].split("/")[0] for line in self.process.stdout if "API" in line), None)
        if self.address is None:
            sys.exit(Path(self.log.name).read_text())
        self.pid = self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()

    def ask(self, method, path, token=None, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=600)
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = token
        if isinstance(body, dict):
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, f"/api/v1{path}", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {content.decode()}")
        return json.loads(content) if content else None

    def processor_seconds(self):
        """Returns the processor time by thread name, and in total."""
        used = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
            fields = fields.split()
            kind = re.sub(r"-?\d+$", "", name)
            used[kind] = used.get(kind, 0) + (int(fields[11]) + int(fields[12])) / TICK
        total = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return used, (int(total[11]) + int(total[12])) / TICK

    def memory(self):
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("Vm", "Rss"))}

    def written_bytes(self):
        """Returns the bytes that the server caused to be written to the disk."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


class Profile:
    """Samples a process with perf, from its creation on."""

    def __init__(self, pid, folder):
        self.path = f"{folder}/perf.data"
        command = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", "997", "-o", self.path, "-p", str(pid)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def shares(self):
        """Returns the share of samples of each symbol, the largest first."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        command = ["perf", "report", "-i", self.path, "--stdio", "--no-children", "-F", "overhead,symbol",
                   "--percent-limit", "0"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = [re.match(r"\s+([\d.]+)%\s+\[(.)\]\s+(.*?)\s*$", line) for line in report.splitlines()]
        return [(float(match[1]), match[2], match[3]) for match in found if match]


def by_purpose(shares):
    """Returns the percentages of samples in the kernel, preparation, system and other code."""
    purposes = {"kernel": 0.0, "preparation": 0.0, "system": 0.0, "other": 0.0}
    for share, mode, symbol in shares:
        if mode == "k":
            purposes["system"] += share
        elif KERNEL.search(symbol):
            purposes["kernel"] += share
        elif PREPARATION.search(symbol):
            purposes["preparation"] += share
        else:
            purposes["other"] += share
    return {purpose: round(share, 1) for purpose, share in purposes.items()}


def upload(server, project, token, path):
    size = path.stat().st_size
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size),
               "Hash-Count": str(size // data.ENCODING_BYTES), "Hash-Size": str(data.ENCODING_BYTES)}
    with open(path, "rb") as file:
        server.ask("POST", f"/projects/{project}/binaryclks", token, file, headers)


def wait(server, path, token):
    """Polls until the run has ended, and checks that its progress never decreases."""
    seen, peaks = (0, 0.0), {}
    while True:
        status = server.ask("GET", f"{path}/status", token)
        progress = (status["current_stage"]["number"], status["current_stage"].get("progress", {}).get("relative", 0.0))
        if progress < seen:
            sys.exit(f"progress went back from {seen} to {progress}")
        seen = progress
        for name, size in server.memory().items():
            peaks[name] = max(size, peaks.get(name, 0))
        if status["state"] in ("completed", "error"):
            return status, peaks
        time.sleep(0.05)


def measure(arguments, paths, flags):
    folder = tempfile.mkdtemp(prefix="run-", dir=data.TARGET)
    server = Server(folder, flags)
    try:
        project = server.ask("POST", "/projects", body={"schema": {}, "result_type": "groups"})
        began = time.monotonic()
        for token, path in zip(project["update_tokens"], paths):
            upload(server, project["project_id"], token, path)
        uploaded = time.monotonic()
        # The uploads are indexed before the measurement starts.
        while server.ask("GET", f"/projects/{project['project_id']}", project["result_token"])["parties_contributed"] < 2:
            time.sleep(0.05)
        time.sleep(1)
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        profile = Profile(server.pid, folder) if arguments.profile else None
        written = server.written_bytes()
        threads_before, before = server.processor_seconds()
        created = time.monotonic()
        run = server.ask("POST", f"/projects/{project['project_id']}/runs", project["result_token"],
                         {"threshold": arguments.threshold})
        path = f"/projects/{project['project_id']}/runs/{run['run_id']}"
        status, peaks = wait(server, path, project["result_token"])
        ended = time.monotonic()
        threads_after, after = server.processor_seconds()
        if status["state"] != "completed":
            sys.exit(status)
        groups = server.ask("GET", f"{path}/result", project["result_token"])["groups"]
        threads = {name: round(seconds - threads_before.get(name, 0), 2) for name, seconds in threads_after.items()}
        comparisons = (paths[0].stat().st_size // data.ENCODING_BYTES) * (paths[1].stat().st_size // data.ENCODING_BYTES)
        figures = {
            "records": arguments.records, "threshold": arguments.threshold, "upload_seconds": round(uploaded - began, 3),
            "run_seconds": round(ended - created, 3), "comparisons": comparisons, "groups": len(groups),
            "comparisons_per_second": round(comparisons / (ended - created)),
            "processor_seconds": round(after - before, 2),
            "threads": {name: seconds for name, seconds in sorted(threads.items()) if seconds},
            "written_bytes": server.written_bytes() - written, "peak_bytes": peaks["VmHWM"], "peak_anonymous_bytes": peaks["RssAnon"],
            "peak_bytes_allowed": 3 * sum(path.stat().st_size for path in paths) + (64 << 20),
        }
        if profile:
            shares = profile.shares()
            figures["profile_percent"] = by_purpose(shares)
            figures["symbols"] = [f"{share:.2f} % [{mode}] {symbol}" for share, mode, symbol in shares[:25]]
        return figures
    finally:
        server.stop()
        shutil.rmtree(folder)


def show(figures):
    print(f"run {figures['run_seconds']:.2f} s (uploads {figures['upload_seconds']:.2f} s), "
          f"{figures['comparisons_per_second'] / 1e6:,.0f} M comparisons/s, {figures['groups']:,} groups")
    threads = ", ".join(f"{name} {seconds:.2f}" for name, seconds in figures["threads"].items())
    print(f"processor {figures['processor_seconds']:.2f} s: {threads}")
    print(f"peak resident {figures['peak_bytes'] / 2**20:.0f} MiB, anonymous {figures['peak_anonymous_bytes'] / 2**20:.0f} MiB "
          f"(allowed {figures['peak_bytes_allowed'] / 2**20:.0f} MiB)")
    if "profile_percent" in figures:
        print("profile " + ", ".join(f"{purpose} {share} %" for purpose, share in figures["profile_percent"].items()))
        for symbol in figures["symbols"]:
            print(f"    {symbol}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="?", type=int, default=100_000)
    parser.add_argument("threshold", nargs="?", type=float, default=0.9)
    parser.add_argument("--threads", default="0")
    parser.add_argument("--kernel", default="auto")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    paths = data.people(arguments.records)
    about = data.machine()
    print(f"2 x {arguments.records:,} at {arguments.threshold}: {about['cpu']}, {about['cores']} cores, "
          f"{' '.join(about['flags'])}, load {about['load']}")
    flags = ["--worker-threads", arguments.threads, "--kernel", arguments.kernel]
    measured = []
    for _ in range(arguments.repeat):
        measured.append(measure(arguments, paths, flags))
        show(measured[-1])
    report = {"machine": about, "load_after": round(os.getloadavg()[0], 2), "runs": measured}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
