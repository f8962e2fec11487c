"""The memory of `entityd encode` and `entityd block` has no secret, key or value of a person once they were used.

The process is held at its end: an output is a full pipe. Its memory is then searched.
"""

import base64
import contextlib
import json
import os
import subprocess

import pytest
from clkhash.key_derivation import generate_key_lists

from harness.wait import until

SECRET = b"zq7planted secret 5vhx9w2kqj4"
SALT, INFO = b"a salt of the parties", b"an info"
ROWS = 3_000
#: The number of the system call `write`.
WRITE = {"x86_64": "1", "aarch64": "64"}.get(os.uname().machine)
pytestmark = pytest.mark.skipif(WRITE is None, reason="the number of the system call is not known here")
#: A row in the middle and the last row have these. The others have values of the same lengths.
PLANTED = [
    {"given": "Zqxgivenplanted", "family": "Zqxfämilyplanted", "born": "23.07.1931", "number": "739182645",
     "town": "Zqxtownplanted", "distance": "918273.5"},
    {"given": "zqyGIVENplanted", "family": "zqyfåmilyplanted", "born": "29.11.1927", "number": "+648391572",
     "town": "zqytownplanted", "distance": "827364.5"},
]
#: What is made of them before it is hashed: formatted dates and numbers, and neighbours of a number.
MADE = ["19310723", "19271129", "648391572", "ZQXGIVENPLANTED", "zqxgivenplanted", "ZQYGIVENPLANTED"]


def ngrams(n, hash_type, positional=False):
    return {"comparison": {"type": "ngram", "n": n, "positional": positional}, "strategy": {"bitsPerFeature": 100},
            "hash": {"type": hash_type}}


SCHEMA = {"version": 3, "clkConfig": {"l": 1024, "kdf": {
    "type": "HKDF", "hash": "SHA256", "salt": base64.b64encode(SALT).decode(), "info": base64.b64encode(INFO).decode(),
    "keySize": 64}}, "features": [
        {"identifier": "given", "format": {"type": "string"}, "hashing": ngrams(2, "doubleHash")},
        {"identifier": "family", "format": {"type": "string"}, "hashing": ngrams(3, "blakeHash", positional=True)},
        {"identifier": "born", "format": {"type": "date", "format": "%d.%m.%Y"}, "hashing": ngrams(1, "doubleHash", positional=True)},
        {"identifier": "number", "format": {"type": "integer"}, "hashing": ngrams(2, "blakeHash")},
        {"identifier": "town", "format": {"type": "string", "pattern": ".*", "encoding": "utf-8"}, "hashing": {
            "comparison": {"type": "exact"}, "strategy": {"bitsPerFeature": 50}, "hash": {"type": "doubleHash"}}},
        {"identifier": "distance", "format": {"type": "string", "encoding": "utf-8"}, "hashing": {
            "comparison": {"type": "numeric", "thresholdDistance": 10, "resolution": 4, "fractional_precision": 1},
            "strategy": {"bitsPerFeature": 50}, "hash": {"type": "blakeHash"}}},
    ]}


def write_people(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(PLANTED[0]) + "\n")
        for row in range(ROWS):
            planted = {ROWS // 2: PLANTED[0], ROWS - 1: PLANTED[1]}.get(row)
            values = planted.values() if planted else [f"given{row:05}other", f"fämily{row:05}other", "01.02.1950",
                                                       f"{row + 100_000_000}", f"town{row:05}other", f"{row + 100_000}.5"]
            file.write(",".join(values) + "\n")


def memory(pid):
    """The bytes of all writable ranges of a process, joined."""
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            addresses, modes, *_ = line.split()
            if not modes.startswith("rw") or "[vvar" in line:
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            with contextlib.suppress(OSError):
                mem.seek(start)
                parts.append(mem.read(end - start))
    return b"\n".join(parts)


@contextlib.contextmanager
def held(folder, arguments, pipe, is_near_end):
    """Runs the program until only the writing to a full pipe is left. Standard input is the secret."""
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(end, b"." * 4096)
    with open(folder / "secret") as secret:
        process = subprocess.Popen([os.environ["ENTITYD_BIN"], *map(str, arguments)], stdin=secret, cwd=folder)
    try:
        until(is_near_end, "the output")
        # It sleeps in the write.
        until(lambda: waits_in_write(process), "the process waits for the pipe")
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        os.close(end)


def waits_in_write(process):
    """Whether a thread of the process waits in `write`."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{thread}/syscall") as call:
            if call.read().split()[0] == WRITE:
                return True
    return False


def kinds(text):
    """A text as it may be in memory."""
    return {text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le")}


def found(bytes_, needles):
    return sorted({needle for needle in needles if needle in bytes_})


def values():
    """What must not be in the memory, in several charsets."""
    planted = [value for row in PLANTED for value in row.values()] + MADE
    return {form for value in planted for form in kinds(value)}


def secrets(keys=()):
    """The secret and keys, in parts, and keys as HMAC pads them."""
    parts = {SECRET[:12], SECRET[-12:]}
    for key in keys:
        for pad in (0, 0x36, 0x5c):
            padded = bytes(byte ^ pad for byte in key)
            parts |= {padded[:16], padded[-16:]}
    return parts


def searched(process):
    """The memory of a held process, which has what is kept until the end: the search would find it."""
    found_in = memory(process.pid)
    is_whole = str(process.args[-1]).encode() in found_in
    assert is_whole
    return found_in


@pytest.mark.parametrize("is_stdin", [False, True], ids=["file", "stdin"])
def test_encode(tmp_path, is_stdin):
    write_people(tmp_path / "people.csv")
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "secret").write_bytes(SECRET)
    out, report = tmp_path / "out.json", tmp_path / "report"
    pairs = generate_key_lists(SECRET, len(SCHEMA["features"]), key_size=64, salt=SALT, info=INFO)
    keys = [key for pair in pairs for key in pair]
    arguments = ["encode", "people.csv", "--schema", "schema.json", "--secret-file", "-" if is_stdin else "secret",
                 "-o", out, "--report", report]
    with held(tmp_path, arguments, report, out.exists) as process:
        left = searched(process)
    remains = found(left, secrets(keys) | values())
    assert not remains


@pytest.mark.parametrize("keyed", [[], ["--keyed", "--secret-file", "secret"]], ids=["plain", "keyed"])
def test_block(tmp_path, keyed):
    write_people(tmp_path / "people.csv")
    (tmp_path / "secret").write_bytes(SECRET)

    def part(kind, column, **config):
        return {"type": kind, "feature": column, **({"config": config} if config else {})}

    (tmp_path / "blocking.json").write_text(json.dumps({"type": "p-sig", "version": 1, "config": {
        "blocking-features": ["given", "family", "town"], "filter": {"type": "count", "min": 0, "max": ROWS + 1},
        "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
        "signatureSpecs": [[part("feature-value", "given"), part("characters-at", "family", pos=["0:"])],
                           [part("metaphone", "town")], [part("feature-value", "born"), part("feature-value", "number")]]}}))
    out = tmp_path / "out.json"
    arguments = ["block", "people.csv", "--config", "blocking.json", *keyed, "-o", out]
    with held(tmp_path, arguments, out, lambda: True) as process:
        left = searched(process)
    capitals = {form for row in PLANTED for form in kinds(row["town"].upper())}
    remains = found(left, secrets() | values() | capitals)
    assert not remains
