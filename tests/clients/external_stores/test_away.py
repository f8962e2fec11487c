"""A store that is unavailable for a while: runs wait for it, and clients get an error."""

import contextlib
import os
import socket
import threading
import time

from harness.api import Api, assert_problem
from harness.server import free_ports
from harness.stores import INTERNAL, Moto, meets
from harness.wait import until

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:100] = ENCODINGS[0][:100]


class Door:
    """A port in front of a store that can be closed and opened again."""

    def __init__(self, url):
        self.target = ("127.0.0.1", int(url.rpartition(":")[2]))
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.listener, self.connections = None, []

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=[self.listener], daemon=True).start()

    def close(self):
        for held in [self.listener, *self.connections]:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        self.connections.clear()

    def _serve(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            store = socket.create_connection(self.target)
            self.connections += [client, store]
            for source, sink in [(client, store), (store, client)]:
                threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@meets(Moto)
def test_runs_wait_while_the_store_is_unavailable(store, tmp_path):
    door = Door(store.url)
    door.open()
    with store.entityd(tmp_path, "away", door.url) as server, Api(server.url) as api:
        project = api.project()
        for party in range(2):
            project.upload_binary(party, ENCODINGS[party])
        project.run(0.95).complete()
        door.close()
        run = project.run(0.9)
        deadline = time.monotonic() + 120
        while (status := run.get_status().json()).get("waiting_for") != "object store":
            assert time.monotonic() < deadline and status["state"] != "error", status
            time.sleep(0.2)
        assert api.get("/status").status_code == 200
        other = api.project()
        path = f"{other.path}/authorize-external-upload"
        assert_problem(api.get(path, other.update_tokens[0]), 503, "object store", "try again")
        assert other.delete().status_code == 204
        ready = lambda: api.session.get(f"http://127.0.0.1:{server.ops_port}/readyz?verbose", timeout=60)
        until(lambda: (said := ready()).status_code == 503 and "objects" in said.text, "it is not ready")
        door.open()
        assert len(run.result()["groups"]) == 100
        assert "waiting_for" not in run.get_status().json()
        assert project.delete().status_code == 204
        store.until_empty(INTERNAL)
    door.close()
