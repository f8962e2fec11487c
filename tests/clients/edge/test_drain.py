"""SIGTERM during a transfer, a second SIGTERM, and the notifications of systemd."""

import contextlib
import signal
import socket
import threading
import time

import requests

from harness.server import Server
from harness.wait import until

# Half of an upload is more than the server keeps in memory.
RECORDS = 131_072


@contextlib.contextmanager
def half_an_upload(server):
    """Sends half of an upload; returns the socket and the other half."""
    wanted = {"schema": {}, "result_type": "groups"}
    project = requests.post(f"{server.url}/projects", json=wanted, timeout=60).json()
    head = (
        f"POST /api/v1/projects/{project['project_id']}/binaryclks HTTP/1.1\r\nHost: a\r\n"
        f"Authorization: {project['update_tokens'][0]}\r\nContent-Type: application/octet-stream\r\n"
        f"Hash-Count: {RECORDS}\r\nHash-Size: 8\r\nContent-Length: {RECORDS * 8}\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port), timeout=60) as talk:
        talk.sendall(head.encode() + bytes(RECORDS * 4))
        until(lambda: list((server.data / "spool").iterdir()), "the upload has begun")
        yield talk, bytes(RECORDS * 4)


def ready(server):
    try:
        return requests.get(f"http://{server.host}:{server.ops_port}/readyz", timeout=60).status_code
    except requests.ConnectionError:
        return None


def is_closed(server):
    try:
        socket.create_connection((server.host, server.port), timeout=60).close()
    except OSError:
        return True
    return False


def test_a_transfer_in_progress_is_finished_and_nothing_new_begins(tmp_path):
    with Server(tmp_path) as server:
        assert ready(server) == 200
        with half_an_upload(server) as (talk, rest):
            server.process.send_signal(signal.SIGTERM)
            until(lambda: ready(server) == 503, "it is not ready")
            until(lambda: is_closed(server), "it accepts no connection")
            talk.sendall(rest)
            answer = talk.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 201 ")
        assert server.process.wait(timeout=60) == 0


def test_a_second_signal_stops_the_server_at_once(tmp_path):
    with Server(tmp_path, "--transfer-timeout-ms", "600000") as server, half_an_upload(server):
        server.process.send_signal(signal.SIGTERM)
        until(lambda: ready(server) == 503, "it drains")
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        # Without the second signal it waits for the upload for ten minutes.
        assert server.process.wait(timeout=60) == 0


def test_a_reload_signal_does_not_stop_a_server_without_a_certificate(tmp_path):
    with Server(tmp_path) as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert server.process.poll() is None and ready(server) == 200


def test_systemd_is_notified_of_start_liveness_and_stop(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        said = []

        # A queue that is full would lose messages.
        def listen():
            while (message := manager.recv(4_096).strip()) != b"end":
                said.append(message)

        listener = threading.Thread(target=listen)
        listener.start()
        environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        try:
            with Server(tmp_path, environment=environment):
                until(lambda: said.count(b"WATCHDOG=1") >= 3, "it says that it lives")
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", path)
            listener.join()
        assert said[:4] == [b"READY=1", *[b"WATCHDOG=1"] * 3] and b"STOPPING=1" in said, said
