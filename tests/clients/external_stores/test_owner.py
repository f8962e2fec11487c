"""Two servers on one bucket: the second touches no object of the first."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from harness.api import Api
from harness.server import BINARY
from harness.store_proxy import until
from harness.stores import INTERNAL, UPLOADS, Moto, S3rver, meets

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
LEASE = ["--lease-ms", "2000"]
HEX = r"[0-9a-f]{32}"


def identity(server):
    return re.search(HEX, (server.data / "identity").read_text()).group()


def uploaded(api):
    project = api.project()
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    return project


def refused(server):
    with pytest.raises(AssertionError, match="exited with"):
        server.__enter__()
    return server.tail().splitlines()[-1]


def test_a_second_server_is_refused_until_it_takes_the_objects_over(store, tmp_path):
    first = store.entityd(tmp_path / "first", "owned", None, *LEASE)
    first.folder.mkdir()
    with Api(first.url) as api:
        first.__enter__()
        try:
            uploaded(api).run(0.95).complete()
            passing = lambda key: key.endswith("/plan") or "/pairs/" in key
            until("plan and pairs are gone", lambda: not any(map(passing, store.keys_in(INTERNAL))))
            before = sorted(store.keys_in(INTERNAL))
            assert before
            second = store.entityd(tmp_path / "second", "owned", None, *LEASE)
            second.folder.mkdir()
            said = refused(second)
            assert {identity(first), identity(second)} <= set(re.findall(HEX, said)), said
            assert sorted(store.keys_in(INTERNAL)) == before

            taking = ["--take-over-objects", identity(first), "--maintenance-every-ms", "1000"]
            second = store.entityd(tmp_path / "second", "owned", None, *LEASE, *taking)
            with second:
                assert first.process.wait(timeout=120) != 0
                assert "--take-over-objects" in first.tail().splitlines()[-1]
                if isinstance(store, S3rver):
                    # This store does not list the objects below a prefix, so nothing about them is logged.
                    time.sleep(3)
                else:
                    until("a clean-up has run", lambda: "which are kept" in second.log.read_text())
                assert sorted(store.keys_in(INTERNAL)) == before
        finally:
            first.process.kill()
            first.process.wait()


@meets(Moto)
def test_two_prefixes_and_one_bucket_for_uploads_are_enough_for_two_servers(store, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with store.entityd(tmp_path / "one", "one") as one, Api(one.url) as api:
        project = uploaded(api)
        file = f"{project.id}/0/waits"
        store.client().put_object(Bucket=UPLOADS, Key=file, Body=b"waits")
        with store.entityd(tmp_path / "two", "two") as two:
            until("the second has cleaned up", lambda: "which are kept" in two.log.read_text())
        assert file in store.keys_in(UPLOADS)
        assert project.run(0.95).complete()["state"] == "completed"
        assert project.delete().status_code == 204
        store.until_empty(UPLOADS)


@meets(Moto)
def test_a_killed_server_restarts_at_once_and_a_store_without_its_mark_is_reported(store, tmp_path):
    server = store.entityd(tmp_path, "marked")
    with server:
        mark = json.loads(store.client().get_object(Bucket=INTERNAL, Key="marked/entityd/owner")["Body"].read())
        assert mark["identity"] == identity(server) and mark["until"] > mark["renewed"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.__enter__()
    store.client().delete_object(Bucket=INTERNAL, Key="marked/entityd/owner")
    said = refused(server)
    assert identity(server) in said and "missing" in said, said
    with store.entityd(tmp_path, "marked", None, "--take-over-objects", identity(server)):
        pass


@meets(Moto)
def test_objects_that_the_settings_no_longer_name_are_missed(store, tmp_path):
    with store.entityd(tmp_path, "before") as server, Api(server.url) as api:
        run = uploaded(api).run(0.95)
        run.complete()
    flags = server.flags
    for prefix in ("after", None):
        changed = store.entityd(tmp_path, prefix or "before")
        if prefix is None:
            at = changed.flags.index("--objects")
            changed.flags = [*changed.flags[:at], *changed.flags[at + 2 :]]
        said = refused(changed)
        assert f"s3://{INTERNAL}/before" in said and "--take-over-objects" in said, said
    assert not any(key.startswith("after") for key in store.keys_in(INTERNAL))
    with store.entityd(tmp_path, "before") as server, Api(server.url) as api:
        assert server.flags == flags
        run.project.api.url = server.url
        assert run.get_result().status_code == 200
    # The operator may decide to continue without them.
    with store.entityd(tmp_path, "after", None, "--take-over-objects", identity(server)):
        pass


@meets(Moto)
def test_a_missing_bucket_for_uploads_is_named(store, tmp_path):
    server = store.entityd(tmp_path, "uploads", None, "--upload-bucket", "nowhere")
    with server:
        until("it is named", lambda: "the bucket nowhere for uploads (--upload-bucket)" in server.log.read_text())
        selftest = [BINARY, "selftest", "--server", server.origin]
        done = subprocess.run(selftest, capture_output=True, text=True, timeout=300, env=server.environment, check=False)
        # The answer of a store may repeat what was sent, such as session tokens, so that it is not shown.
        assert done.returncode == 1 and "there is no such bucket" in done.stdout and "<" not in done.stdout, done
    command = [BINARY, "check", "--json", "--data-dir", server.data, *map(str, server.flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=server.environment, check=False)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and findings["object store"]["state"] == "ok", findings
    assert findings["upload bucket"]["state"] == "failed", findings
    assert "--upload-bucket" in findings["upload bucket"]["detail"], findings
