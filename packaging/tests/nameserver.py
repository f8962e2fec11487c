"""A DNS server with one record: nameserver.py NAME ADDRESS. It listens on 127.0.0.1:53 and prints the name of each query."""

import socket
import struct
import sys

TYPE_A, NO_ERROR, NO_NAME = 1, 0, 3


def question(packet: bytes) -> tuple[str, int, int]:
    """Returns the name and type of the question, and where it ends."""
    at, labels = 12, []
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), int.from_bytes(packet[at + 1 : at + 3]), at + 5


def answer(packet: bytes, known: str, address: str) -> bytes:
    name, kind, end = question(packet)
    print(name, flush=True)
    found = name == known and kind == TYPE_A
    code = NO_ERROR if name == known else NO_NAME
    header = packet[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, int(found), 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, 1, 4) + socket.inet_aton(address)
    return header + packet[12:end] + (record if found else b"")


def main() -> None:
    known, address = sys.argv[1:]
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        packet, client = server.recvfrom(4096)
        server.sendto(answer(packet, known, address), client)


if __name__ == "__main__":
    main()
