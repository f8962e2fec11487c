"""Sections 4.3 to 4.5 of the contract: projects are created, described and deleted."""

import time

import pytest

from harness.api import assert_problem, is_token
from harness.samples import SOON_S, encodings

BODY = {"schema": {}, "result_type": "groups"}


def create(api, **fields):
    body = {**BODY, **fields}
    return api.post("/projects", json={name: value for name, value in body.items() if value is not ...})


def test_creating_needs_no_token_and_ignores_a_wrong_one(api):
    for headers in ({}, {"Authorization": "invalid"}):
        answer = api.post("/projects", json=BODY, headers=headers)
        assert answer.status_code == 201
        created = answer.json()
        assert created.keys() == {"project_id", "result_token", "update_tokens"}
        tokens = [created["project_id"], created["result_token"], *created["update_tokens"]]
        assert all(map(is_token, tokens)) and len(set(tokens)) == 4


@pytest.mark.parametrize("parties", [2, 3, 4, 5, 17])
def test_there_is_an_update_token_for_each_party(api, parties):
    created = create(api, number_parties=parties).json()
    assert len(set(created["update_tokens"])) == parties


def test_a_new_project_shows_the_given_fields(api):
    schema = {"clkConfig": {"l": 1024}, "näme": [1, 2.5, None, {"x": "\u00e9\U0001f600"}], "": False}
    fields = {
        "schema": schema,
        "name": "a näme",
        "notes": "n\no\tes",
        "number_parties": 3,
        "uses_blocking": True,
    }
    created = create(api, **fields).json()
    described = api.get(f"/projects/{created['project_id']}", created["result_token"]).json()
    expected = {
        "project_id": created["project_id"],
        "result_type": "groups",
        "parties_contributed": 0,
        "error": False,
    }
    assert described == {**expected, **fields}
    assert described["uses_blocking"] is True


def test_defaults(api, project):
    described = project.describe().json()
    assert described["name"] == "" and described["notes"] == "" and described["number_parties"] == 2
    assert described["uses_blocking"] is False and described["error"] is False
    assert not {"public_key", "paillier_context"} & described.keys()


def test_unknown_properties_are_ignored(api):
    assert create(api, surprise={"a": [1]}).status_code == 201


@pytest.mark.parametrize("kind", ["permutations", "similarity_scores"])
@pytest.mark.parametrize("parties", [1, 3, 4, 5])
def test_only_groups_allow_other_than_two_parties(api, kind, parties):
    assert_problem(create(api, result_type=kind, number_parties=parties), 400, "number_parties")


@pytest.mark.parametrize("parties", [1, 0, -1, "3", 2.0, True, None, 2**70, [], 1.5])
def test_number_parties_is_an_integer_of_two_or_more(api, parties):
    assert_problem(create(api, number_parties=parties), 400, "number_parties")


@pytest.mark.parametrize("kind", ["mapping", "", "Groups", None, 1, ["groups"], ...])
def test_result_type_is_one_of_three(api, kind):
    assert_problem(create(api, result_type=kind), 400, "result_type")


@pytest.mark.parametrize("schema", [None, "", 1, [], True, ...])
def test_schema_is_an_object(api, schema):
    assert_problem(create(api, schema=schema), 400, "schema")


@pytest.mark.parametrize("field", ["name", "notes"])
@pytest.mark.parametrize("value", [None, 1, {}, ["x"], True])
def test_text_fields_must_be_strings(api, field, value):
    assert_problem(create(api, **{field: value}), 400, field)


def test_a_new_project_is_listed_at_once_and_in_order(api):
    ids = [create(api).json()["project_id"] for _ in range(5)]
    listed = [entry["project_id"] for entry in api.get("/projects").json()]
    assert [project for project in listed if project in ids] == ids
    assert all(entry.keys() == {"project_id", "time_added"} for entry in api.get("/projects").json())


def test_uploads_are_counted_at_once(api):
    project = api.project("groups", parties=3)
    for count, party in enumerate((2, 0, 1), start=1):
        project.upload_encodings(party, encodings(3))
        deadline = time.monotonic() + SOON_S
        while project.describe().json()["parties_contributed"] != count:
            assert time.monotonic() < deadline


def test_a_deleted_project_is_gone_for_every_request(api):
    project = api.project("permutations")
    receipts = [project.upload_encodings(party, encodings(3)) for party in (0, 1)]
    run = project.run(0.5)
    run.complete()
    answer = project.delete()
    assert answer.status_code == 204 and answer.content == b""
    assert_problem(project.delete(), 403)
    for token in (project.token, project.update_tokens[0], *receipts):
        assert_problem(project.describe(token), 403)
        assert_problem(run.get_status(token), 403)
        assert_problem(run.get_result(token), 403)
        assert_problem(run.describe(token), 403)
        assert_problem(run.delete(token), 403)
        assert_problem(api.get(f"{project.path}/runs", token), 403)
        assert_problem(project.post_run(0.5, token), 403)
        assert_problem(project.post_clks(token, {"clks": ["AAECAwQFBgc="]}), 403)
        assert_problem(project.post_binary(token, bytes(8), 1, 8), 403)


@pytest.mark.parametrize("wait_s", [0, 0.02, 0.1, 0.5])
def test_a_project_can_be_deleted_while_its_run_is_queued_or_running(api, wait_s):
    project = api.project("groups")
    project.upload_encodings(0, encodings(1000, 128, seed=1))
    project.upload_encodings(1, encodings(1000, 128, seed=2))
    project.run(0.5)
    time.sleep(wait_s)
    assert project.delete().status_code == 204
    assert_problem(project.describe(), 403)
