"""Uploads in several requests: nothing that was acknowledged is lost, and at the end each is an upload like any other."""

import base64
import gzip
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.api import Api, is_token, receipt
from harness.commands import Commands
from harness.cutting_proxy import CuttingProxy
from harness.server import BINARY, Server, clean_environment
from harness.wait import until

LONG = os.environ.get("TESTS_LONG") == "1"
SIZE = 128
PART = {"Content-Type": "application/partial-upload"}
TYPES = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture(scope="module")
def chance():
    seed = int(os.environ.get("TESTS_SEED") or random.randrange(1 << 32))
    print(f"TESTS_SEED={seed}")
    return random.Random(seed)


class Upload:
    """An upload of a party that was begun."""

    def __init__(self, project, party, total, *, json_body=False, headers=None, first=b""):
        self.project, self.token = project, project.update_tokens[party]
        kind = {"Content-Type": "application/json"}
        if not json_body:
            kind = {"Content-Type": "application/octet-stream", "Hash-Size": str(SIZE), "Hash-Count": str(total // SIZE)}
        headers = {**kind, "Upload-Complete": "?0", **(headers or {})}
        path = f"{project.path}/{'clks' if json_body else 'binaryclks'}"
        self.begun = project.api.post(path, self.token, headers=headers, data=first)
        place = self.begun.headers.get("Location")
        self.path = place and place.removeprefix("/api/v1")

    def head(self, token=None):
        return self.project.api.call("HEAD", self.path, token or self.token)

    def offset(self):
        answer = self.head()
        assert answer.status_code == 204, answer.status_code
        return int(answer.headers["Upload-Offset"])

    def part(self, offset, data, last=False, token=None, **more):
        headers = {**PART, "Upload-Offset": str(offset), "Upload-Complete": f"?{int(last)}", **more}
        return self.project.api.call("PATCH", self.path, token or self.token, headers=headers, data=data)

    def cut(self, server, offset, data, sent, reset):
        """Announces all the data, sends the first bytes, and closes or resets the connection."""
        head = f"PATCH /api/v1{self.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {self.token}\r\n"
        head += f"Content-Type: application/partial-upload\r\nContent-Length: {len(data)}\r\n"
        head += f"Upload-Offset: {offset}\r\nUpload-Complete: ?1\r\n\r\n"
        with socket.create_connection((server.host, server.port), timeout=60) as line:
            line.sendall(head.encode())
            line.sendall(data[:sent])
            if reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def problem(response, status, kind="about:blank"):
    assert response.status_code == status, (response.status_code, response.text[:500])
    found = response.json()
    kind = kind if kind == "about:blank" else TYPES + kind
    assert (found["type"], found["status"]) == (kind, status) and found["detail"], found
    return found


def rows(chance, count):
    # A call returns less than 256 MiB.
    return b"".join(chance.randbytes(SIZE * min(1 << 16, count - at)) for at in range(0, count, 1 << 16))


def stored(server, project, kind="matrix"):
    """The encodings of the project as they are stored."""
    files = (server.data / "objects" / "projects" / project.id).rglob(kind)
    return [file.read_bytes() for file in files]


def left(server):
    return [file for file in (server.data / "uploads").iterdir() if file.name != "node"]


def restart(server):
    server.process.kill()
    server.process.wait()
    server.__enter__()


def test_broken_connections_lose_nothing(server, api, chance):
    breaks, size = (200, 1 << 30) if LONG else (20, 4 << 20)
    data = rows(chance, size // SIZE)
    project = api.project("groups")
    upload = Upload(project, 0, size, headers={"Upload-Length": str(size)})
    assert upload.begun.status_code == 201 and upload.begun.headers["Upload-Offset"] == "0"
    offset, resumed = 0, 0
    for at in range(breaks):
        sent = chance.randrange(1, 2 * (size - offset) // (breaks - at + 1))
        upload.cut(server, offset, data[offset:] if not LONG else data[offset : offset + 2 * sent], min(sent, size - offset - 1), reset=at % 2 == 1)
        # The server may read a part only after it has reported the offset, as if the part had been sent later.
        found = upload.offset()
        assert offset <= found < size
        resumed += found > offset
        offset = found
    # Bytes may be lost with a reset connection, and the offset may be asked for before a part is read. The rest is kept.
    assert resumed > 0 and offset > 0
    while (answer := upload.part(offset, data[offset:], last=True)).status_code == 409:
        offset = upload.offset()
    assert is_token(receipt(answer)) and answer.headers["Upload-Complete"] == "?1"
    assert stored(server, project) == [data]


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("form", ["clks", "clknblocks", "binary"])
def test_every_form_gives_the_result_of_an_upload_in_one_request(api, chance, form, coding):
    people = [chance.randbytes(SIZE) for _ in range(200)]
    texts = [base64.b64encode(row).decode() for row in people]
    blocks = form == "clknblocks"
    results = []
    for in_parts in (False, True):
        project = api.project("groups", blocking=blocks)
        for party in (0, 1):
            if form == "binary":
                body = b"".join(people)
            else:
                body = json.dumps({form: [[text, "a"] for text in texts] if blocks else texts}).encode()
            headers = {}
            if coding:
                body, headers = gzip.compress(body), {"Content-Encoding": coding}
            if not in_parts:
                if form == "binary":
                    receipt(project.post_binary(party, body, len(people), SIZE, headers=headers))
                else:
                    headers["Content-Type"] = "application/json"
                    receipt(api.post(f"{project.path}/clks", project.update_tokens[party], headers=headers, data=body))
                continue
            cuts = sorted(chance.sample(range(1, len(body)), 3))
            upload = Upload(project, party, len(people) * SIZE, json_body=form != "binary", headers=headers, first=body[: cuts[0]])
            assert upload.begun.headers["Upload-Offset"] == str(cuts[0]), upload.begun.text
            for begin, end in zip(cuts, cuts[1:]):
                answer = upload.part(begin, body[begin:end])
                assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(end))
            receipt(upload.part(cuts[-1], body[cuts[-1] :], last=True))
        result = project.run(0.9).result()["groups"]
        results.append(sorted(sorted(map(tuple, group)) for group in result))
    assert results[0] == results[1] and len(results[0]) == 200


def test_an_upload_survives_kills_and_restarts(tmp_path, chance):
    size = 24 << 20
    data = rows(chance, size // SIZE)
    with Server(tmp_path) as server, Api(server.url) as api:
        project = api.project("groups")
        upload = Upload(project, 0, size)
        assert upload.part(0, data[:1_000_001]).status_code == 204
        restart(server)
        assert upload.offset() == 1_000_001
        # A kill while bytes arrive: the bytes that were synced in the meantime are kept, and no part is torn.
        with ThreadPoolExecutor() as pool:
            pieces, killed = [data[at : at + (1 << 20)] for at in range(1_000_001, size, 1 << 20)], threading.Event()
            sending = pool.submit(upload.part, 1_000_001, paced(pieces[:16], pieces[16:], killed))
            path = server.data / "uploads" / upload.path.rpartition("/")[2]
            try:
                until(lambda: path.stat().st_size > 12 << 20, "half of it has arrived")
                restart(server)
            finally:
                killed.set()
            assert sending.exception() is not None
        offset = upload.offset()
        assert 8 << 20 <= offset <= size, offset
        assert path.read_bytes() == data[:offset]
        receipt(upload.part(offset, data[offset:], last=True))
        assert stored(server, project) == [data]
        # The receipt token was lost; another start in between changes nothing.
        restart(server)
        assert upload.head().headers["Upload-Complete"] == "?1"
        first = receipt(upload.part(size, b"", last=True))
        second = receipt(upload.part(size, b"", last=True))
        assert first != second
        problem(upload.part(size, b"x", last=True), 400, "completed-upload")
        problem(upload.part(0, b"", last=True), 409, "mismatching-upload-offset")
        assert api.delete(project.path, project.token).status_code == 204
        until(lambda: left(server) == [], "nothing is left")


def paced(first, rest, killed):
    """Yields pieces slowly; those of `rest` once the server was killed."""
    for piece in first:
        yield piece
        time.sleep(0.03)
    killed.wait()
    yield from rest


def test_a_part_at_a_wrong_place_changes_nothing(server, api, chance):
    data = rows(chance, 100)
    project = api.project("groups")
    upload = Upload(project, 0, len(data), headers={"Upload-Length": str(len(data))})
    assert upload.part(0, data[:1_000]).status_code == 204
    for offset in (0, 999, 1_001, len(data)):
        said = problem(upload.part(offset, data[offset:]), 409, "mismatching-upload-offset")
        assert (said["expected-offset"], said["provided-offset"]) == (1_000, offset)
    problem(upload.part(1_000, data[1_000:] + b"x", last=True), 400, "inconsistent-upload-length")
    problem(upload.part(1_000, data[1_000:-1], last=True), 400, "inconsistent-upload-length")
    problem(upload.part(1_000, data[1_000:], last=True, **{"Upload-Length": "7"}), 400, "inconsistent-upload-length")
    for wrong in ({"Upload-Offset": "-1"}, {"Upload-Offset": "1e3"}, {"Upload-Complete": "true"}, {"Upload-Draft-Interop-Version": "3"}):
        problem(upload.part(1_000, b"x", **wrong), 400)
    problem(upload.part(1_000, b"x", **{"Content-Type": "application/octet-stream"}), 415)
    problem(upload.part(1_000, b"x", **{"Content-Encoding": "gzip"}), 415)
    assert upload.offset() == 1_000
    receipt(upload.part(1_000, data[1_000:], last=True))
    assert stored(server, project) == [data]


def test_of_two_requests_at_once_the_later_one_counts(server, api, chance):
    data = rows(chance, 1_000)
    project = api.project("groups")
    upload = Upload(project, 0, len(data))
    head = f"PATCH /api/v1{upload.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {upload.token}\r\nContent-Type: "
    head += "application/partial-upload\r\nUpload-Complete: ?1\r\n"
    for attempt in range(1, 40):
        begin = upload.offset()
        end = begin + 5_000
        with socket.create_connection((server.host, server.port), timeout=60) as line:
            more = f"Content-Length: {len(data) - begin}\r\nUpload-Offset: {begin}\r\n\r\n"
            line.sendall((head + more).encode() + data[begin:end])
            # A request that comes too early ends the first one before its bytes have arrived.
            time.sleep(0.1 * attempt)
            if upload.part(end + 1, b"").json()["expected-offset"] == end:
                answer = line.recv(65_536).decode()
                break
    assert answer.startswith("HTTP/1.1 409") and "a newer request about this upload" in answer, answer
    assert upload.offset() == end
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: upload.part(end, data[end : end + 1_000]), range(4)))
    assert sorted(answer.status_code for answer in ended) in ([204, 409, 409, 409], [409] * 4)
    offset = upload.offset()
    receipt(upload.part(offset, data[offset:], last=True))
    assert stored(server, project) == [data]


def test_an_upload_belongs_to_its_party(server, api, chance):
    data = rows(chance, 10)
    project, other = api.project("groups"), api.project("groups")
    upload = Upload(project, 0, len(data))
    for token, status in ((project.update_tokens[1], 404), (project.token, 403), (other.update_tokens[0], 403), ("0" * 48, 403)):
        problem(upload.part(0, data, last=True, token=token), status)
        problem(project.api.call("DELETE", upload.path, token), status)
        assert upload.head(token).status_code == status
    moved = upload.path.replace(project.id, other.id)
    problem(api.call("PATCH", moved, other.update_tokens[0], data=data, headers={**PART, "Upload-Offset": "0", "Upload-Complete": "?1"}), 404)
    node = upload.path.rpartition("/")[2][:8]
    for absent, status in ((node + "0" * 40, 404), ("x", 404), (f"{int(node, 16) ^ 1:08x}" + "0" * 40, 421)):
        problem(api.call("DELETE", f"{project.path}/uploads/{absent}", project.update_tokens[0]), status)
    assert upload.offset() == 0
    assert api.call("DELETE", upload.path, upload.token).status_code == 204
    problem(upload.part(0, data, last=True), 404)
    assert not [file for file in left(server) if file.name.startswith(upload.path.rpartition("/")[2])]


def test_what_is_rejected_leaves_the_token_unused(server, api, chance):
    before = len(left(server))
    project = api.project("groups")
    for body, status in ((b'{"clks": [', 400), (b"{}", 400), (b'{"clknblocks": [["AAAAAAAAAAA=", "a"]]}', 403)):
        upload = Upload(project, 0, 0, json_body=True, first=body[:2])
        problem(upload.part(2, body[2:], last=True), status)
        assert upload.head().status_code == 404
        until(lambda: len(left(server)) == before, "nothing is left")
    wrong = Upload(project, 0, 256, headers={"Upload-Length": "255"})
    problem(wrong.begun, 400)
    # The first of two uploads is accepted, and the other one ends.
    data = rows(chance, 2)
    one, two = Upload(project, 0, 256, first=data[:128]), Upload(project, 0, 256)
    receipt(one.part(128, data[128:], last=True))
    problem(two.part(0, data, last=True), 403)
    assert two.head().status_code == 404
    problem(Upload(project, 0, 256).begun, 403)
    # A party that has the encodings gets another receipt token.
    again = Upload(project, 0, 256, headers={"Receipt-Again": "true"})
    assert is_token(receipt(again.part(0, data, last=True)))


def test_limits(tmp_path, chance):
    flags = ["--body-bytes-max", "1000000", "--spool-bytes-max", "3000000", "--partial-uploads-max", "20"]
    with Server(tmp_path, *flags) as server, Api(server.url) as api:
        project = api.project("groups")
        offered = api.call("OPTIONS", f"{project.path}/clks")
        assert offered.status_code == 204 and offered.headers["Upload-Limit"] == "max-size=1000000, max-age=86400"
        problem(Upload(project, 0, 0, json_body=True, headers={"Upload-Length": "1000001"}).begun, 413)
        upload = Upload(project, 0, 0, json_body=True, first=bytes(1_000_000))
        problem(upload.part(1_000_000, b"x"), 413)
        assert upload.offset() == 1_000_000
        # The space of all uploads together, counted also after a restart.
        second = Upload(project, 0, 0, json_body=True, first=bytes(1_000_000))
        restart(server)
        third = Upload(project, 0, 0, json_body=True)
        problem(third.part(0, bytes(1_000_000)), 507)
        kept = third.offset()
        assert kept < 1_000_000
        assert api.call("DELETE", second.path, second.token).status_code == 204
        assert third.part(kept, bytes(1_000_000 - kept)).status_code == 204
        # Uploads without any bytes make room for others: their URL was lost.
        empty = [Upload(project, 0, 0, json_body=True) for _ in range(20)]
        assert [one.head().status_code for one in empty] == [404] * 6 + [204] * 14
        for one in empty[6:]:
            assert one.part(0, b"{").status_code == 204
        said = problem(Upload(project, 0, 0, json_body=True).begun, 409)
        assert "16 open uploads" in said["detail"]
        others = [Upload(project, 1, 0, json_body=True).begun.status_code for _ in range(5)]
        assert others == [201] * 4 + [503]


def test_uploads_expire(tmp_path):
    with Server(tmp_path, "--partial-upload-expiry-ms", "12000") as server, Api(server.url) as api:
        project = api.project("groups")
        upload = Upload(project, 0, 0, json_body=True, first=b"{")
        for _ in range(3):
            time.sleep(4.5)
            assert upload.offset() == 1
        restart(server)
        assert upload.offset() == 1
        until(lambda: left(server) == [], "the upload expires")
        problem(upload.part(1, b"}"), 404)


def test_the_command_continues_after_broken_connections_and_after_it_was_killed(tmp_path, chance):
    count = (1 << 30 if LONG else 6 << 20) // SIZE
    data = rows(chance, count)
    (tmp_path / "left.bin").write_bytes(data)
    commands = Commands(tmp_path)
    with Server(tmp_path) as server:
        commands.done("project", "create", "--save", "study", "--server", server.origin)
        budgets = [chance.randrange(200_000, len(data) // 4) for _ in range(4)]
        kept = tmp_path / "left.bin.entityd-upload"
        with CuttingProxy(server.port, budgets) as proxy:
            words = ["upload", "left.bin", "--encoding-bytes", SIZE, "--profile", "study/party-0.toml"]
            words += ["--server", f"http://127.0.0.1:{proxy.port}"]
            # Killed once some of it has arrived.
            command = [BINARY, *map(str, words)]
            first = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True)
            until(lambda: sum(path.stat().st_size for path in left(server)) > 500_000, "some of it has arrived")
            first.kill()
            first.communicate()
            assert kept.stat().st_mode & 0o777 == 0o600
            secret = (tmp_path / "study/party-0.toml").read_text().split('update_token = "')[1][:48]
            assert secret not in kept.read_text()
            ended = commands.run(*words)
            assert ended.returncode == 0 and "continuing an upload at" in ended.stderr, ended.stderr
            assert proxy.cuts >= 3
        assert not kept.exists()
        assert [file.read_bytes() for file in (server.data / "objects" / "projects").rglob("matrix")] == [data]


def test_the_command_begins_again_when_the_server_has_removed_the_upload(tmp_path, chance):
    data = rows(chance, 20_000)
    (tmp_path / "left.bin").write_bytes(data)
    commands = Commands(tmp_path)
    with Server(tmp_path) as server:
        commands.done("project", "create", "--save", "study", "--server", server.origin)
        kept = tmp_path / "left.bin.entityd-upload"
        with CuttingProxy(server.port, [1_000_000] + [100] * 200) as proxy:
            words = ["upload", "left.bin", "--encoding-bytes", SIZE, "--profile", "study/party-0.toml", "--server"]
            ended = commands.run(*words, f"http://127.0.0.1:{proxy.port}", "--retry", 1)
            assert ended.returncode == 1 and "run the same command again" in ended.stderr, ended.stderr
        assert json.loads(kept.read_text())["bytes"] == len(data)
        # The stored state is for another URL, and then for an upload that no longer exists.
        state = json.loads(kept.read_text())
        state["server"] = f"{server.origin}/api/v1"
        state["upload"] = state["upload"][:8] + "0" * 40
        kept.write_text(json.dumps(state))
        ended = commands.run(*words, server.origin)
        assert ended.returncode == 0 and not kept.exists(), ended.stderr
        assert [file.read_bytes() for file in (server.data / "objects" / "projects").rglob("matrix")] == [data]
