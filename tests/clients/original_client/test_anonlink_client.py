"""The original client's own command line, as released on PyPI: version 0.1.5, the last with server commands."""

import base64
import json

import pytest
from anonlinkclient.rest_client import RestClient, ServiceError

from harness import people
from harness.anonlink_client import typed
from harness.oracle import Answer, as_sets, assert_permutations_fit, bit_patterns

ROWS = 300
THRESHOLD = 0.7
BLOCKING = {
    "type": "p-sig",
    "version": 1,
    "config": {
        "blocking-features": ["state", "postcode"],
        "record-id-column": "rec_id",
        "filter": {"type": "ratio", "max": 0.5, "min": 0.0},
        "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
        "signatureSpecs": [
            [{"type": "feature-value", "feature": "state"}],
            [{"type": "characters-at", "config": {"pos": ["0:2"]}, "feature": "postcode"}],
        ],
    },
}


class Client:
    """Runs the command line; every call is a separate process, as if typed by a person."""

    def __init__(self, folder, origin):
        self.folder = folder
        self.origin = origin

    def local(self, *words):
        return typed(self.folder, *words)

    def server(self, command, *words):
        """Runs a command that talks to the server; returns the content of its output file, and its stderr."""
        output = self.folder / "output.txt"
        output.unlink(missing_ok=True)
        written = [] if command.startswith("delete") else ["--output", output]
        said = typed(self.folder, command, "--server", self.origin, *written, *words)
        return (output.read_text() if written else ""), said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Each party's people, in the output files of the client's `hash` and `block` commands."""
    folder = tmp_path_factory.mktemp("client")
    client = Client(folder, None)
    (folder / "schema.json").write_text(json.dumps(people.SCHEMA))
    (folder / "blocking.json").write_text(json.dumps(BLOCKING))
    for party, rows in enumerate(people.small_tables(ROWS)):
        people.write_csv(folder / f"people-{party}.csv", rows)
        client.local("hash", f"people-{party}.csv", "horse", "schema.json", f"clks-{party}.json")
        client.local("block", f"people-{party}.csv", "blocking.json", f"blocks-{party}.json")
    return folder


@pytest.fixture
def client(folder, server):
    return Client(folder, server.origin)


def expected(folder, parties, blocked):
    """Returns the library's results for the files that the client uploads."""
    datasets, blocks = [], []
    for party in range(parties):
        texts = json.loads((folder / f"clks-{party}.json").read_text())["clks"]
        datasets.append([base64.b64decode(text) for text in texts])
        of_record = json.loads((folder / f"blocks-{party}.json").read_text())["blocks"]
        blocks.append([of_record.get(str(record), []) for record in range(len(texts))])
    return Answer(datasets, THRESHOLD, blocks if blocked else None)


class Conversation:
    """One project from its creation to its result, by the commands of the client."""

    def __init__(self, client, result_type, parties, blocked, upload_flags=()):
        self.client = client
        words = ["--type", result_type, "--schema", "schema.json", "--parties", parties, "--name", "a name"]
        created, said = client.server("create-project", *words, *(["--blocked"] if blocked else []))
        assert "Project created" in said
        created = json.loads(created)
        self.project, self.token = created["project_id"], created["result_token"]
        self.receipts = []
        for party, token in enumerate(created["update_tokens"]):
            words = ["--project", self.project, "--apikey", token, *upload_flags]
            words += ["--blocks", f"blocks-{party}.json"] if blocked else []
            written, said = client.server("upload", f"clks-{party}.json", *words)
            # By default the upload goes through the object store.
            direct = "--to_entityservice" in upload_flags
            assert ("entity service" if direct else "external object store") in said.partition("Uploading to")[2], said
            self.receipts.append(json.loads(written)["receipt_token"])
        written, _ = client.server("create", *self.key(), "--threshold", THRESHOLD, "--name", "a run")
        self.run = json.loads(written)
        assert self.run["threshold"] == THRESHOLD and self.run["name"] == "a run"

    def key(self, token=None):
        return ["--project", self.project, "--apikey", token or self.token]

    def of_run(self, token=None):
        return [*self.key(token), "--run", self.run["run_id"]]

    def results(self, token=None):
        written, said = self.client.server("results", "--watch", *self.of_run(token))
        assert "State: completed" in said and "Received result" in said, said
        return json.loads(written)

    def delete(self):
        _, said = self.client.server("delete", *self.of_run())
        assert "Run deleted" in said
        _, said = self.client.server("delete-project", *self.key())
        assert "Project deleted" in said


def test_status(client):
    written, _ = client.server("status")
    status = json.loads(written)
    assert status["status"] == "ok" and set(status) == {"status", "project_count", "rate"}


@pytest.mark.parametrize("blocked", [False, True], ids=["unblocked", "blocked"])
@pytest.mark.parametrize("parties", [2, 3])
def test_groups(client, folder, parties, blocked):
    talk = Conversation(client, "groups", parties, blocked)
    answer = expected(folder, parties, blocked)
    groups = as_sets(talk.results()["groups"])
    assert groups == answer.groups() and len(groups) > ROWS // 4
    talk.delete()


@pytest.mark.parametrize("blocked", [False, True], ids=["unblocked", "blocked"])
def test_similarity_scores(client, folder, blocked):
    talk = Conversation(client, "similarity_scores", 2, blocked)
    scores = talk.results()["similarity_scores"]
    assert bit_patterns(scores) == bit_patterns(expected(folder, 2, blocked).scores())
    talk.delete()


def test_permutations_for_each_token(client, folder):
    talk = Conversation(client, "permutations", 2, blocked=False)
    answer = expected(folder, 2, blocked=False)
    mask = talk.results()["mask"]
    permutations = [talk.results(receipt) for receipt in talk.receipts]
    assert_permutations_fit(permutations, mask, answer.groups(), answer.sizes)
    talk.delete()


def test_direct_upload_on_request(client, folder):
    talk = Conversation(client, "groups", 2, False, upload_flags=["--to_entityservice"])
    assert as_sets(talk.results()["groups"]) == expected(folder, 2, False).groups()


def test_a_deleted_project_is_gone(client):
    talk = Conversation(client, "groups", 2, blocked=False)
    talk.delete()
    _, said = client.server("delete-project", *talk.key())
    assert "Unexpected response with status 403" in said


def test_the_library_behind_the_commands(client, folder):
    """Calls that no command makes: describing a project sends a JSON content type and no body."""
    rest = RestClient(client.origin)
    talk = Conversation(client, "groups", 2, blocked=False)
    described = rest.project_get_description(talk.project, talk.token)
    assert described["parties_contributed"] == 2 and described["error"] is False
    assert described["schema"] == json.loads((folder / "schema.json").read_text())
    status = rest.wait_for_run(talk.project, talk.run["run_id"], talk.token, timeout=180, update_period=0.05)
    assert status["state"] == "completed" and status["stages"] == 3
    with pytest.raises(ServiceError) as refused:
        rest.project_get_description(talk.project, "0" * 48)
    assert refused.value.status_code == 403
