"""Redis servers and Sentinels on free ports, each in its own folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness.server import free_ports
from harness.wait import until

# Redis 6.2 and later, or Valkey; the same program is the Sentinel.
PROGRAM = os.environ.get("TESTS_REDIS", "redis-server")
needs_redis = pytest.mark.skipif(not shutil.which(PROGRAM), reason=f"{PROGRAM} is not installed")


def encode(words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def ask(port, *words, password=None):
    """Sends a command, after AUTH if there is a password; returns the bytes of the answer that arrive first."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        if password:
            connection.sendall(encode(["AUTH", password]))
            connection.recv(1 << 16)
        connection.sendall(encode(words))
        return connection.recv(1 << 16).decode(errors="replace")


class Process:
    def __init__(self, folder, port):
        self.folder, self.port, self.process = folder, port, None
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, *command):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, *command], stdout=log, stderr=log)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            self.process = None

    def __exit__(self, *_):
        self.kill()


class Redis(Process):
    """A Redis server that syncs each change to disk, as a context manager."""

    def __init__(self, folder, *settings, ready="PING"):
        super().__init__(folder, free_ports(1)[0])
        self.settings, self.ready = settings, ready
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self):
        usual = ["--bind", "127.0.0.1", "--dir", self.folder, "--appendonly", "yes", "--appendfsync", "always"]
        port = [] if "--tls-port" in self.settings else ["--port", str(self.port)]
        self.run(*usual, "--repl-diskless-sync-delay", "0", "--save", "", *port, *self.settings)
        until(self.answers, "Redis answers")
        return self

    def answers(self):
        if self.process.poll() is not None:
            log = (self.folder / "log").read_text()
            if "--tls-port" in self.settings and ("tls-port" in log or "connection type tls" in log):
                pytest.skip(f"{PROGRAM} is built without TLS")
            raise AssertionError(f"Redis has ended: {log[-1000:]}")
        with contextlib.suppress(OSError):
            if "--tls-port" in self.settings:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            return not ask(self.port, "PING").startswith("-LOADING")
        return False

    def restart(self):
        self.kill()
        self.__enter__()

    def stop_for(self, seconds):
        self.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.signal(signal.SIGCONT)

    def saved(self):
        """Returns a copy of the server's files."""
        copy = self.folder.with_name(f"{self.folder.name}-saved")

        def is_copied():
            shutil.rmtree(copy, ignore_errors=True)
            # A rewrite of the log may replace files at this moment.
            with contextlib.suppress(shutil.Error, FileNotFoundError):
                return shutil.copytree(self.folder, copy)

        until(is_copied, "the files of the server are copied")
        return copy

    def go_back(self, copy):
        self.kill()
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)
        self.__enter__()


class Sentinels:
    """A master, a replica and three Sentinels, as a context manager."""

    def __init__(self, folder):
        self.folder = folder
        self.master = Redis(folder / "master")
        self.replica = Redis(folder / "replica", "--replicaof", "127.0.0.1", str(self.master.port))
        self.watchers = [Process(folder / f"sentinel{number}", free_ports(1)[0]) for number in range(3)]
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in self.watchers)
        self.url = f"redis-sentinel://{hosts}/queue/0"

    def __enter__(self):
        self.master.__enter__()
        self.replica.__enter__()
        for watcher in self.watchers:
            file = watcher.folder / "sentinel.conf"
            file.write_text(
                f"bind 127.0.0.1\nport {watcher.port}\ndir {watcher.folder}\n"
                f"sentinel monitor queue 127.0.0.1 {self.master.port} 2\n"
                "sentinel down-after-milliseconds queue 600\nsentinel failover-timeout queue 5000\n"
            )
            watcher.run(file, "--sentinel")
        until(self.is_settled, "the Sentinels know each other and the replica", 120)
        return self

    def is_settled(self):
        with contextlib.suppress(OSError):
            said = [ask(watcher.port, "INFO", "sentinel") for watcher in self.watchers]
            synced = "state=online" in ask(self.master.port, "INFO", "replication")
            return synced and all("slaves=1,sentinels=3" in text for text in said)
        return False

    def leader(self):
        """Returns the server that the Sentinels report as master, and the other one."""
        said = ask(self.watchers[0].port, "SENTINEL", "get-master-addr-by-name", "queue")
        servers = [self.master, self.replica]
        return servers if f"\n{self.master.port}\r" in said else servers[::-1]

    def until_leader(self, server):
        """Waits until the Sentinels report a server as master. A loaded machine makes them pause fail-overs for 30 s."""

        def is_leader():
            with contextlib.suppress(OSError):
                return self.leader()[0] is server

        until(is_leader, "the replica takes over", 180)

    def settle(self, timeout_s=180):
        """Waits until all Sentinels report the same master and the other server is its replica; returns both."""

        def is_settled():
            with contextlib.suppress(OSError):
                leader, other = self.leader()
                said = [ask(watcher.port, "INFO", "sentinel") for watcher in self.watchers]
                agree = all(f"address=127.0.0.1:{leader.port},slaves=1,sentinels=3" in text for text in said)
                replica = ask(other.port, "INFO", "replication")
                linked = "role:slave" in replica and "master_link_status:up" in replica
                return agree and all("status=ok" in text for text in said) and linked and [leader, other]
            return None

        return until(is_settled, "one master and its replica", timeout_s)

    def start(self, server, behind=None):
        """Starts a killed server as master, or as the replica of the server `behind`."""
        server.settings = ("--replicaof", "127.0.0.1", str(behind.port)) if behind else ()
        server.__enter__()

    def __exit__(self, *_):
        for process in [*self.watchers, self.replica, self.master]:
            process.kill()
