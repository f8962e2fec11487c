"""The main flow through external stores; nothing is left in them, or on our own disk."""

import os
import time

import pytest

from harness import external
from harness.api import Api, assert_problem
from harness.stores import EMPTY_S, INTERNAL, STORES, UPLOADS, S3rver, meets
from harness.wait import until

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:100] = ENCODINGS[0][:100]
BLOCKS = {str(record): [str(record % 3)] for record in range(300)}
# Together more than is uploaded in one piece.
LONG = [[os.urandom(1024) for _ in range(9000)], [os.urandom(1024) for _ in range(10)]]
LONG[1][:5] = LONG[0][:5]


HAND_OUT_CREDENTIALS = [store for store in STORES if store is not S3rver]


def matches(count):
    return [[[0, record], [1, record]] for record in range(count)]


def groups(run):
    return sorted(sorted(group) for group in run.result()["groups"])


@pytest.fixture(autouse=True)
def nothing_is_left(server, store):
    yield
    for bucket in (INTERNAL, UPLOADS):
        store.until_empty(bucket)
    # A deleted project is purged after the response, files of our own endpoint too.
    deadline = time.monotonic() + EMPTY_S
    while left := [name for name in server.payload_files() if name.startswith("objects")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("result_type", ["groups", "permutations"])
def test_direct_uploads_and_results_go_through_the_store(api, store, result_type):
    project = api.project(result_type)
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    run = project.run(0.95)
    if result_type == "groups":
        assert groups(run) == matches(100)
    else:
        assert sum(run.result()["mask"]) == 100
    keys = store.keys_in(INTERNAL)
    assert keys and all(key.startswith("some/prefix/") for key in keys), keys
    assert project.delete().status_code == 204


def test_a_large_file_is_uploaded_in_parts(api, store):
    project = api.project()
    for party in range(2):
        project.upload_binary(party, LONG[party])
    assert groups(project.run(0.95)) == matches(5)
    assert project.delete().status_code == 204


@meets(*HAND_OUT_CREDENTIALS)
def test_files_are_uploaded_to_and_scores_downloaded_from_the_store(api, store):
    project = api.project("similarity_scores", blocking=True)
    assert external.upload(project, 0, ENCODINGS[0], BLOCKS).status_code == 201
    assert external.upload(project, 1, ENCODINGS[1], BLOCKS).status_code == 201
    place, _, (pairs, _, (left, right)) = external.scores(project.run(0.95))
    prefix = "some/prefix/" if store.serves_clients else ""
    assert place["path"].startswith(f"{prefix}similarity-scores/") and len(pairs) == 100
    assert list(left) == list(right) and sorted(left) == list(range(100))
    # The uploaded files are removed after they were read, although the project still exists.
    store.until_empty(UPLOADS)
    assert project.delete().status_code == 204


@meets(*HAND_OUT_CREDENTIALS)
def test_a_deleted_project_leaves_no_file_behind(api, server, store):
    project = api.project()
    given = external.authorize(project, 0)
    bucket = external.client(given["upload"], given["credentials"])
    external.put(bucket, given["upload"], "forgotten", b"bytes" * 10_000)
    owner = store.client() if store.serves_clients else None
    if owner:
        # Keys that are not paths, and an unfinished transfer: none of them must prevent the removal of the others.
        for name in ("a//b", "../c", "<&>", "+ %41", "bell\a"):
            owner.put_object(Bucket=UPLOADS, Key=f"{given['upload']['path']}/{name}", Body=b"x")
        for name in ("parts", "p a//r*t"):
            owner.create_multipart_upload(Bucket=UPLOADS, Key=f"{given['upload']['path']}/{name}")
    ours = [name for name in server.payload_files() if name.startswith("objects/buckets")]
    assert bool(store.keys_in(UPLOADS)) == store.serves_clients != bool(ours)
    assert project.delete().status_code == 204
    if owner:
        store.until_empty(UPLOADS)
        parts = lambda: owner.list_multipart_uploads(Bucket=UPLOADS, Prefix=project.id).get("Uploads")
        until(lambda: not parts(), "unfinished transfers go")


@meets(S3rver)
def test_a_store_without_a_token_service_offers_no_external_uploads(api, store):
    project = api.project("similarity_scores")
    path = f"{project.path}/authorize-external-upload"
    assert_problem(api.get(path, project.update_tokens[0]), 500, "Feature Disabled", "/clks")
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    run = project.run(0.95)
    run.complete()
    # Nor can scores be downloaded from the store: the API returns them as usual.
    answer = run.get_result(headers={"RETURN-OBJECT-STORE-ADDRESS": "1"})
    assert len(answer.json()["similarity_scores"]) == 100
    assert project.delete().status_code == 204


@meets(S3rver)
def test_files_that_the_owner_of_a_store_puts_there_are_read(api, store):
    project = api.project()
    for party, encodings in enumerate(ENCODINGS):
        path = f"{project.id}/{party}/encodings.bin"
        store.client().put_object(
            Bucket=UPLOADS, Key=path, Body=b"".join(encodings), Metadata=external.counted(encodings)
        )
        answer = project.post_clks(party, {"encodings": {"file": {"bucket": UPLOADS, "path": path}}})
        assert answer.status_code == 201, answer.text
    assert groups(project.run(0.95)) == matches(100)
    assert project.delete().status_code == 204


@pytest.mark.parametrize("moment", ["compare.published", "finalize.published", "plan.published"])
def test_an_interrupted_job_finds_the_objects_it_had_made(store, tmp_path, moment):
    # One job brings so small a run to its result, unless the size of parts is set.
    flags = () if moment == "plan.published" else ("--comparisons-per-job", "1000000")
    server = store.entityd(tmp_path, f"cut-off/{moment}", None, *flags)
    server.environment["ENTITYD_BREAKPOINT"] = moment
    with Api(server.url) as api:
        server.__enter__()
        try:
            project = api.project()
            for party in range(2):
                project.upload_binary(party, ENCODINGS[party])
            run = project.run(0.95)
            server.process.wait(timeout=120)
        finally:
            server.process.kill()
            server.process.wait()
        assert [key for key in store.keys_in(INTERNAL) if run.id in key]
        del server.environment["ENTITYD_BREAKPOINT"]
        with server:
            assert groups(run) == matches(100)
            assert project.delete().status_code == 204
            store.until_empty(INTERNAL)
