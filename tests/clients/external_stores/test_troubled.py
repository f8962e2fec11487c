"""A store that hangs, fails briefly, stays unavailable or refuses: runs wait for a while, and clients get the reason."""

import os
import secrets
import time

import pytest
import requests

from harness.api import Api
from harness.store_proxy import Proxy, until
from harness.stores import Moto, meets

pytestmark = meets(Moto)

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:100] = ENCODINGS[0][:100]
# Longer than a request that a store answers at once, shorter than all timeouts here.
SILENCE = ["--objects-timeout-ms", "5000"]
# Jobs index the uploads, so that the matrices are in the cache; and a run has several jobs, which read what others wrote.
SEVERAL_JOBS = ["--comparisons-per-job", "100000"]


@pytest.fixture
def proxy(store):
    with Proxy(store) as proxy:
        yield proxy


def start(folder, proxy, *flags):
    return proxy.behind.entityd(folder, f"troubled/{secrets.token_hex(4)}", proxy.url, *flags)


def uploaded(api):
    project = api.project()
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    return project


def not_ready(server):
    answer = requests.get(f"http://127.0.0.1:{server.ops_port}/readyz?verbose", timeout=120)
    return answer.text if answer.status_code == 503 else None


def until_not_ready(server, words):
    until(f"it is not ready: {words}", lambda: words in (not_ready(server) or ""))


def complaints(server):
    lines = server.log.read_text().splitlines()
    return [line for line in lines if "object store" in line and ("ERROR" in line or '"error"' in line.lower())]


@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_an_unresponsive_store_hangs_no_run_and_no_request(proxy, tmp_path, fault):
    with start(tmp_path, proxy, *SILENCE, *SEVERAL_JOBS) as server, Api(server.url) as api:
        project = uploaded(api)
        before = project.run(0.95)
        before.complete()
        getattr(proxy, fault)()
        run = project.run(0.9)
        waits = lambda: run.get_status().json().get("waiting_for") == "object store"
        until("the run waits", waits)
        assert api.get("/status").status_code == 200
        if fault == "hang":
            until_not_ready(server, "[-] objects")
            began = time.monotonic()
            assert before.get_result().status_code >= 500
            assert time.monotonic() - began < 60
        proxy.behave()
        assert len(run.result()["groups"]) == 100
        assert "waiting_for" not in run.get_status().json()
        assert project.delete().status_code == 204


def test_requests_to_a_store_that_fails_briefly_are_retried(proxy, tmp_path):
    with start(tmp_path, proxy) as server, Api(server.url) as api:
        project = uploaded(api)
        project.run(0.95).complete()
        proxy.refuse(503, "SlowDown", times=3)
        assert len(project.run(0.9).result()["groups"]) == 100
        assert proxy.refusals == 3
        assert "waits for the object store" not in server.log.read_text()
        assert project.delete().status_code == 204


def test_a_run_whose_store_stays_unavailable_fails_with_the_reason(proxy, tmp_path):
    with start(tmp_path, proxy, "--objects-wait-ms", "3000") as server, Api(server.url) as api:
        project = uploaded(api)
        project.run(0.95).complete()
        proxy.refuse(500, "InternalError")
        run = project.run(0.9)
        failed = lambda: (status := run.get_status().json())["state"] == "error" and status
        status = until("the run fails", failed, 180)
        assert "object storage is unavailable: the store answers 500" in status["message"], status
        assert "waiting_for" not in status
        proxy.behave()
        assert len(project.run(0.85).result()["groups"]) == 100
        assert project.delete().status_code == 204


def test_a_server_starts_without_its_store_and_finds_it_later(proxy, tmp_path):
    proxy.hang()
    with start(tmp_path, proxy, *SILENCE) as server, Api(server.url) as api:
        assert api.get("/status").status_code == 200
        until("it says so", lambda: complaints(server))
        until_not_ready(server, "[-] objects")
        project = api.project()
        proxy.behave()
        until("it is ready", lambda: not not_ready(server))
        for party in range(2):
            project.upload_binary(party, ENCODINGS[party])
        assert len(project.run(0.95).result()["groups"]) == 100
        assert len(complaints(server)) == 1, complaints(server)
        assert project.delete().status_code == 204


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_wrong_credentials_are_one_clear_line(proxy, tmp_path, code):
    proxy.refuse(403, code)
    with start(tmp_path, proxy) as server, Api(server.url) as api:
        (line,) = until("it says so", lambda: complaints(server))
        assert "s3://internal/troubled" in line and "credentials" in line and code in line, line
        until_not_ready(server, "credentials")
        assert api.get("/status").status_code == 200
        assert proxy.behind.keys[1] not in server.log.read_text()


def test_a_missing_bucket_is_one_clear_line(store, tmp_path):
    with store.entityd(tmp_path, "troubled", bucket="nowhere") as server, Api(server.url) as api:
        (line,) = until("it says so", lambda: complaints(server))
        assert "s3://nowhere/troubled" in line and "no such bucket" in line, line
        until_not_ready(server, "no such bucket")
        assert api.get("/status").status_code == 200
