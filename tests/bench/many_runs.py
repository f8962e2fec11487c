#!/usr/bin/env python3
"""The cost of many runs of one project, for this project and for another one.

    cargo build --release && python3 tests/bench/many_runs.py [400 1000 ...]

The runs are created before the data is uploaded. For each number of runs, prints the time to create them, to list
them, and from the last upload to the last result; the server's processor time per run; and the time of a small project
of another client meanwhile. The processor time per run must not grow with the number of runs; it hardly depends on the
load of the machine.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
CLKS = {"clks": ["AAECAwQFBgc=", "//79/Pv6+fg="]}


class Client:
    """One connection to the API."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def call(self, method, path, token="", body=None):
        headers = {"Authorization": token, "Content-Type": "application/json"}
        self.connection.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
        return json.loads(self.connection.getresponse().read())

    def project(self):
        return self.call("POST", "/projects", body={"schema": {}, "result_type": "groups"})

    def upload(self, project):
        for token in project["update_tokens"]:
            self.call("POST", f"/projects/{project['project_id']}/clks", token, CLKS)

    def post_run(self, project):
        path = f"/projects/{project['project_id']}/runs"
        return self.call("POST", path, project["result_token"], {"threshold": 0.9})

    def states(self, project):
        path = f"/projects/{project['project_id']}/runs"
        return [run["state"] for run in self.call("GET", path, project["result_token"])]

    def wait(self, project, pause):
        while any(state not in ("completed", "error") for state in self.states(project)):
            time.sleep(pause)


def timed(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def small_project(port, out):
    client = Client(port)

    def link():
        project = client.project()
        client.upload(project)
        client.post_run(project)
        client.wait(project, 0.02)

    out.append(timed(link))


def processor_ms(pid):
    """Returns the processor time that a process has used, in milliseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port, pid, runs):
    client = Client(port)
    project = client.project()
    posted = timed(lambda: [client.post_run(project) for _ in range(runs)])
    listed = timed(lambda: client.states(project))
    small = []
    other = threading.Thread(target=small_project, args=(port, small))

    def link():
        client.upload(project)
        other.start()
        # The client polls rarely, since listing thousands of runs takes processor time of the server too.
        client.wait(project, 0.5)

    used = processor_ms(pid)
    ended = timed(link)
    used = processor_ms(pid) - used
    other.join()
    print(f"{runs:6} runs: posted {posted:6.2f} s, listed {1000 * listed:6.1f} ms, linked {ended:6.2f} s, "
          f"{used / runs:5.2f} ms of a processor a run, another project {small[0]:5.2f} s", flush=True)


def main():
    counts = [int(word) for word in sys.argv[1:]] or [1, 400, 1_000]
    with tempfile.TemporaryDirectory() as folder:
        command = [BINARY, "serve", "--data-dir", f"{folder}/data", "--log", "warn", "--rate-limit", "off",
                   "--rate-limit-uploads", "off"]
        for flag in ("--listen", "--s3-listen", "--ops-listen"):
            command += [flag, "127.0.0.1:0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            port = int(next(re.search(r"API.*:(\d+)/", line) for line in server.stdout if "API" in line)[1])
            for runs in counts:
                measure(port, server.pid, runs)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
