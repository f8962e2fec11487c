"""Sections 4.6 to 4.8 and 5 of the contract: every form of an upload, and the state of its token."""

import threading

import pytest

from harness.api import Run, assert_problem, receipt, texts_of
from harness.samples import EIGHT_BYTES, EIGHT_MORE, encodings
from harness.wait import until

ENDED_BADLY = "the run or the project ends in error"


def still_usable(project, party=0, body=None):
    """Asserts that the token is still unused, and that the project is not in error."""
    assert project.describe().json()["error"] is False
    receipt(project.post_clks(party, body or {"clks": [EIGHT_BYTES]}))


@pytest.mark.parametrize(
    "body",
    [
        {"clks": [EIGHT_BYTES, EIGHT_MORE]},
        {"encodings": [EIGHT_BYTES, EIGHT_MORE]},
        {"clks": [EIGHT_BYTES], "unknown": {"deep": [1, {"x": None}]}},
    ],
)
def test_forms_without_blocks(project, body):
    receipt(project.post_clks(0, body))


@pytest.mark.parametrize(
    "body",
    [
        {"clknblocks": [[EIGHT_BYTES, "north", "1979"], [EIGHT_MORE, 7], [EIGHT_BYTES]]},
        {"encodings": [EIGHT_BYTES, EIGHT_MORE], "blocks": {"0": ["north", "1979"], "1": []}},
        {"blocks": {"1": ["north"]}, "encodings": [EIGHT_BYTES, EIGHT_MORE]},
        {"clks": [EIGHT_BYTES], "blocks": {"0": ["north"]}},
    ],
)
def test_forms_with_blocks(blocking_project, body):
    receipt(blocking_project.post_clks(0, body))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, []),
        ({"clks": []}, ["clks"]),
        ({"encodings": []}, ["encodings"]),
        ({"clks": [EIGHT_BYTES], "clknblocks": [[EIGHT_BYTES]]}, []),
        ({"clks": [EIGHT_BYTES], "encodings": [EIGHT_BYTES]}, []),
        ({"clks": EIGHT_BYTES}, ["clks"]),
        ({"clks": {"0": EIGHT_BYTES}}, ["clks"]),
        ({"clks": [1]}, ["record 0", "base64"]),
        ({"clks": [EIGHT_BYTES, None]}, ["record 1", "base64"]),
        ({"clks": [[EIGHT_BYTES]]}, ["record 0", "base64"]),
        ({"clks": None}, ["clks"]),
        ({"encodings": [1.5]}, ["record 0", "base64"]),
    ],
)
def test_malformed_bodies_are_400_and_leave_the_token_unused(project, body, named):
    assert_problem(project.post_clks(0, body), 400, *named)
    still_usable(project)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"clknblocks": []}, ["clknblocks"]),
        ({"clknblocks": [[]]}, ["record 0", "encoding"]),
        ({"clknblocks": [EIGHT_BYTES]}, ["record 0", "array"]),
        ({"clknblocks": [["7"], [EIGHT_BYTES, "1"]]}, ["record 0", "base64"]),
        ({"clknblocks": [[7, "1"]]}, ["record 0", "base64"]),
        ({"clknblocks": [[EIGHT_BYTES], [EIGHT_BYTES, 1.5]]}, ["record 1", "block name"]),
        ({"clknblocks": [[EIGHT_BYTES, True]]}, ["record 0", "block name"]),
        ({"clknblocks": [[EIGHT_BYTES, None]]}, ["record 0", "block name"]),
        ({"clknblocks": [[EIGHT_BYTES, ["1"]]]}, ["record 0", "block name"]),
        ({"blocks": {"0": ["1"]}}, ["encodings"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {}}, ["blocks"]),
        ({"encodings": [EIGHT_BYTES], "blocks": []}, ["blocks"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"0": "1"}}, ["record 0", "block name"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"0": [1]}}, ["record 0", "block name"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"0": [None]}}, ["record 0", "block name"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"x": ["1"]}}, ["blocks"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"-1": ["1"]}}, ["blocks"]),
        ({"encodings": [EIGHT_BYTES], "blocks": {"1": ["1"]}}, ["blocks", "1"]),
        ({"blocks": {"99999999999999999999": ["1"]}, "encodings": [EIGHT_BYTES]}, ["blocks"]),
        ({"encodings": [], "blocks": {"0": ["1"]}}, ["encodings"]),
    ],
)
def test_malformed_blocks_are_400_and_leave_the_token_unused(blocking_project, body, named):
    assert_problem(blocking_project.post_clks(0, body), 400, *named)
    still_usable(blocking_project, body={"clknblocks": [[EIGHT_BYTES, "1"]]})


@pytest.mark.parametrize("body", [{"clks": [EIGHT_BYTES]}, {"encodings": [EIGHT_BYTES]}])
def test_a_blocking_project_requires_blocks(blocking_project, body):
    assert_problem(blocking_project.post_clks(0, body), 403, "block")
    still_usable(blocking_project, body={"clknblocks": [[EIGHT_BYTES, "1"]]})


@pytest.mark.parametrize(
    "body", [{"clknblocks": [[EIGHT_BYTES, "1"]]}, {"encodings": [EIGHT_BYTES], "blocks": {"0": ["1"]}}]
)
def test_a_project_without_blocking_refuses_blocks(project, body):
    assert_problem(project.post_clks(0, body), 403, "block")
    still_usable(project)


def test_a_token_uploads_exactly_once(project):
    project.upload(0, {"clks": [EIGHT_BYTES]})
    assert_problem(project.post_clks(0, {"clks": [EIGHT_BYTES]}), 403)
    assert_problem(project.post_binary(0, bytes(8), 1, 8), 403)
    assert project.describe().json()["parties_contributed"] == 1


def test_exactly_one_of_simultaneous_uploads_is_accepted(api, project):
    body = {"clks": texts_of(encodings(3000, 128))}
    codes = []

    def upload():
        codes.append(project.post_clks(0, body).status_code)

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201] + [403] * 7


def test_a_party_keeps_its_number_whatever_the_order_of_uploads(api):
    rows = encodings(6, 16)
    project = api.project("groups", parties=3)
    for party in (2, 0, 1):
        project.upload_encodings(party, rows[party : party + 3])
    groups = project.run(1.0).result()["groups"]
    assert groups == [
        [[0, 1], [1, 0]],
        [[0, 2], [1, 1], [2, 0]],
        [[1, 2], [2, 1]],
    ]


# Binary uploads.


def test_a_binary_upload_means_the_same_as_json(api):
    rows = encodings(20, 24)
    project = api.project("similarity_scores")
    project.upload_binary(0, rows)
    project.upload_encodings(1, rows)
    scores = project.run(1.0).result()["similarity_scores"]
    assert [[[0, row], [1, row], 1.0] for row in range(20)] == scores


@pytest.mark.parametrize("count", [-1, 0, 2, 4, 1 << 63, 1 << 70])
def test_a_wrong_count_is_400_and_the_token_still_works(project, count):
    data = bytes(range(24))
    assert_problem(project.post_binary(0, data, count, 8), 400)
    assert_problem(project.post_binary(0, data, 3, 16), 400)
    assert project.describe().json()["error"] is False
    receipt(project.post_binary(0, data, 3, 8))
    assert_problem(project.post_binary(0, data, 3, 8), 403)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Hash-Count": None}, "hash-count"),
        ({"Hash-Size": None}, "hash-size"),
        ({"Hash-Count": "three"}, "hash-count"),
        ({"Hash-Size": "8.0"}, "hash-size"),
        ({"Hash-Size": ""}, "hash-size"),
        ({"Hash-Size": "7"}, "hash-size"),
        ({"Hash-Size": "0"}, "hash-size"),
        ({"Hash-Size": "-8"}, "hash-size"),
        ({"Hash-Size": "1025"}, "hash-size"),
    ],
)
def test_inconsistent_headers_are_400_and_named(api, project, headers, named):
    sent = {"Content-Type": "application/octet-stream", "Hash-Count": "3", "Hash-Size": "8", **headers}
    sent = {name: value for name, value in sent.items() if value is not None}
    answer = api.post(f"{project.path}/binaryclks", project.update_tokens[0], headers=sent, data=bytes(24))
    assert_problem(answer, 400, named)
    receipt(project.post_binary(0, bytes(24), 3, 8))


def test_a_chunked_binary_upload_works(project):
    receipt(project.post_binary(0, iter([bytes(5), bytes(11), bytes(8)]), 3, 8))


@pytest.mark.parametrize("chunks", [[bytes(8)], [bytes(8), bytes(17)], []])
def test_a_chunked_binary_upload_of_another_length_is_400(project, chunks):
    assert_problem(project.post_binary(0, iter(chunks), 3, 8), 400)
    receipt(project.post_binary(0, bytes(24), 3, 8))


def test_the_size_that_the_schema_fixes_is_checked_at_once(api):
    project = api.project("groups", schema={"clkConfig": {"l": 128}})
    assert_problem(project.post_binary(0, bytes(24), 3, 8), 400, "hash-size")
    receipt(project.post_binary(0, bytes(range(48)), 3, 16))


def test_the_size_that_an_earlier_run_fixed_is_checked_at_once(api):
    project = api.project("groups")
    project.upload_encodings(0, encodings(2, 16))
    project.upload_encodings(1, encodings(2, 16))
    project.run(0.5).complete()
    assert_problem(project.post_binary(0, bytes(48), 3, 8), 403)


def test_binary_records_of_a_blocking_project_are_in_the_default_block(blocking_project):
    rows = encodings(3)
    blocking_project.upload_binary(0, rows)
    named = zip(texts_of(rows), [["1"], ["2"], [1]])
    blocking_project.upload(1, {"clknblocks": [[text, *names] for text, names in named]})
    groups = blocking_project.run(1.0).result()["groups"]
    assert groups == [[[0, 0], [1, 0]], [[0, 2], [1, 2]]]


# Sizes that fail only later: the upload is accepted, and the project or its runs report the error.


@pytest.mark.parametrize("sizes", [(64, 256), (20, 20), (4, 4), (4096, 4096)])
def test_json_of_any_size_is_accepted_and_fails_later(api, sizes):
    project = api.project("groups")
    for party, size in enumerate(sizes):
        receipt(project.post_clks(party, {"clks": texts_of(encodings(3, size))}))
    if sizes != (20, 20):
        until(lambda: project.describe().json()["error"], "the project is in error")
    answer = project.post_run(0.8)
    if answer.status_code == 201:
        run = Run(project, answer.json()["run_id"])
        assert run.wait()[-1]["state"] == "error"
        assert sizes == (20, 20) and project.describe().json()["error"] is False
    else:
        assert_problem(answer, 500)


def test_a_run_posted_before_bad_data_ends_in_error_with_a_message(api):
    project = api.project("groups")
    run = project.run(0.8)
    for party, size in enumerate((64, 256)):
        project.upload_encodings(party, encodings(3, size))
    status = until(lambda: (status := run.get_status().json())["state"] == "error" and status, ENDED_BADLY)
    beyond = {"rate", "eta", "stage_times"}
    assert set(status) == {"state", "time_added", "stages", "current_stage", "message"} | beyond
    assert isinstance(status["message"], str) and status["message"]
    assert_problem(run.get_result(), 500)
    assert_problem(project.post_run(0.8), 500)


def test_a_size_that_is_not_a_multiple_of_eight_fails_runs_and_not_the_project(api):
    project = api.project("groups")
    for party in (0, 1):
        project.upload_encodings(party, encodings(3, 20))
    for _ in range(2):
        run = project.run(0.8)
        assert "8" in run.wait()[-1]["message"]
    assert project.describe().json()["error"] is False


def test_a_schema_size_unlike_the_uploads_is_a_project_error(api):
    project = api.project("groups", schema={"clkConfig": {"l": "64"}})
    for party in (0, 1):
        project.upload_encodings(party, encodings(3, 16))
    until(lambda: project.describe().json()["error"], "the project is in error")
