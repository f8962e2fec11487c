"""Bodies with a content coding are decoded as they arrive, everywhere; a wrong Content-Encoding is rejected and never linked."""

import gzip
import io
import json
import os
import subprocess
import zlib

import pytest

from harness import external
from harness.api import assert_problem, texts_of

ENCODINGS = [[os.urandom(64) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:50] = ENCODINGS[0][:50]


def bare_deflate(data):
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    "Deflate": zlib.compress,
    "deflate": bare_deflate,
    "zstd": zstd,
    "gzip, zstd": lambda data: zstd(gzip.compress(data)),
    "identity": bytes,
}


def binary(project, party, body, coding, count=300):
    return project.post_binary(party, body, count, 64, headers={"Content-Encoding": coding})


def in_json(project, path, token, body, coding):
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    return project.api.post(project.path + path, token, headers=headers, data=body)


def pieces(data):
    """Yields the data in pieces, so that it is sent without a length."""
    yield from (data[start:start + 1000] for start in range(0, len(data), 1000))


@pytest.mark.parametrize("coding", CODINGS)
def test_uploads_and_runs_may_be_coded(api, coding):
    encode = CODINGS[coding]
    body = encode(json.dumps({"schema": {}, "result_type": "groups"}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    created = api.post("/projects", headers=headers, data=body)
    assert created.status_code == 201, created.text
    project = type(api.project())(api, created.json())
    assert binary(project, 0, encode(b"".join(ENCODINGS[0])), coding).status_code == 201
    body = encode(json.dumps({"clks": texts_of(ENCODINGS[1])}).encode())
    assert in_json(project, "/clks", project.update_tokens[1], pieces(body), coding).status_code == 201
    run = in_json(project, "/runs", project.token, encode(b'{"threshold": 0.95}'), coding)
    assert run.status_code == 201, run.text
    groups = next(iter(project.runs()))
    found = project.run(0.95).result()["groups"]
    assert groups and sorted(sorted(group) for group in found) == [[[0, i], [1, i]] for i in range(50)]


@pytest.mark.parametrize("coding", ["br", "nonsense", "compress", "gzip, br", "gzip,gzip,gzip,gzip"])
def test_an_unknown_coding_is_named(api, coding):
    project = api.project()
    body = json.dumps({"clks": texts_of(ENCODINGS[0])}).encode()
    name = coding.rpartition(",")[2].strip()
    assert_problem(in_json(project, "/clks", project.update_tokens[0], body, coding), 415, name)
    assert_problem(binary(project, 0, bytes(300 * 64), coding), 415, name)
    assert_problem(in_json(project, "/runs", project.token, b'{"threshold": 0.9}', coding), 415, name)
    project.upload_encodings(0, ENCODINGS[0])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_wrong_content_encoding_is_rejected(api, coding):
    project = api.project()
    plain = json.dumps({"clks": texts_of(ENCODINGS[0])}).encode()
    encode = CODINGS[coding]
    coded = encode(plain)
    for body in (plain, coded[:-9], coded + b"more", b"\x00" * 100):
        assert_problem(in_json(project, "/clks", project.update_tokens[0], body, coding), 400, coding)
    assert_problem(binary(project, 0, bytes(300 * 64), coding), 400)
    assert_problem(in_json(project, "/runs", project.token, b'{"threshold": 0.9}', coding), 400, coding)
    # Compressed bytes without a Content-Encoding are not decoded.
    assert_problem(in_json(project, "/clks", project.update_tokens[0], coded, "identity"), 400)
    project.upload_encodings(0, ENCODINGS[0])


def test_the_decoded_length_counts(api):
    project = api.project()
    data = b"".join(ENCODINGS[0])
    assert_problem(binary(project, 0, gzip.compress(data[:-1]), "gzip"), 400)
    assert_problem(binary(project, 0, gzip.compress(data + b"x"), "gzip"), 400)
    # The coded length fits the headers, but the decoded length does not.
    coded = gzip.compress(data)
    padded = coded + bytes(-len(coded) % 64)
    assert_problem(binary(project, 0, padded, "gzip", count=len(padded) // 64), 400)


def test_a_decompression_bomb_is_stopped_at_the_limit_in_constant_memory(api, server):
    project = api.project()
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb") as file:
        file.write(b'{"threshold": 0.9, "notes": "')
        for _ in range(200):
            file.write(b" " * (1 << 20))
    server.wait_until_idle(0.3)
    idle = server.reset_peak()
    for body, coding in ((bomb.getvalue(), "gzip"), (gzip.compress(bomb.getvalue()), "gzip, gzip"),
                         (zstd(bytes(200 << 20)), "zstd")):
        assert_problem(in_json(project, "/runs", project.token, body, coding), 413)
    assert server.peak() - idle < 48 << 20


@pytest.mark.parametrize("name, encode", [("e.bin", gzip.compress), ("e.json", zstd)])
def test_files_in_the_object_store_may_be_coded(api, name, encode):
    project = api.project()
    coding = {gzip.compress: "gzip", zstd: "zstd"}[encode]
    given = external.authorize(project, 0)
    store = external.client(given["upload"], given["credentials"])
    data = json.dumps({"clks": texts_of(ENCODINGS[0])}).encode() if name == "e.json" else b"".join(ENCODINGS[0])
    metadata = {**external.counted(ENCODINGS[0]), "Content-Encoding": coding}
    file = external.put(store, given["upload"], name, encode(data), metadata)
    assert project.post_clks(0, {"encodings": file}).status_code == 201
    project.upload_encodings(1, ENCODINGS[1])
    assert len(project.run(0.95).result()["groups"]) == 50


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_file_with_a_wrong_content_encoding_is_a_project_error_that_names_it(api, coding):
    project = api.project()
    given = external.authorize(project, 0)
    store = external.client(given["upload"], given["credentials"])
    metadata = {**external.counted(ENCODINGS[0]), "Content-Encoding": coding}
    file = external.put(store, given["upload"], "e.bin", b"".join(ENCODINGS[0]), metadata)
    assert project.post_clks(0, {"encodings": file}).status_code == 201
    assert coding in external.wait_for_error(project)
