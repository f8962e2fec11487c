"""Clients that close their sending side after a complete request, over TLS."""

import contextlib
import socket
import ssl

import pytest

from harness.server import Server

REQUEST = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("entityd"), "--tls", "self-signed") as running:
        yield running


@contextlib.contextmanager
def talk(server):
    context = ssl.create_default_context(cafile=server.certificate)
    with socket.create_connection((server.host, server.port), timeout=60) as plain:
        yield plain, context


def test_the_connection_is_half_closed_below_tls(server):
    with talk(server) as (plain, context), context.wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(REQUEST)
        # The method of the class would bypass TLS.
        socket.socket.shutdown(secure, socket.SHUT_WR)
        assert secure.recv(65536).startswith(b"HTTP/1.1 200")


def test_tls_itself_is_half_closed(server):
    with talk(server) as (plain, context):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def step(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))

        step(secure.do_handshake)
        secure.write(REQUEST)
        with contextlib.suppress(ssl.SSLError):
            # Sends close_notify; the error about further data from the server is expected.
            secure.unwrap()
        plain.sendall(outgoing.read())
        received = b""
        while piece := plain.recv(65536):
            received += piece
        # This is longer than a TLS alert, so it is the encrypted response.
        assert len(received) > len(b"HTTP/1.1 200") + 200
