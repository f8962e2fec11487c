"""Starts the real binary on free ports in its own folder, observes it, and stops it."""

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("ENTITYD_BIN", REPOSITORY / "target" / "release" / "entityd"))
START_S = 90
# Most tests would exceed the default limits. Tests of the limits set them with flags, which take precedence.
LIMITS = ("RATE_LIMIT", "RATE_LIMIT_UPLOADS", "RATE_LIMIT_RESULTS", "RATE_LIMIT_FAILURES")
UNLIMITED = {f"ENTITYD_{name}": "off" for name in LIMITS}
STOP_S = 90


def clean_environment():
    """Returns this process's environment without the variables of the tests and of entityd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ENTITYD_")}


def free_ports(count):
    """Returns free ports below the ephemeral range. Other calls and concurrent suites get other ports."""
    ports = []
    while len(ports) < count:
        port = next(PORTS)
        with contextlib.suppress(OSError), socket.socket() as candidate:
            candidate.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def own_ports():
    """Reserves a range of ports for this process by binding the first one, and returns an endless cycle of the others."""
    for first in random.sample(range(12_000, 32_000, 1_000), 20):
        mark = socket.socket()
        try:
            mark.bind(("127.0.0.1", first))
        except OSError:
            mark.close()
            continue
        MARKS.append(mark)
        return itertools.cycle(range(first + 1, first + 1_000))
    raise AssertionError("all ranges of ports are taken")


MARKS = []
PORTS = own_ports()


class Server:
    """`entityd serve` as a context manager. At the end, it sends SIGTERM and requires exit code 0."""

    def __init__(self, folder, *flags, environment=None):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.log = self.folder / "entityd.log"
        self.host = "127.0.0.1"
        self.port, self.s3_port, self.ops_port = free_ports(3)
        # The server creates the certificate before it listens.
        self.certificate = self.data / "tls" / "certificate.pem" if "self-signed" in flags else None
        self.origin = f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}"
        self.url = f"{self.origin}/api/v1"
        self.flags = flags
        self.environment = {**clean_environment(), **UNLIMITED, **(environment or {})}
        self.binary = BINARY
        self.process = None

    def __enter__(self):
        command = [self.binary, "serve", "--listen", f"{self.host}:{self.port}"]
        command += ["--s3-listen", f"{self.host}:{self.s3_port}"]
        command += ["--ops-listen", f"{self.host}:{self.ops_port}"]
        command += ["--data-dir", self.data, *self.flags]
        with self.log.open("ab") as log:
            self.said_before = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, error, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = f"none {STOP_S} s after SIGTERM"
        if error is None:
            assert code == 0, f"exit code {code}\n{self.tail()}"

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"exited with {self.process.returncode}\n{self.tail()}"
            try:
                verify = str(self.certificate) if self.certificate else True
                if requests.get(f"{self.url}/status", timeout=2, verify=verify).status_code == 200 and self._has_said("no telemetry"):
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"no answer within {START_S} s\n{self.tail()}")

    def _has_said(self, words):
        """Returns whether the log has the words since this start: the banner, which ends with these, is printed after the first
        response, and the server is ready then."""
        with self.log.open("rb") as log:
            log.seek(self.said_before)
            return words.encode() in log.read()

    def tail(self):
        """Returns the last lines of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def reset_peak(self):
        """Resets the process's peak resident memory; returns the current resident memory in bytes."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    def peak(self):
        """Returns the peak resident memory since the last reset, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def cpu_ticks(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def processor_wait_s(self):
        """Returns the time for which the threads of the process were ready to run, and other processes ran."""
        waited = 0
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            # A thread may end at this moment.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                waited += int((thread / "schedstat").read_text().split()[1])
        return waited / 1e9

    def wait_until_idle(self, quiet_s=1.0, timeout_s=300):
        """Waits until the process has used almost no processor time for `quiet_s`, nor waited for a processor."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            used, waited = self.cpu_ticks(), self.processor_wait_s()
            time.sleep(quiet_s)
            if self.cpu_ticks() - used <= 2 and self.processor_wait_s() - waited <= quiet_s / 2:
                return
        raise AssertionError(f"still busy after {timeout_s} s")

    def payload_files(self):
        """Returns the files that may hold uploaded data: all except the metadata, the queue and the lock."""
        found = {}
        for folder, inside, names in os.walk(self.data):
            if Path(folder) == self.data:
                inside[:] = set(inside) - {"queue", "tls"}
                continue
            for name in names:
                path = Path(folder, name)
                if path.parent.name == "entityd" or path.name == "mark" or path == self.data / "uploads" / "node":
                    continue
                # A purge may remove the file at this moment.
                with contextlib.suppress(FileNotFoundError):
                    found[str(path.relative_to(self.data))] = path.stat().st_size
        return found
