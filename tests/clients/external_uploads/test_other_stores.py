"""Uploads that name files in an object store of another provider: only if the operator has listed it, with the keys in the
upload, and without following redirects. That store is another entityd."""

import contextlib
import http.server
import io
import json
import os
import threading
from pathlib import Path

import pytest
from minio import Minio

from harness import external
from harness.api import Api, assert_problem, texts_of
from harness.server import Server, free_ports

ENCODINGS = [[os.urandom(64) for _ in range(200)] for _ in range(2)]
ENCODINGS[1][:50] = ENCODINGS[0][:50]
BUCKET, NAME = "theirs", "folder/encodings.bin"


class Store:
    """The other store, with a bucket that its owner has put files into."""

    def __init__(self, server):
        self.endpoint = f"127.0.0.1:{server.s3_port}"
        self.access_key, self.secret_key = (server.data / "s3-credentials").read_text().split()
        self.client = Minio(self.endpoint, self.access_key, self.secret_key, secure=False)

    def put(self, name, data, metadata=None):
        self.client.put_object(BUCKET, name, io.BytesIO(data), len(data), metadata=metadata)

    def reference(self, name=NAME, endpoint=None, **credentials):
        keys = {"AccessKeyId": self.access_key, "SecretAccessKey": self.secret_key, **credentials}
        file = {"bucket": BUCKET, "path": name, "endpoint": endpoint or self.endpoint, "secure": False}
        return {"file": file, "credentials": {**keys, "SessionToken": None}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("theirs")) as server:
        theirs = Store(server)
        theirs.client.make_bucket(BUCKET)
        theirs.put(NAME, b"".join(ENCODINGS[0]), external.counted(ENCODINGS[0]))
        yield theirs


@contextlib.contextmanager
def listing(folder, endpoints):
    """A server that reads from these stores, with its most detailed log."""
    with Server(folder, "--external-endpoints", endpoints, "--log", "trace") as server, Api(server.url) as api:
        yield server, api


@pytest.fixture(scope="module")
def ours(store, tmp_path_factory):
    with listing(tmp_path_factory.mktemp("ours"), store.endpoint) as served:
        yield served


@contextlib.contextmanager
def answering(status, headers):
    """A store that sends this response to every request; yields its endpoint and the requests that it got."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def stored_bytes(folder):
    return [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]


def test_files_of_a_listed_store_are_linked_and_stay_and_their_keys_are_forgotten(ours, store):
    server, api = ours
    blocks = {str(record): ["a", 7] for record in range(200)}
    store.put("blocks.json", json.dumps({"blocks": blocks}).encode())
    project = api.project(blocking=True)
    both = {"encodings": store.reference(), "blocks": store.reference("blocks.json")}
    assert project.post_clks(0, both).status_code == 201
    assert external.upload(project, 1, ENCODINGS[1], blocks).status_code == 201
    groups = project.run(0.95).result()["groups"]
    assert sorted(sorted(group) for group in groups) == [[[0, i], [1, i]] for i in range(50)]
    assert store.client.stat_object(BUCKET, NAME).size == 200 * 64
    secret = store.secret_key.encode()
    assert not any(secret in data for data in stored_bytes(server.data))
    assert store.secret_key not in server.log.read_text()


def test_an_upload_may_name_files_in_our_store_and_in_another(ours, store):
    _, api = ours
    project = api.project(blocking=True)
    given = external.authorize(project, 0)
    own = external.client(given["upload"], given["credentials"])
    blocks = external.put(own, given["upload"], "b.json", b'{"blocks": {"0": ["x"]}}')
    assert project.post_clks(0, {"encodings": store.reference(), "blocks": blocks}).status_code == 201
    project.upload(1, {"clknblocks": [[text, "x"] for text in texts_of(ENCODINGS[0][:1])]})
    assert project.run(0.95).result()["groups"] == [[[0, 0], [1, 0]]]


def test_a_store_that_is_not_listed_gets_no_request(server, api, store):
    project = api.project()
    refused = project.post_clks(0, {"encodings": store.reference()})
    assert_problem(refused, 400, "--external-endpoints")
    project.upload_encodings(0, ENCODINGS[0])
    assert store.secret_key not in server.log.read_text()


def test_an_upload_must_contain_its_keys(ours, store):
    _, api = ours
    project = api.project()
    reference = store.reference()
    del reference["credentials"]
    assert_problem(project.post_clks(0, {"encodings": reference}), 400, "credentials")
    for path in ("", "a//b", "../x", "/x"):
        assert_problem(project.post_clks(0, {"encodings": store.reference(path)}), 400, "path")
    project.upload_encodings(0, ENCODINGS[0])


def test_a_refusal_of_the_store_is_a_project_error_that_another_upload_clears(ours, store):
    server, api = ours
    project = api.project()
    for reference, said in [
        (store.reference(SecretAccessKey="wrong-secret-key"), "SignatureDoesNotMatch"),
        (store.reference("nothing.bin"), "nothing.bin"),
    ]:
        assert project.post_clks(0, {"encodings": reference}).status_code == 201
        assert said in external.wait_for_error(project)
    assert "wrong-secret-key" not in server.log.read_text()
    assert project.post_clks(0, {"encodings": store.reference()}).status_code == 201
    project.upload_encodings(1, ENCODINGS[1])
    assert len(project.run(0.95).result()["groups"]) == 50


def test_a_listed_name_may_not_resolve_to_a_local_address(tmp_path):
    with answering(200, {}) as (endpoint, asked):
        name = endpoint.replace("127.0.0.1", "localhost")
        reference = {
            "file": {"bucket": BUCKET, "path": NAME, "endpoint": name, "secure": False},
            "credentials": {"AccessKeyId": "a", "SecretAccessKey": "b"},
        }
        with listing(tmp_path, name) as (_, api):
            project = api.project()
            assert project.post_clks(0, {"encodings": reference}).status_code == 201
            assert "not public" in external.wait_for_error(project)
        assert asked == []
        with listing(tmp_path, f"{name},127.0.0.0/8,::1/128") as (_, api):
            project = api.project()
            assert project.post_clks(0, {"encodings": reference}).status_code == 201
            external.wait_for_error(project)
        assert asked


def test_a_redirect_of_a_store_is_not_followed(tmp_path, store):
    target = f"http://{store.endpoint}/{BUCKET}/{NAME}"
    with answering(307, {"Location": target}) as (endpoint, asked), listing(tmp_path, endpoint) as (_, api):
        project = api.project()
        assert project.post_clks(0, {"encodings": store.reference(endpoint=endpoint)}).status_code == 201
        assert "failed after several attempts" in external.wait_for_error(project, 180)
        assert asked


def test_requests_to_an_unavailable_store_are_retried(tmp_path, store):
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    with listing(tmp_path, endpoint) as (_, api):
        project = api.project()
        assert project.post_clks(0, {"encodings": store.reference(endpoint=endpoint)}).status_code == 201
        said = external.wait_for_error(project, 180)
        assert "failed after several attempts" in said and endpoint in said


def test_a_file_larger_than_an_upload_may_be_is_not_read(tmp_path, store):
    with Server(tmp_path, "--external-endpoints", store.endpoint, "--body-bytes-max", "10_000") as server:
        with Api(server.url) as api:
            project = api.project()
            assert project.post_clks(0, {"encodings": store.reference()}).status_code == 201
            assert "12800 bytes" in external.wait_for_error(project)
