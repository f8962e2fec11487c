"""Section 3 of the contract: the tokens that each endpoint accepts."""

import pytest

from harness.api import assert_problem
from harness.samples import EIGHT_BYTES, encodings

RESULT, UPDATE, RECEIPT = "result", "update", "receipt"
NEVER = ["unknown", "basic", "foreign result", "foreign update"]

# For each endpoint: the tokens that it accepts, and those in `permutations` projects.
DOORS = {
    "describe project": ([RESULT], [RESULT, RECEIPT]),
    "authorize upload": ([UPDATE], [UPDATE]),
    "upload clks": ([UPDATE], [UPDATE]),
    "upload binary": ([UPDATE], [UPDATE]),
    "list runs": ([RESULT], [RESULT]),
    "create run": ([RESULT], [RESULT]),
    "describe run": ([RESULT], [RESULT]),
    "run status": ([RESULT], [RESULT, RECEIPT]),
    "run result": ([RESULT], [RESULT, RECEIPT]),
    "delete run": ([RESULT], [RESULT]),
    "delete project": ([RESULT], [RESULT]),
}
OPENED = {
    "authorize upload": (201, 500),
    "delete run": (204,),
    "delete project": (204,),
    "create run": (201,),
}


class Scene:
    """A project for each request, so that one that succeeds does not affect the next."""

    def __init__(self, api, kind):
        self.api = api
        self.project = api.project(kind)
        self.receipt = self.project.upload_encodings(0, encodings(3))
        self.project.upload_encodings(1, encodings(3))
        self.run = self.project.run(0.5)
        self.run.complete()

    def token(self, kind):
        if kind.startswith("foreign"):
            other = self.api.project("groups")
            return other.token if kind.endswith("result") else other.update_tokens[0]
        return {
            RESULT: self.project.token,
            UPDATE: self.project.update_tokens[0],
            RECEIPT: self.receipt,
            "unknown": "0" * 48,
            "basic": f"Basic {self.project.token}",
        }[kind]

    def knock(self, door, token):
        project, run, api = self.project, self.run, self.api
        binary = {"Content-Type": "application/octet-stream", "Hash-Count": "1", "Hash-Size": "8"}
        return {
            "describe project": lambda: api.get(project.path, token),
            "authorize upload": lambda: api.get(f"{project.path}/authorize-external-upload", token),
            "upload clks": lambda: api.post(f"{project.path}/clks", token, json={"clks": [EIGHT_BYTES]}),
            "upload binary": lambda: api.post(
                f"{project.path}/binaryclks", token, data=bytes(8), headers=binary
            ),
            "list runs": lambda: api.get(f"{project.path}/runs", token),
            "create run": lambda: api.post(f"{project.path}/runs", token, json={"threshold": 0.5}),
            "describe run": lambda: api.get(run.path, token),
            "run status": lambda: api.get(f"{run.path}/status", token),
            "run result": lambda: api.get(f"{run.path}/result", token),
            "delete run": lambda: api.delete(run.path, token),
            "delete project": lambda: api.delete(project.path, token),
        }[door]()


@pytest.fixture
def scene(api):
    return lambda kind: Scene(api, kind)


def uploads(door):
    return door in ("upload clks", "upload binary")


@pytest.mark.parametrize("kind", ["groups", "permutations", "similarity_scores"])
@pytest.mark.parametrize("door", DOORS)
def test_every_token_at_every_endpoint(scene, door, kind):
    stage = scene(kind)
    opening = DOORS[door][kind == "permutations"]
    assert_problem(stage.knock(door, None), 400)
    refusals = set()
    for token in [RESULT, UPDATE, RECEIPT, *NEVER]:
        if token in opening:
            continue
        refusals.add(assert_problem(stage.knock(door, stage.token(token)), 403)["detail"])
    assert len(refusals) == 1, refusals
    for token in sorted(opening, key=[RECEIPT, UPDATE, RESULT].index):
        answer = stage.knock(door, stage.token(token))
        if uploads(door):
            # This token has been used for an upload: it is known, but may not upload again.
            assert_problem(answer, 403)
        else:
            assert answer.status_code in OPENED.get(door, (200,)), answer.text


@pytest.mark.parametrize("door", DOORS)
def test_absent_and_forbidden_look_alike(scene, door):
    stage = scene("groups")
    refused = assert_problem(stage.knock(door, "0" * 48), 403)
    token = stage.token(RESULT)
    known = stage.project.path, stage.run.path
    answers = []
    for missing in ("0" * 48, "invalid", "ffff"):
        stage.project.path = f"/projects/{missing}"
        stage.run.path = f"/projects/{missing}/runs/{stage.run.id}"
        answers.append(stage.knock(door, token))
        stage.project.path, stage.run.path = known
        if "run " in f"{door} " and door not in ("create run", "list runs"):
            stage.run.path = f"{stage.project.path}/runs/{missing}"
            answers.append(stage.knock(door, token))
            stage.run.path = known[1]
    assert all(assert_problem(answer, 403) == refused for answer in answers)


def test_a_run_is_found_only_under_its_own_project(api, linked):
    _, run, _ = linked["groups"]
    other, _, _ = linked["similarity_scores"]
    for path in ("", "/status", "/result"):
        assert_problem(api.get(f"{other.path}/runs/{run.id}{path}", other.token), 403)
    assert_problem(api.delete(f"{other.path}/runs/{run.id}", other.token), 403)


def test_a_missing_token_is_400_even_for_a_project_that_does_not_exist(api):
    for path in ("", "/runs", "/runs/x", "/runs/x/status", "/runs/x/result"):
        assert_problem(api.get(f"/projects/{'0' * 48}{path}"), 400, "authorization")
    assert_problem(api.delete("/projects/x"), 400, "authorization")


def test_a_receipt_shows_the_permutation_of_its_own_party(linked):
    _, run, receipts = linked["permutations"]
    lengths = [len(run.get_result(receipt).json()["permutation"]) for receipt in receipts]
    assert lengths == [5, 6]
