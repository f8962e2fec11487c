"""Sends requests that no client library would send, as bytes on a socket."""

import contextlib
import socket
import struct

TIMEOUT_S = 60


def head(path, token, headers):
    lines = [f"POST /api/v1{path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: {token}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.contextmanager
def connection(server):
    with socket.create_connection((server.host, server.port), timeout=TIMEOUT_S) as open_socket:
        yield open_socket


def send(server, data):
    """Sends the bytes, closes the sending side, and returns the whole response."""
    with connection(server) as talk:
        with contextlib.suppress(OSError):
            talk.sendall(data)
            talk.shutdown(socket.SHUT_WR)
        return answer(talk)


def answer(talk):
    """Returns the status code and the text of a response; code 0 if there is none."""
    received = b""
    with contextlib.suppress(OSError):
        while piece := talk.recv(65536):
            received += piece
    code = int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.") else 0
    return code, received.decode(errors="replace")


def drop(server, data, reset):
    """Sends the bytes and disconnects at once, with a reset or cleanly."""
    with connection(server) as talk:
        talk.sendall(data)
        if reset:
            talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
