"""Sections 4.9 to 4.12 of the contract: runs are posted, listed, followed and deleted."""

import time

import pytest

from harness.api import assert_problem, is_token
from harness.samples import encodings

STAGES = ["waiting for CLKs", "compute similarity scores", "compute output"]
# Fields of the status that the reference service lacks.
BEYOND = {"rate", "eta", "stage_times"}
UNDONE = {"state", "time_added", "stages", "current_stage", "time_started"} | BEYOND
DONE = UNDONE | {"time_completed", "total_number_comparisons"}


def test_ten_runs_can_be_posted_before_any_data(project):
    runs = [project.run(0.5 + i / 20, name=f"run {i}") for i in range(10)]
    listed = project.runs()
    assert [entry["run_id"] for entry in listed] == [run.id for run in runs]
    assert all(
        entry.keys() == {"run_id", "time_added", "state"} and entry["state"] == "created" for entry in listed
    )
    for party in (0, 1):
        project.upload_encodings(party, encodings(5))
    assert all(len(run.result()["groups"]) == 5 for run in runs)
    assert {entry["state"] for entry in project.runs()} == {"completed"}


def test_a_new_project_has_no_runs(project):
    assert project.runs() == []


@pytest.mark.parametrize("threshold", [1, 1.0, 0.1, 0.85, 1 / 3, 5e-324, 0.9999999999999999])
def test_a_run_shows_the_given_fields(project, threshold):
    answer = project.post_run(threshold, name="näme", notes="notes", surprise=1)
    posted = answer.json()
    assert answer.status_code == 201 and posted.keys() == {"run_id", "name", "notes", "threshold"}
    assert is_token(posted["run_id"]) and (posted["name"], posted["notes"]) == ("näme", "notes")
    assert isinstance(posted["threshold"], float) and posted["threshold"] == threshold
    described = project.api.get(f"{project.path}/runs/{posted['run_id']}", project.token)
    assert described.status_code == 200 and described.json() == posted


def test_name_and_notes_are_empty_by_default(project):
    described = project.run(0.5).describe().json()
    assert described["name"] == "" and described["notes"] == ""


@pytest.mark.parametrize(
    "threshold", [None, "0.5", True, [], {}, 0, -0.0, -0.5, 1.0000000000000002, 2, 10**400]
)
def test_an_invalid_threshold_is_400(project, threshold):
    assert_problem(project.post_run(threshold), 400, "threshold")
    assert project.runs() == []


def test_a_missing_threshold_is_400(project):
    assert_problem(
        project.api.post(f"{project.path}/runs", project.token, json={"name": "x"}), 400, "threshold"
    )


@pytest.mark.parametrize("field", ["name", "notes"])
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_text_fields_must_be_strings(project, field, value):
    assert_problem(project.post_run(0.5, **{field: value}), 400, field)


@pytest.mark.parametrize("kind", ["groups", "permutations", "similarity_scores"])
def test_a_run_without_data_waits_and_has_no_result(api, kind):
    project = api.project(kind)
    run = project.run(0.5)
    status = run.get_status().json()
    assert status.keys() == UNDONE
    assert status["state"] == "created" and status["time_started"] is None
    assert status["stages"] == (2 if kind == "similarity_scores" else 3)
    stage = {"number": 1, "description": STAGES[0]}
    progress = {"absolute": 0, "relative": 0.0, "description": "number of parties already contributed"}
    assert status["current_stage"] == {**stage, "progress": progress}
    assert_problem(run.get_result(), 404)

    project.upload_encodings(1, encodings(3))
    status = run.get_status().json()
    assert status["state"] == "created"
    assert status["current_stage"]["progress"] == {**progress, "absolute": 1, "relative": 0.5}
    assert_problem(run.get_result(), 404)


@pytest.mark.parametrize("kind", ["groups", "permutations", "similarity_scores"])
def test_the_status_of_a_completed_run(linked, kind):
    status = linked[kind][1].get_status().json()
    assert status.keys() == DONE
    assert status["total_number_comparisons"] == 5 * 6
    assert status["time_added"] <= status["time_started"] <= status["time_completed"]
    stage = status["current_stage"]
    if kind == "similarity_scores":
        progress = {
            "absolute": 30,
            "relative": 1.0,
            "description": "number of already computed similarity scores",
        }
        assert status["stages"] == 2
        assert stage == {"number": 2, "description": STAGES[1], "progress": progress}
    else:
        assert status["stages"] == 3
        assert stage == {"number": 3, "description": STAGES[2]}


def test_a_run_with_nothing_to_compare_has_no_progress(api):
    project = api.project("similarity_scores", blocking=True)
    for party, name in enumerate("ab"):
        project.upload(party, {"clknblocks": [["AAECAwQFBgc=", name]]})
    run = project.run(0.5)
    status = run.complete()
    assert run.result() == {"similarity_scores": []}
    assert status["total_number_comparisons"] == 0
    assert status["current_stage"] == {"number": 2, "description": STAGES[1]}


@pytest.mark.parametrize("kind", ["groups", "similarity_scores"])
def test_status_only_moves_forward(api, kind):
    project = api.project(kind)
    run = project.run(0.8)
    seen = [run.get_status().json()]
    for party in (0, 1):
        project.upload_encodings(party, encodings(2000, 128, seed=party))
        seen.append(run.get_status().json())
    seen += run.wait()
    states = ["created", "queued", "running", "completed"]
    order = [states.index(status["state"]) for status in seen]
    assert order == sorted(order)
    for status in seen:
        stage = status["current_stage"]
        assert stage["description"] == STAGES[stage["number"] - 1] and stage["number"] <= status["stages"]
        assert status.keys() == (DONE if status["state"] == "completed" else UNDONE)
    for before, after in zip(seen, seen[1:]):
        first, second = before["current_stage"], after["current_stage"]
        assert first["number"] <= second["number"]
        if first["number"] == second["number"] and "progress" in first and "progress" in second:
            assert 0 <= first["progress"]["relative"] <= second["progress"]["relative"] <= 1


def test_a_deleted_run_is_gone_and_its_project_stays(api):
    project = api.project("groups")
    for party in (0, 1):
        project.upload_encodings(party, encodings(5))
    first, second = project.run(0.5), project.run(0.9)
    first.complete()
    answer = first.delete()
    assert answer.status_code == 204 and answer.content == b""
    for answer in (first.describe(), first.get_status(), first.get_result(), first.delete()):
        assert_problem(answer, 403)
    assert [entry["run_id"] for entry in project.runs()] == [second.id]
    assert len(second.result()["groups"]) == 5
    assert project.describe().status_code == 200


@pytest.mark.parametrize("wait_s", [0, 0.02, 0.1, 0.5])
def test_a_run_can_be_deleted_while_it_is_queued_or_running(api, wait_s):
    project = api.project("groups")
    for party in (0, 1):
        project.upload_encodings(party, encodings(1000, 128, seed=party))
    run, other = project.run(0.5), project.run(0.9)
    time.sleep(wait_s)
    assert run.delete().status_code == 204
    assert_problem(run.describe(), 403)
    other.complete()


def test_runs_are_independent(api):
    project = api.project("similarity_scores")
    for party in (0, 1):
        project.upload_encodings(party, encodings(40, 16, seed=party))
    runs = {threshold: project.run(threshold) for threshold in (0.4, 0.5, 0.6)}
    scores = {threshold: run.result()["similarity_scores"] for threshold, run in runs.items()}
    for threshold, found in scores.items():
        assert found == [pair for pair in scores[0.4] if pair[2] >= threshold]
    assert len(scores[0.4]) > len(scores[0.6])
