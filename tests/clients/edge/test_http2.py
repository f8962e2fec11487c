"""A client of HTTP/2 gets the same answers as one of HTTP/1.1: over TLS, and in clear by prior knowledge."""

import asyncio
import gzip
import json
import ssl
import time

import httpx
import pytest

from harness.api import assert_problem, texts_of
from harness.server import Server

SIXTEEN = bytes(range(16))
ENCODINGS = [bytes([n]) * 16 for n in range(8)]


@pytest.fixture(scope="module", params=["clear", "tls"])
def server(tmp_path_factory, request):
    flags = ["--body-bytes-max", str(1 << 20)]
    if request.param == "tls":
        flags += ["--tls", "self-signed"]
    with Server(tmp_path_factory.mktemp("entityd"), *flags) as running:
        yield running


def options_of(server):
    verify = ssl.create_default_context(cafile=server.certificate) if server.certificate else True
    return {"base_url": server.url, "http1": False, "http2": True, "verify": verify, "timeout": 120}


@pytest.fixture
def client(server):
    with httpx.Client(**options_of(server)) as client:
        yield client


def created(client, **fields):
    answer = client.post("/projects", json={"schema": {}, "result_type": "groups", **fields})
    assert (answer.status_code, answer.http_version) == (201, "HTTP/2"), answer.text
    project = answer.json()
    return f"/projects/{project['project_id']}", project["result_token"], project["update_tokens"]


def post_binary(client, path, token, data=SIXTEEN, headers=()):
    given = [("Authorization", token), ("Content-Type", "application/octet-stream"), ("Hash-Count", "2"), ("Hash-Size", "8")]
    replaced = {name.lower() for name, _ in headers}
    given = [(name, value) for name, value in given if name.lower() not in replaced]
    return client.post(f"{path}/binaryclks", content=data, headers=[*given, *headers])


def test_a_linkage_from_beginning_to_end(client):
    path, token, parties = created(client)
    for party in parties:
        answer = client.post(f"{path}/clks", headers={"Authorization": party}, json={"clks": texts_of(ENCODINGS)})
        assert answer.status_code == 201, answer.text
    owner = {"Authorization": token}
    run = client.post(f"{path}/runs", headers=owner, json={"threshold": 0.9}).json()["run_id"]
    deadline = time.monotonic() + 120
    while client.get(f"{path}/runs/{run}/status", headers=owner).json()["state"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    result = client.get(f"{path}/runs/{run}/result", headers=owner)
    assert (result.status_code, result.http_version) == (200, "HTTP/2")
    assert len(result.json()["groups"]) == len(ENCODINGS) - 1, "an encoding without a set bit matches no other"
    assert client.delete(path, headers=owner).status_code == 204
    assert client.get(path, headers=owner).status_code == 403


@pytest.mark.parametrize("again", [("Hash-Count", "1"), ("Hash-Size", "16"), ("Authorization", "other"),
                                   ("Content-Type", "application/json")])
def test_a_repeated_header_is_refused(client, again):
    path, _, parties = created(client)
    own = {"Hash-Count": "2", "Hash-Size": "8", "Authorization": parties[0], "Content-Type": "application/octet-stream"}
    both = [(again[0], own[again[0]]), again]
    assert_problem(post_binary(client, path, parties[0], headers=both), 400, again[0])
    assert post_binary(client, path, parties[0]).status_code == 201


@pytest.mark.parametrize("number", ["+2", "002", "2.0", "2,2", ""])
def test_numbers_are_digits(client, number):
    path, _, parties = created(client)
    assert_problem(post_binary(client, path, parties[0], headers=[("Hash-Count", number)]), 400, "hash-count")
    assert post_binary(client, path, parties[0]).status_code == 201


def test_content_codings_are_decoded_and_others_are_named(client):
    path, _, parties = created(client)
    packed = gzip.compress(SIXTEEN)
    assert_problem(post_binary(client, path, parties[0], packed, [("Content-Encoding", "br")]), 415, "br")
    assert_problem(post_binary(client, path, parties[0], SIXTEEN, [("Content-Encoding", "gzip")]), 400)
    assert post_binary(client, path, parties[0], packed, [("Content-Encoding", "gzip")]).status_code == 201
    body = gzip.compress(json.dumps({"clks": texts_of(ENCODINGS)}).encode())
    headers = {"Authorization": parties[1], "Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post(f"{path}/clks", content=body, headers=headers).status_code == 201


def test_a_body_without_a_length_may_be_sent_piece_by_piece(client):
    path, _, parties = created(client)
    pieces = (SIXTEEN[at : at + 1] for at in range(16))
    assert post_binary(client, path, parties[0], pieces).status_code == 201


def test_an_early_refusal_reaches_the_sender(client):
    """The answer comes before the body has been sent; the connection can still be used."""
    path, _, parties = created(client)
    large = (bytes(1 << 16) for _ in range(200))
    assert post_binary(client, path, "wrong", large).status_code == 403
    large = (bytes(1 << 16) for _ in range(200))
    assert_problem(post_binary(client, path, parties[0], large, [("Hash-Count", "1638400")]), 413)
    assert post_binary(client, path, parties[0]).status_code == 201


def test_bearer_tokens_and_unknown_paths(client):
    path, token, _ = created(client)
    assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert client.get(path).status_code == 400, "as in HTTP/1.1: a token is missing"
    assert_problem(client.get("/nothing"), 404)
    assert_problem(client.put("/projects"), 405)


def test_many_requests_share_a_connection(server, client):
    path, token, _ = created(client)

    # On one thread: the protocol's state in this client is not made for several.
    async def ask():
        options = {**options_of(server), "limits": httpx.Limits(max_connections=1)}
        async with httpx.AsyncClient(**options) as asking:
            requests = [asking.get(path, headers={"Authorization": token}) for _ in range(200)]
            return {answer.status_code for answer in await asyncio.gather(*requests)}

    assert asyncio.run(ask()) == {200}
