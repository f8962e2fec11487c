"""The scores within groups, an addition: kept where a run asks for them, and sent on `?scores=true`."""

import csv
import io
import json
import signal

import pytest

from harness.api import Api, Project, Run, assert_problem
from harness.commands import Commands
from harness.oracle import Answer, as_sets
from harness.random_projects import linkages
from harness.samples import encodings
from harness.server import Server
from harness.upload import upload
from harness.wait import until

OBJECT = "groups-with-scores.json"
SCORES = {"scores": "true"}


def filled(api, datasets, kind="groups", blocks=None, forms=None):
    project = api.project(kind, parties=len(datasets), blocking=blocks is not None)
    for party, rows in enumerate(datasets):
        upload(project, party, forms[party] if forms else "clks", rows, blocks and blocks[party])
    return project


def people(parties, count=60, size=16):
    """Every third record of a party has a near duplicate in the others."""
    rows = [encodings(count, size, seed) for seed in range(parties)]
    for other in rows[1:]:
        other[::3] = [row[:-1] + b"\x01" for row in rows[0][::3]]
    return rows


@pytest.mark.parametrize("linkage", list(linkages(60, "scores")), ids=lambda linkage: linkage.name)
def test_scores_are_those_of_the_library_in_every_form(api, linkage):
    project = filled(api, linkage.datasets, "groups", linkage.blocks, linkage.forms)
    run = project.run(linkage.threshold, scores=True)
    run.complete()
    plain = run.get_result()
    answer = run.get_result(params=SCORES)
    assert answer.headers["Content-Type"] == "application/json"
    result = answer.json()
    assert result.keys() == {"groups", "scores"} and plain.json() == {"groups": result["groups"]}
    assert answer.text.startswith(plain.text[:-1])
    by_library = Answer(linkage.datasets, linkage.threshold, linkage.blocks)
    assert as_sets(result["groups"]) == by_library.groups()
    wanted = by_library.group_scores(result["groups"])
    assert result["scores"] == wanted and all(wanted)

    lines = run.get_result(params=SCORES, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == wanted
    table = run.get_result(params=SCORES, headers={"Accept": "text/csv"})
    head, *rows = csv.reader(io.StringIO(table.text))
    assert head == ["group", "dataset_a", "record_a", "dataset_b", "record_b", "score"]
    flat = [[str(at), *map(str, [*a, *b]), repr(score)] for at, pairs in enumerate(wanted) for a, b, score in pairs]
    assert rows == flat
    # Without `scores=true`, lines are those of the groups.
    table = run.get_result(headers={"Accept": "text/csv"})
    assert table.text.startswith("group,dataset,record\r\n")


def test_a_run_that_asks_for_nothing_is_as_before(api):
    project = filled(api, people(2))
    posted = project.post_run(0.8)
    assert posted.json().keys() == {"run_id", "name", "notes", "threshold"}
    run = Run(project, posted.json()["run_id"])
    run.complete()
    assert run.describe().json() == posted.json()
    assert run.get_result(params={"scores": "false"}).content == run.get_result().content
    assert_problem(run.get_result(params=SCORES), 409, '"scores": true')
    posted = project.post_run(0.8, scores=True)
    assert posted.json()["scores"] is True
    scored = Run(project, posted.json()["run_id"])
    scored.complete()
    assert scored.describe().json() == posted.json()
    assert scored.get_result().content == run.get_result().content


def test_refusals_name_the_member(api):
    project = filled(api, people(2))
    for wrong in ("true", 1, None, []):
        assert_problem(project.post_run(0.8, scores=wrong), 400, "scores")
    run = project.run(0.8, scores=True)
    run.complete()
    for wrong in ("yes", "1", "", "True"):
        assert_problem(run.get_result(params={"scores": wrong}), 400, "the query string is invalid: scores", "`true` or `false`")
    assert_problem(run.get_result("0" * 48, params=SCORES), 403)
    for kind in ("similarity_scores", "permutations"):
        other = filled(api, people(2), kind)
        assert_problem(other.post_run(0.8, scores=True), 400, "`scores`", "groups")
        assert other.post_run(0.8, scores=False).status_code == 201
        plain = other.run(0.8)
        plain.complete()
        assert_problem(plain.get_result(params=SCORES), 400, "`scores`", "groups")
    waiting = api.project()
    assert_problem(waiting.run(0.8, scores=True).get_result(params=SCORES), 404, "no result yet")


def test_no_group_has_no_score(api):
    run = filled(api, [encodings(5, 16, 1), encodings(5, 16, 2)]).run(1.0, scores=True)
    run.complete()
    assert run.get_result(params=SCORES).text == '{"groups": [], "scores": []}'


def stored(server):
    return {name for name in server.payload_files() if name.endswith(OBJECT)}


def test_the_scores_go_with_their_run_and_their_project(tmp_path):
    with Server(tmp_path) as server, Api(server.url) as api:
        empty = server.payload_files()
        project = filled(api, people(3))
        project.run(0.8).complete()
        assert not stored(server)
        runs = [project.run(0.8, scores=True) for _ in range(2)]
        for run in runs:
            run.complete()
        assert len(stored(server)) == 2
        runs[0].delete()
        until(lambda: len(stored(server)) == 1, "the scores of the run are removed")
        assert runs[1].get_result(params=SCORES).status_code == 200
        project.delete()
        until(lambda: server.payload_files() == empty, "no byte of the project remains")


def test_the_scores_are_in_a_backup(tmp_path):
    """Projects, runs, results and scores are the same after a restore."""
    home = tmp_path / "first"
    home.mkdir()
    with Server(home) as server, Api(server.url) as api:
        project = filled(api, people(3))
        runs = [project.run(0.8, scores=scores) for scores in (True, False)]
        for run in runs:
            run.complete()
        asked = [(0, SCORES), (0, {}), (1, {})]
        answers = [runs[run].get_result(params=params).content for run, params in asked]
        described = [project.describe().json(), *(run.describe().json() for run in runs)]
    commands = Commands(tmp_path)
    commands.done("backup", "--data-dir", home / "data", "--to", tmp_path / "backups")
    commands.done("restore", tmp_path / "backups", "--into", tmp_path / "second/data")
    with Server(tmp_path / "second") as server, Api(server.url) as api:
        project = Project(api, {"project_id": project.id, "result_token": project.token, "update_tokens": []})
        runs = [Run(project, run.id) for run in runs]
        assert [runs[run].get_result(params=params).content for run, params in asked] == answers
        assert json.loads(answers[0])["scores"]
        assert [project.describe().json(), *(run.describe().json() for run in runs)] == described
        assert_problem(runs[1].get_result(params=SCORES), 409, '"scores": true')
        project.delete()
        until(lambda: not stored(server), "the scores are removed")


IN_PARTS = [("finalize", True), ("finalize.done", True), ("finalize.published", True), ("finalize.reported", True)]
IN_ONE_JOB = [("finalize", False), ("plan.done", False), ("plan.published", False), ("plan.reported", False)]


@pytest.mark.parametrize(("moment", "in_parts"), IN_PARTS + IN_ONE_JOB)
def test_killed_while_it_finishes_a_run_it_reaches_the_same_scores(tmp_path, moment, in_parts):
    flags = ("--comparisons-per-job", "1000000") if in_parts else ()
    server = Server(tmp_path, *flags, environment={"ENTITYD_BREAKPOINT": moment})
    server.__enter__()
    with Api(server.url) as api:
        project = filled(api, people(3))
        run = project.run(0.8, scores=True)
        assert server.process.wait(timeout=120) == -signal.SIGABRT
    del server.environment["ENTITYD_BREAKPOINT"]
    with server, Api(server.url) as api:
        project = Project(api, {"project_id": project.id, "result_token": project.token, "update_tokens": []})
        again, undisturbed = Run(project, run.id), project.run(0.8, scores=True)
        for one in (again, undisturbed):
            one.complete()
        answers = [one.get_result(params=SCORES).content for one in (again, undisturbed)]
        assert answers[0] == answers[1] and json.loads(answers[0])["scores"]
        assert len(stored(server)) == 2
        project.delete()
        until(lambda: not stored(server), "the scores are removed")


def test_damaged_scores_are_refused_and_the_groups_are_not(tmp_path):
    with Server(tmp_path) as server, Api(server.url) as api:
        run = filled(api, people(2)).run(0.8, scores=True)
        run.complete()
        [name] = stored(server)
        path = server.data / name
        path.write_bytes(path.read_bytes()[:-1])
        assert_problem(run.get_result(params=SCORES), 500, "damaged")
        assert run.get_result().status_code == 200
        path.unlink()
        assert_problem(run.get_result(params=SCORES), 500, "missing")
