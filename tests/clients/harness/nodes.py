"""An API node and the workers that join it, each in a process that can be killed and stopped."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import requests

from .api import Api
from .server import BINARY, STOP_S, UNLIMITED, Server, clean_environment, free_ports
from .wait import until

LEASE_MS = 5_000
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def clock(shift):
    """The environment variables of a process whose wall clock is wrong by `shift`, for example `+1d`."""
    return {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@contextlib.contextmanager
def changed(node, **variables):
    """Other environment variables for the next start of a node."""
    before = node.environment
    node.environment = {**before, **variables}
    try:
        yield
    finally:
        node.environment = before


class ApiNode(Server):
    """`entityd serve --role api`, whose ports survive a restart."""

    def __init__(self, folder, *flags, role="api", **rest):
        Path(folder).mkdir(parents=True, exist_ok=True)
        [self.worker_port] = free_ports(1)
        given = ["--role", role, "--worker-listen", f"127.0.0.1:{self.worker_port}", *flags]
        super().__init__(folder, *given, **rest)
        self.admin_token = None

    def __enter__(self):
        super().__enter__()
        # The server may answer before it prints the token.
        self.admin_token = self.admin_token or until(self.shown_token, "the banner has the admin token")
        return self

    def shown_token(self):
        lines = [line.split() for line in self.log.read_text(errors="replace").splitlines()]
        return next((line[2] for line in lines if line[:2] == ["admin", "token"]), None)

    @property
    def scheme(self):
        return "https" if self.certificate else "http"

    @property
    def join_url(self):
        return f"{self.scheme}://127.0.0.1:{self.worker_port}"

    def admin(self, method, path, **rest):
        verify = str(self.certificate) if self.certificate else True
        url = f"{self.scheme}://127.0.0.1:{self.ops_port}/admin/{path}"
        headers = {"Authorization": self.admin_token}
        response = requests.request(method, url, headers=headers, verify=verify, timeout=60, **rest)
        assert response.status_code == 200, response.text
        return response.json()

    def join_token(self, keep_s=86_400):
        return self.admin("POST", "join-token", json={"keep_s": keep_s})["join_token"]

    def workers(self):
        return [node for node in self.admin("GET", "nodes")["nodes"] if node["role"] == "worker"]

    def client(self):
        api = Api(self.url)
        if self.certificate:
            api.session.verify = str(self.certificate)
        return api

    def kill(self):
        self.process.kill()
        self.process.wait()


class WorkerNode:
    """`entityd serve --role worker`."""

    def __init__(self, folder, urls, token, *flags, threads=1, environment=None, within=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "entityd.log"
        self.token = self.folder / "join-token"
        self.token.touch(mode=0o600)
        self.token.write_text(token)
        [self.ops_port] = free_ports(1)
        self.within, self.binary = within, BINARY
        self.command = ["serve", "--role", "worker", "--join", ",".join(urls)]
        self.command += ["--join-token-file", self.token, "--data-dir", self.folder / "data"]
        self.command += ["--ops-listen", f"127.0.0.1:{self.ops_port}"]
        self.command += ["--worker-threads", str(threads), "--drain-timeout-ms", "5000", *flags]
        self.environment = environment or {}
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.within, self.binary, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**clean_environment(), **UNLIMITED, **self.environment},
            )
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, error, *_):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            assert error, f"a worker did not stop\n{self.tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def ops(self, path):
        return requests.get(f"http://127.0.0.1:{self.ops_port}{path}", timeout=60)

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_until_said(self, words, timeout_s=90):
        deadline = time.monotonic() + timeout_s
        while words not in self.said():
            assert self.process.poll() is None, f"the worker has ended\n{self.tail()}"
            assert time.monotonic() < deadline, f"not said within {timeout_s} s: {words}\n{self.tail()}"
            time.sleep(0.05)

    def tail(self):
        return "\n".join(self.said().splitlines()[-30:])


@contextlib.contextmanager
def cluster(folder, workers=2, flags=(), tls=True, worker_flags=()):
    """An API node with workers of one thread each."""
    folder = Path(folder)
    tls_flags = ["--tls", "self-signed"] if tls else []
    with contextlib.ExitStack() as stack:
        node = ApiNode(folder / "api", *tls_flags, "--lease-ms", str(LEASE_MS), *flags)
        stack.enter_context(node)
        token = node.join_token()
        joined = [
            stack.enter_context(WorkerNode(folder / f"worker-{number}", [node.join_url], token, *worker_flags))
            for number in range(workers)
        ]
        for worker in joined:
            worker.wait_until_said("no telemetry")
        yield node, joined
