"""S3 servers that are not ours behind `--objects`: the main flow through each, and what is left afterwards."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import boto3
import pytest
from botocore.config import Config

from harness import external
from harness.api import Api
from harness.server import Server, free_ports

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:100] = ENCODINGS[0][:100]
KEYS = ("store-owner", "store-secret-key")


@contextlib.contextmanager
def moto(folder):
    """The S3 (and STS) of moto, started as its own command line does."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until_answered(url)
        yield url
    finally:
        process.kill()
        process.wait()


class Door:
    """A port in front of a store that can be closed and opened again."""

    def __init__(self, url):
        self.target = ("127.0.0.1", int(url.rpartition(":")[2]))
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.listener, self.connections = None, []

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=[self.listener], daemon=True).start()

    def close(self):
        for held in [self.listener, *self.connections]:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()
        self.connections.clear()

    def _serve(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            store = socket.create_connection(self.target)
            self.connections += [client, store]
            for source, sink in [(client, store), (store, client)]:
                threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def until_answered(url):
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


def keys_in(url, bucket):
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        config=Config(s3={"addressing_style": "path"}),
    )
    if bucket not in [known["Name"] for known in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=bucket)
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def until_empty(url, bucket):
    deadline = time.monotonic() + 30
    while left := keys_in(url, bucket):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with moto(tmp_path_factory.mktemp("moto")) as url:
        assert keys_in(url, "internal") == keys_in(url, "uploads") == []
        yield url


@pytest.fixture(scope="module")
def api(store, tmp_path_factory):
    flags = ["--objects", "s3://internal/some/prefix", "--objects-endpoint", store]
    environment = {"MINIO_ACCESS_KEY": KEYS[0], "MINIO_SECRET_KEY": KEYS[1]}
    folder = tmp_path_factory.mktemp("entityd")
    with Server(folder, *flags, environment=environment) as server, Api(server.url) as client:
        yield client
        assert not [name for name in server.payload_files() if name.startswith("objects")]


@pytest.mark.parametrize("result_type", ["groups", "permutations"])
def test_direct_uploads_and_results_go_through_the_store(api, store, result_type):
    project = api.project(result_type)
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    result = project.run(0.95).result()
    if result_type == "groups":
        assert sorted(sorted(group) for group in result["groups"]) == [[[0, i], [1, i]] for i in range(100)]
    else:
        assert sum(result["mask"]) == 100
    assert keys_in(store, "internal")
    assert project.delete().status_code == 204
    until_empty(store, "internal")


def test_files_are_read_from_the_store_and_scores_come_from_it(api, store):
    project = api.project("similarity_scores", blocking=True)
    blocks = {str(record): [str(record % 3)] for record in range(300)}
    assert external.upload(project, 0, ENCODINGS[0], blocks).status_code == 201
    assert external.upload(project, 1, ENCODINGS[1], blocks).status_code == 201
    run = project.run(0.95)
    place, _, (pairs, _, (left, right)) = external.scores(run)
    assert place["path"].startswith("some/prefix/similarity-scores/") and len(pairs) == 100
    assert list(left) == list(right) and sorted(left) == list(range(100))
    until_empty(store, "uploads")
    assert project.delete().status_code == 204
    until_empty(store, "internal")


def test_a_deleted_project_leaves_no_file_behind(api, store):
    project = api.project()
    given = external.authorize(project, 0)
    bucket = external.client(given["upload"], given["credentials"])
    external.put(bucket, given["upload"], "forgotten", b"bytes")
    assert keys_in(store, "uploads")
    assert project.delete().status_code == 204
    until_empty(store, "uploads")


def test_runs_wait_while_the_store_is_away(store, tmp_path):
    door = Door(store)
    door.open()
    flags = ["--objects", "s3://internal/away", "--objects-endpoint", door.url]
    environment = {"MINIO_ACCESS_KEY": KEYS[0], "MINIO_SECRET_KEY": KEYS[1]}
    with Server(tmp_path, *flags, environment=environment) as server, Api(server.url) as api:
        project = api.project()
        for party in range(2):
            project.upload_binary(party, ENCODINGS[party])
        project.run(0.95).complete()
        door.close()
        run = project.run(0.9)
        deadline = time.monotonic() + 50
        while (status := run.get_status().json()).get("waiting_for") != "object store":
            assert time.monotonic() < deadline and status["state"] != "error", status
            time.sleep(0.2)
        assert api.get("/status").status_code == 200
        ready = api.session.get(f"http://127.0.0.1:{server.ops_port}/readyz?verbose", timeout=10)
        assert ready.status_code == 503 and "objects" in ready.text, ready.text
        door.open()
        assert len(run.result()["groups"]) == 100
        assert "waiting_for" not in run.get_status().json()
        assert project.delete().status_code == 204
        until_empty(store, "internal")
    door.close()
