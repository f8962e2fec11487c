"""Sections 1 and 2 of the contract: paths, methods, media types, the shape of errors."""

import re

import pytest

from harness.api import assert_problem, is_token

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?")


@pytest.mark.parametrize("path", ["/status", "//status", "///status", "/projects", "//version"])
def test_repeated_slashes_count_as_one(api, path):
    answer = api.get(path, allow_redirects=False)
    assert answer.status_code == 200, answer.text


def test_repeated_slashes_are_answered_directly_for_every_method(api, project):
    assert api.post("//projects", json={"schema": {}, "result_type": "groups"}).status_code == 201
    run = api.post(
        f"//projects//{project.id}///runs", project.token, json={"threshold": 0.5}, allow_redirects=False
    )
    assert run.status_code == 201
    double = api.session.get(api.url.replace("/api/v1", "//api//v1") + "/status", allow_redirects=False)
    assert double.status_code == 200
    assert api.delete(f"//projects/{project.id}", project.token).status_code == 204


def test_status_needs_no_token_and_has_its_three_fields(api):
    for headers in ({}, {"Authorization": "invalid"}):
        answer = api.get("/status", headers=headers)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
        status = answer.json()
        assert status.keys() == {"status", "project_count", "rate"} and status["status"] == "ok"
        assert isinstance(status["project_count"], int) and isinstance(status["rate"], int)
        assert status["rate"] >= 1


def test_version_has_its_three_keys(api):
    version = api.get("/version").json()
    assert version.keys() == {"anonlink", "entityservice", "python"}
    assert all(isinstance(value, str) and value for value in version.values())


def test_head_works_wherever_get_does(api, linked):
    project, run, _ = linked["groups"]
    for path in (
        "/status",
        "/version",
        "/projects",
        project.path,
        run.path,
        f"{run.path}/status",
        f"{run.path}/result",
    ):
        answer = api.call("HEAD", path, project.token)
        assert answer.status_code == 200 and answer.content == b"", path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/status"),
        ("DELETE", "/projects"),
        ("PUT", "/projects"),
        ("POST", "/projects/{project}"),
        ("GET", "/projects/{project}/clks"),
        ("GET", "/projects/{project}/binaryclks"),
        ("DELETE", "/projects/{project}/runs"),
        ("PATCH", "/projects/{project}/runs/{run}"),
        ("POST", "/projects/{project}/runs/{run}/status"),
        ("DELETE", "/projects/{project}/runs/{run}/result"),
    ],
)
def test_a_wrong_method_on_a_known_path_is_405(api, linked, method, path):
    project, run, _ = linked["groups"]
    answer = api.call(method, path.format(project=project.id, run=run.id), project.token, json={})
    assert_problem(answer, 405)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/projects/x/y", "/projects/x/runs/y/z", "/projects/x/runs/y/result/z"]
)
def test_an_unknown_route_is_404(api, path):
    assert_problem(api.get(path, "0" * 48), 404)


@pytest.mark.parametrize(
    "media", ["application/json", "application/json; charset=utf-8", "application/vnd.x+json"]
)
def test_json_is_recognized_by_its_media_types(api, media):
    body = b'{"schema": {}, "result_type": "groups"}'
    assert api.post("/projects", data=body, headers={"Content-Type": media}).status_code == 201


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]
)
def test_another_media_type_is_415(api, project, media):
    headers = {"Content-Type": media}
    assert_problem(api.post("/projects", data=b"{}", headers=headers), 415)
    assert_problem(api.post(f"{project.path}/runs", project.token, data=b"{}", headers=headers), 415)
    assert_problem(
        api.post(f"{project.path}/clks", project.update_tokens[0], data=b"{}", headers=headers), 415
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b'"text"', b"null", b'{"a": }', b"\xff\xfe", b'{"a": 1} x']
)
def test_a_body_that_is_not_a_json_object_is_400(api, project, body):
    headers = {"Content-Type": "application/json"}
    assert_problem(api.post("/projects", data=body, headers=headers), 400)
    assert_problem(api.post(f"{project.path}/runs", project.token, data=body, headers=headers), 400)
    assert_problem(
        api.post(f"{project.path}/clks", project.update_tokens[0], data=body, headers=headers), 400
    )
    assert project.describe().json()["error"] is False


def test_answers_are_json_without_a_charset(api, linked):
    project, run, _ = linked["similarity_scores"]
    for path in (project.path, f"{project.path}/runs", run.path, f"{run.path}/status", f"{run.path}/result"):
        assert api.get(path, project.token).headers["Content-Type"] == "application/json", path


def test_identifiers_tokens_and_times_have_their_documented_form(api, linked):
    project, run, receipts = linked["groups"]
    assert all(map(is_token, [project.id, project.token, run.id, *project.update_tokens, *receipts]))
    listed = next(entry for entry in api.get("/projects").json() if entry["project_id"] == project.id)
    status = run.get_status().json()
    times = [listed["time_added"], *(status[f"time_{what}"] for what in ("added", "started", "completed"))]
    assert all(TIMESTAMP.fullmatch(time) for time in times), times
    assert times == sorted(times)


def test_nothing_is_compressed(api, linked):
    project, run, _ = linked["similarity_scores"]
    answer = api.get(f"{run.path}/result", project.token, headers={"Accept-Encoding": "gzip, deflate"})
    assert "Content-Encoding" not in answer.headers


def test_the_openapi_document_is_served(api):
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.") and "/api/v1/projects" in str(document)


def test_the_documentation_is_readable(server, api):
    assert api.session.get(server.origin + "/docs").status_code == 200


def test_a_path_of_the_operator_leads_to_the_other_listener(api):
    origin = api.url.removesuffix("/api/v1")
    for path in ("/admin", "/admin/queue"):
        assert_problem(api.session.get(origin + path), 404, "operations listener")
    assert_problem(api.session.get(origin + "/administrator"), 404, "/docs")
