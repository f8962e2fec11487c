"""Many addresses at once, and clients that abuse the protocol."""

import socket
import struct
import threading
import time

import pytest
import requests

from harness.server import Server

BUDGET = 64 << 20
FORWARDED, CONNECTED = 100_000, 10_000
STATUS = b"GET /api/v1/status HTTP/1.1\r\nHost: a\r\n"


def dotted(number):
    return socket.inet_ntoa(struct.pack("!I", number))


def read_answers(talk, count):
    """Reads `count` responses; returns the number of each status."""
    counts, received = {}, b""
    while sum(counts.values()) < count:
        piece = talk.recv(1 << 16)
        assert piece, "the server closed the connection"
        *lines, received = (received + piece).split(b"\r\n")
        for line in lines:
            # The body of a response is not followed by a line break.
            at = line.find(b"HTTP/1.1 ")
            if at >= 0:
                status = int(line[at + 9 : at + 12])
                counts[status] = counts.get(status, 0) + 1
    return counts


def ask(server, addresses):
    """Sends a request for each address on one connection; returns the number of responses of each status."""
    total = {}
    with socket.create_connection((server.host, server.port), timeout=120) as talk:
        for start in range(0, len(addresses), 200):
            batch = addresses[start : start + 200]
            talk.sendall(b"".join(STATUS + b"X-Forwarded-For: %s\r\n\r\n" % a.encode() for a in batch))
            for status, count in read_answers(talk, len(batch)).items():
                total[status] = total.get(status, 0) + count
    return total


def connect_from(server, numbers):
    """A connection and a request from each of these addresses of the loopback network."""
    for number in numbers:
        with socket.create_connection((server.host, server.port), 120, (dotted(number), 0)) as talk:
            talk.sendall(STATUS + b"Connection: close\r\n\r\n")
            assert talk.recv(12) == b"HTTP/1.1 200"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    flags = ["--rate-limit", "1:500", "--trusted-proxies", "127.0.0.1", "--log", "error"]
    with Server(tmp_path_factory.mktemp("entityd"), *flags) as running:
        yield running


def test_a_storm_from_many_addresses_takes_little_memory_and_resets_no_limit(server):
    victim, began = "192.0.2.1", time.monotonic()
    assert ask(server, [victim] * 600)[503] >= 50
    idle = server.reset_peak()
    first = (10 << 24) + 1
    crowd = [dotted(number) for number in range(first, first + FORWARDED)]
    parts = [crowd[part::2] for part in range(2)]
    outcomes = []
    threads = [threading.Thread(target=lambda part=part: outcomes.append(ask(server, part))) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [{200: len(part)} for part in parts]
    near = (127 << 24) + (1 << 16)
    connect_from(server, range(near, near + CONNECTED))
    assert server.peak() - idle < BUDGET
    # The client has regained one request per second; if its state had been dropped, it could send five hundred.
    allowed = ask(server, [victim] * 500).get(200, 0)
    assert allowed <= time.monotonic() - began + 1


def test_a_flood_of_reset_requests_ends_only_its_own_connection(server):
    def frame(kind, flags, stream, payload=b""):
        return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload

    get = b"\x82\x84\x86\x41\x01a"
    flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for stream in range(1, 20_001, 2):
        flood += frame(1, 5, stream, get) + frame(3, 0, stream, struct.pack("!I", 8))
    with socket.create_connection((server.host, server.port), timeout=120) as talk:
        received = b""
        try:
            talk.sendall(flood)
            while piece := talk.recv(1 << 16):
                received += piece
        except OSError:
            pass
        else:
            # GOAWAY with ENHANCE_YOUR_CALM.
            assert b"\x07\x00" in received
    assert requests.get(f"{server.url}/status", timeout=120).status_code in (200, 503)
