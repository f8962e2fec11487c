"""SIGTERM during a transfer, a second SIGTERM, and the notifications of systemd."""

import contextlib
import signal
import socket
import time

import pytest
import requests

from harness.server import Server

RECORDS = 4_096


@contextlib.contextmanager
def half_an_upload(server):
    """Sends half of an upload; returns the socket and the other half."""
    wanted = {"schema": {}, "result_type": "groups"}
    project = requests.post(f"{server.url}/projects", json=wanted, timeout=20).json()
    head = (
        f"POST /api/v1/projects/{project['project_id']}/binaryclks HTTP/1.1\r\nHost: a\r\n"
        f"Authorization: {project['update_tokens'][0]}\r\nContent-Type: application/octet-stream\r\n"
        f"Hash-Count: {RECORDS}\r\nHash-Size: 8\r\nContent-Length: {RECORDS * 8}\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port), timeout=20) as talk:
        talk.sendall(head.encode() + bytes(RECORDS * 4))
        time.sleep(0.2)
        yield talk, bytes(RECORDS * 4)


def ready(server):
    try:
        return requests.get(f"http://{server.host}:{server.ops_port}/readyz", timeout=5).status_code
    except requests.ConnectionError:
        return None


def test_a_transfer_in_progress_is_finished_and_nothing_new_begins(tmp_path):
    with Server(tmp_path) as server:
        assert ready(server) == 200
        with half_an_upload(server) as (talk, rest):
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while ready(server) != 503 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert ready(server) == 503
            with pytest.raises(OSError):
                socket.create_connection((server.host, server.port), timeout=2).close()
            talk.sendall(rest)
            answer = talk.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 201 ")
        assert server.process.wait(timeout=10) == 0


def test_a_second_signal_stops_the_server_at_once(tmp_path):
    with Server(tmp_path) as server, half_an_upload(server):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 3


def test_a_reload_signal_does_not_stop_a_server_without_a_certificate(tmp_path):
    with Server(tmp_path) as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert server.process.poll() is None and ready(server) == 200


def test_systemd_is_notified_of_start_liveness_and_stop(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        with Server(tmp_path, environment=environment):
            assert manager.recv(4_096).strip() == b"READY=1"
            for _ in range(3):
                assert manager.recv(4_096).strip() == b"WATCHDOG=1"
        said = set()
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                said.add(manager.recv(4_096).strip())
        assert b"STOPPING=1" in said
