"""A PostgreSQL server for one test, PgBouncer in front of it, and proxies that cut connections."""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.server import free_ports
from harness.wait import until

START_S = 60
PASSWORD = "pa:ss@word/%41"


def programs():
    """Returns the folder with the programs of the server: that in TESTS_POSTGRES, or the newest installed one."""
    if chosen := os.environ.get("TESTS_POSTGRES"):
        if not (Path(chosen) / "postgres").exists():
            pytest.skip(f"there is no PostgreSQL in {chosen}", allow_module_level=True)
        return Path(chosen)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, "PostgreSQL is not installed: apt install postgresql"
    return found[-1].parent


def as_server_user():
    """Returns subprocess arguments to run the server as another user if this is root, as which it does not run."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def let_through(folder):
    """Makes a folder of this user accessible to the server's user."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if parent.stat().st_uid == os.geteuid() and mode & 0o011 != 0o011:
            parent.chmod(mode | 0o011)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


class Postgres(contextlib.AbstractContextManager):
    """A server with TLS, passwords and a superuser `entityd`; it stops when the context ends."""

    def __init__(self, folder, *settings, name="postgres"):
        self.folder = Path(folder) / name
        self.data = self.folder / "data"
        self.settings = ["fsync=off", *settings]
        (self.port,) = free_ports(1)
        self.process = None

    def __enter__(self):
        self.folder.mkdir()
        let_through(self.folder)
        let_through(programs() / "postgres")
        (self.folder / "password").write_text(PASSWORD)
        self._certificates()
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.iterdir()]:
                shutil.chown(path, "postgres", "postgres")
        self.make()
        self.start()
        return self

    def make(self):
        """Makes the data directory."""
        password = self.folder / "password"
        initdb = [programs() / "initdb", "-U", "entityd", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8"]
        initdb += ["--locale=C", "--no-sync", "-D", self.data]
        subprocess.run(initdb, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **as_server_user())

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=30)
        self.process.kill()
        self.process.wait()

    def _certificates(self):
        """Creates a CA, and a certificate from it for `localhost` only."""
        run = lambda *words: subprocess.run(["openssl", *words], check=True, cwd=self.folder, capture_output=True)
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=a CA", "-addext", "basicConstraints=critical,CA:TRUE")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=x")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost\n")
        run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", "server.pem", "-extfile", "names")
        (self.folder / "server.key").chmod(0o600)

    def start(self):
        command = [programs() / "postgres", "-D", self.data, "-p", str(self.port), "-c", "unix_socket_directories="]
        tls = ["ssl=on", f"ssl_cert_file={self.folder}/server.pem", f"ssl_key_file={self.folder}/server.key"]
        for setting in [*self.settings, *tls]:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_server_user()
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            if self._psql("postgres", "SELECT 1").returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL has not started: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self, how=signal.SIGINT):
        """Stops the server. SIGINT closes all connections; after SIGKILL, the next start recovers."""
        children = self._children()
        self.process.send_signal(how)
        self.process.wait()
        # After SIGKILL, child processes end later than the server, which cannot start before.
        until(lambda: not any(map(is_running, children)), "the child processes of the server end")

    def _children(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def freeze(self):
        """Suspends all processes of the server; returns a function that resumes them."""
        pids = [self.process.pid, *self._children()]

        def send(number):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

        send(signal.SIGSTOP)
        return lambda: send(signal.SIGCONT)

    def _psql(self, database, sql, user="entityd", password=PASSWORD):
        environment = {**os.environ, "PGPASSWORD": password, "PGSSLMODE": "disable"}
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", user]
        command += ["-d", database, "-c", sql]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def sql(self, database, sql, **rest):
        """Runs SQL statements; returns the lines of the result."""
        done = self._psql(database, sql, **rest)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def create(self, name):
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def url(self, name, query="sslmode=disable", host="127.0.0.1", port=None):
        return f"postgres://entityd@{host}:{port or self.port}/{name}?{query}"


def with_password(password=PASSWORD, **others):
    return {"ENTITYD_DATABASE_PASSWORD": password, **others}


class Standby(Postgres):
    """A standby that streams from another server, until it is promoted."""

    def __init__(self, folder, primary, *settings):
        super().__init__(folder, *settings, name="standby")
        self.primary = primary

    def make(self):
        program = programs() / "pg_basebackup"
        if not program.exists():
            pytest.skip("these programs of PostgreSQL have no pg_basebackup")
        source = f"host=127.0.0.1 port={self.primary.port} user=entityd sslmode=disable application_name=standby"
        command = [program, "-d", source, "-D", self.data, "-R", "-c", "fast", "--no-sync"]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run(command, check=True, cwd=self.folder, env=environment, **as_server_user())

    def promote(self):
        """Makes it a primary."""
        self.sql("postgres", "SELECT pg_promote(false)")


class PgBouncer(contextlib.AbstractContextManager):
    """PgBouncer in transaction mode, with fewer connections to the server than clients."""

    def __init__(self, folder, postgres):
        self.folder = Path(folder) / "pgbouncer"
        self.postgres = postgres
        (self.port,) = free_ports(1)

    def __enter__(self):
        self.folder.mkdir()
        let_through(self.folder)
        (self.folder / "users.txt").write_text(f'"entityd" "{PASSWORD}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.postgres.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {self.folder}/users.txt\n"
            "pool_mode = transaction\ndefault_pool_size = 3\nserver_reset_query = DISCARD ALL\n"
            "server_reset_query_always = 1\n"
        )
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.iterdir()]:
                shutil.chown(path, "postgres", "postgres")
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, self.folder / "pgbouncer.ini"], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, **as_server_user(),
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Cutter(contextlib.AbstractContextManager):
    """Forwards connections, and cuts some of them at a COMMIT: before it or its response is forwarded."""

    def __init__(self, port, seed, share, host="127.0.0.1"):
        self.behind = port
        self.random = random.Random(seed)
        self.share = share
        self.cuts = {"before the commit": 0, "after the commit": 0}
        self.is_over = threading.Event()
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.listener.close()

    def behave(self):
        self.share = 0

    def cut_at(self, data):
        """Returns when to cut the connection that sends `data`; None if it is not cut."""
        # A simple query message consists of `Q`, its length, and the text.
        if b"COMMIT\0" in data and self.random.random() < self.share:
            return self.random.choice(["before the commit", "after the commit"])
        return None

    def _accept(self):
        while not self.is_over.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.behind))
        except OSError:
            client.close()
            return
        with client, server:
            # Nagle's algorithm would delay small messages.
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.is_over.is_set():
                ready, _, _ = select.select([client, server], [], [], 1)
                for end in ready:
                    try:
                        data = end.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    cut = self.cut_at(data) if end is client else None
                    if cut:
                        self.cuts[cut] += 1
                        if cut.startswith("before"):
                            return
                        server.sendall(data)
                        # The connection is cut after the response has arrived here, before it is forwarded.
                        select.select([server], [], [], 2)
                        time.sleep(0.02)
                        return
                    with contextlib.suppress(OSError):
                        (server if end is client else client).sendall(data)


class StepCutter(Cutter):
    """Cuts the connection at one message of a client, before or after the message reaches the server."""

    def __init__(self, port, step, cut):
        super().__init__(port, 0, 0)
        self.step, self.cut = step, cut
        self.cuts = {cut: 0}

    def cut_at(self, data):
        self.step -= 1
        return self.cut if self.step == 0 else None
