"""Results are compressed for clients that accept it, and decode to the same bytes."""

import contextlib
import gzip
import json
import random
import socket
import subprocess
import time

import boto3
import pytest
import requests
from botocore.config import Config

from harness.api import Api
from harness.server import Server

# Its compressed result exceeds the kernel's buffers for a client that does not read.
RECORDS = 1_200
# This many responses are compressed at a time.
TURNS = 16
STALLED = 40
BUDGET = 64 << 20
FAR = {"X-Forwarded-For": "192.0.2.1"}
FLAGS = ["--trusted-proxies", "127.0.0.1", "--log", "error", "--transfer-timeout-ms", "600000"]


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """A server behind a proxy, with a result of some megabytes and a small one."""
    rng = random.Random(1)
    with Server(tmp_path_factory.mktemp("entityd"), *FLAGS) as server, Api(server.url) as api:
        runs = []
        for records, threshold in ((RECORDS, 0.01), (1, 0.01)):
            project = api.project("similarity_scores")
            for party in range(2):
                project.upload_encodings(party, [rng.randbytes(16) for _ in range(records)])
            runs.append(project.run(threshold))
            runs[-1].complete(timeout_s=300)
        yield server, *runs


def ask(run, method="GET", accept=None, near=False, token=None):
    """Returns the response as it is on the wire."""
    headers = {"Accept-Encoding": accept, "Authorization": token or run.project.token, **({} if near else FAR)}
    url = f"{run.api.url}{run.path}/result"
    with requests.Session() as session:
        answer = session.request(method, url, headers=headers, stream=True, timeout=180)
        answer.raw_body = answer.raw.read(decode_content=False)
    return answer


def curl(run, *words):
    """Returns the result and its headers as `curl` prints them."""
    url = f"{run.api.url}{run.path}/result"
    headers = ["-H", f"Authorization: {run.project.token}", "-H", "X-Forwarded-For: 192.0.2.1"]
    command = ["curl", "--silent", "--show-error", "--fail", "--dump-header", "/dev/stderr", *headers, *words, url]
    done = subprocess.run(command, check=True, capture_output=True, timeout=180)
    return done.stdout, done.stderr.decode().lower()


def test_curl_gets_the_same_bytes_in_every_coding(linked):
    _, run, _ = linked
    plain, headers = curl(run)
    assert len(plain) > 32 << 20 and f"content-length: {len(plain)}\r" in headers
    assert "\ncontent-encoding:" not in headers and "vary: accept-encoding" in headers
    assert len(json.loads(plain)["similarity_scores"]) > RECORDS * RECORDS // 2
    for words in ([], ["--http2-prior-knowledge"]):
        for accept, coding in (("gzip", "gzip"), ("zstd", "zstd"), ("deflate, gzip, br, zstd", "zstd")):
            # With `--compressed`, curl decodes; the header lists the accepted codings.
            same, headers = curl(run, "--compressed", "-H", f"Accept-Encoding: {accept}", *words)
            assert same == plain, (accept, words)
            assert f"content-encoding: {coding}\r" in headers and "vary: accept-encoding\r" in headers
            assert "\ncontent-length" not in headers and "content-type: application/json\r" in headers
    assert curl(run, "--compressed")[0] == plain


def test_the_client_chooses_the_coding(linked):
    _, run, _ = linked
    plain = ask(run, accept="identity").raw_body
    for accept, coding in (
        ("gzip;q=0.5, zstd;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("br, deflate", None),
        ("identity;q=0", None),
        ("*;q=0", None),
        (None, None),
    ):
        answer = ask(run, accept=accept)
        assert answer.status_code == 200 and answer.headers.get("Content-Encoding") == coding, accept
        body = answer.raw_body
        assert (gzip.decompress(body) if coding else body) == plain, accept
        assert coding is None or len(body) < len(plain) / 2


def test_head_has_the_headers_of_get(linked):
    _, run, _ = linked
    for accept in ("gzip", "identity"):
        got, head = ask(run, accept=accept), ask(run, "HEAD", accept=accept)
        for name in ("Content-Encoding", "Content-Length", "Content-Type", "Vary"):
            assert got.headers.get(name) == head.headers.get(name), (accept, name)
        assert head.status_code == 200 and head.raw_body == b""


def test_local_small_and_refused_answers_are_not_compressed(linked):
    _, run, small = linked
    for answer, status in (
        (ask(run, accept="gzip", near=True), 200),
        (ask(small, accept="gzip"), 200),
        (ask(run, accept="gzip", token="0" * 48), 403),
        # The compression layer would turn it into a 406, and the wrong token would not be counted.
        (ask(run, accept="*;q=0", token="0" * 48), 403),
    ):
        assert answer.status_code == status and "Content-Encoding" not in answer.headers
        assert int(answer.headers["Content-Length"]) == len(answer.raw_body)


def test_pair_files_and_addresses_are_never_compressed(linked):
    server, run, _ = linked
    headers = {"RETURN-OBJECT-STORE-ADDRESS": "1", "Accept-Encoding": "gzip", **FAR}
    answer = run.get_result(headers=headers)
    place = answer.json()
    assert "Content-Encoding" not in answer.headers
    store = boto3.client(
        "s3",
        endpoint_url=f"http://{server.host}:{server.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=place["credentials"]["AccessKeyId"],
        aws_secret_access_key=place["credentials"]["SecretAccessKey"],
        aws_session_token=place["credentials"]["SessionToken"],
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )
    url = store.generate_presigned_url(
        "get_object", Params={"Bucket": place["object"]["bucket"], "Key": place["object"]["path"]}
    )
    pairs = requests.get(url, headers={"Accept-Encoding": "gzip, zstd", **FAR}, timeout=120)
    assert pairs.status_code == 200 and "Content-Encoding" not in pairs.headers
    assert int(pairs.headers["Content-Length"]) == len(pairs.content)


def test_clients_that_stop_reading_cost_little_and_others_are_served(linked):
    server, run, _ = linked
    plain = ask(run, accept="identity").raw_body
    head = f"GET /api/v1{run.path}/result HTTP/1.1\r\nHost: a\r\nAuthorization: {run.project.token}\r\n"
    head += "Accept-Encoding: zstd\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    server.wait_until_idle()
    before = server.reset_peak()
    with contextlib.ExitStack() as stack:
        talks = []
        for _ in range(STALLED):
            talk = socket.socket()
            stack.enter_context(talk)
            # The bytes in the kernel's buffers count as sent.
            talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            talk.settimeout(120)
            talk.connect((server.host, server.port))
            talk.sendall(head.encode())
            talks.append(talk)
        codings = [b"content-encoding: zstd" in talk.recv(1 << 12) for talk in talks]
        assert codings.count(True) == TURNS
        # Stalled clients take no processor time.
        server.wait_until_idle()
        raised = server.peak() - before
        assert raised < BUDGET, f"{STALLED} stalled clients raised peak memory by {raised / 2**20:.1f} MiB"
        answer = ask(run, accept="gzip")
        assert "Content-Encoding" not in answer.headers and answer.raw_body == plain
    deadline = time.monotonic() + 120
    while "Content-Encoding" not in ask(run, accept="gzip").headers:
        assert time.monotonic() < deadline, "a compression slot is not released"
        time.sleep(0.1)


@pytest.mark.parametrize(("mode", "near", "coding"), [("always", True, "gzip"), ("off", False, None)])
def test_the_operator_chooses_when_to_compress(tmp_path, mode, near, coding):
    with Server(tmp_path, *FLAGS, "--compress-results", mode) as server, Api(server.url) as api:
        project = api.project("groups")
        for party in range(2):
            project.upload_encodings(party, [n.to_bytes(8, "big") for n in range(1, 400)])
        run = project.run(1.0)
        run.complete()
        answer = ask(run, accept="gzip", near=near)
        assert answer.headers.get("Content-Encoding") == coding
