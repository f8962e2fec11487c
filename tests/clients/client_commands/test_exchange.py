"""Files and projects are exchanged between anonlink-client's commands and ours."""

import csv
import io
import json

import pytest
from anonlinkclient.utils import combine_clks_blocks

from harness import people
from harness.anonlink_client import typed as anonlink
from harness.commands import Commands, private
from harness.oracle import as_sets

ROWS = 150
THRESHOLD = "0.75"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(people.SCHEMA))
    private(tmp_path / "secret", "horse\n")
    for party, rows in enumerate(people.small_tables(ROWS)[:2]):
        people.write_csv(tmp_path / f"{party}.csv", rows)
    return tmp_path


@pytest.fixture
def ours(folder, server):
    return Commands(folder, ENTITYD_SERVER=server.origin)


def expected(folder):
    """Our own linkage of the files, without a server."""
    return as_sets(json.loads(Commands(folder).done("link", "0.json", "1.json", "--threshold", THRESHOLD))["groups"])


def test_their_project_is_a_profile_of_ours(ours, folder, server):
    anonlink(folder, "create-project", "--server", server.origin, "--schema", "schema.json", "--type", "groups", "--output", "project.json")
    private(folder / "project.json", (folder / "project.json").read_text())
    anonlink(folder, "hash", "0.csv", "horse", "schema.json", "0.json")
    ours.done("encode", "1.csv", "--schema", "schema.json", "--secret-file", "secret", "-o", "1.json")
    created = json.loads((folder / "project.json").read_text())
    key = ["--project", created["project_id"]]
    ours.done("upload", "0.json", "--party", 0, "--profile", "project.json")
    anonlink(folder, "upload", "1.json", "--server", server.origin, *key, "--apikey", created["update_tokens"][1])
    run = ours.done("run", "create", "--threshold", THRESHOLD, "--profile", "project.json").strip()
    found = [["--server", server.origin, *key, "--apikey", created["result_token"], "--run", run]]
    anonlink(folder, "results", "--watch", *found[0], "--output", "theirs.json")
    result = ours.done("result", "get", run, "--wait", "--profile", "project.json")
    assert json.loads(result) == json.loads((folder / "theirs.json").read_text())
    assert as_sets(json.loads(result)["groups"]) == expected(folder)


def test_our_project_is_used_with_their_commands(ours, folder, server):
    created = json.loads(ours.done("project", "create", "--schema", "schema.json", "--result-type", "permutations", "--json"))
    key = ["--server", server.origin, "--project", created["project_id"]]
    ours.done("encode", "0.csv", "--schema", "schema.json", "--secret-file", "secret", "-o", "0.json")
    anonlink(folder, "hash", "1.csv", "horse", "schema.json", "1.json")
    receipts = []
    anonlink(folder, "upload", "0.json", *key, "--apikey", created["update_tokens"][0], "--output", "receipt.json")
    receipts.append(json.loads((folder / "receipt.json").read_text())["receipt_token"])
    said = ours.done("upload", "1.json", "--project", created["project_id"], "--json", ENTITYD_TOKEN=created["update_tokens"][1])
    receipts.append(json.loads(said)["receipt_token"])
    anonlink(folder, "create", *key, "--apikey", created["result_token"], "--threshold", THRESHOLD, "--output", "run.json")
    run = json.loads((folder / "run.json").read_text())["run_id"]
    anonlink(folder, "results", "--watch", *key, "--apikey", created["result_token"], "--run", run, "--output", "mask.json")
    rows = []
    for party, receipt in enumerate(receipts):
        get = ["result", "get", run, "--project", created["project_id"], "--with", f"{party}.csv", "--mask", "mask.json", "--id", "rec_id"]
        rows.append(list(csv.reader(io.StringIO(ours.done(*get, ENTITYD_TOKEN=receipt))))[1:])
    pairs = {frozenset(((0, int(a[1])), (1, int(b[1])))) for a, b in zip(*rows, strict=True)}
    assert pairs == expected(folder) and len(pairs) > ROWS // 2


def test_blocks_of_either_are_uploaded_by_the_other(ours, folder, server):
    """P-Sig blocks, in the format that each writes."""
    config = {
        "type": "p-sig",
        "version": 1,
        "config": {
            "blocking-features": ["state", "postcode"],
            "record-id-column": "rec_id",
            "filter": {"type": "ratio", "max": 0.5, "min": 0.0},
            "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
            "signatureSpecs": [[{"type": "feature-value", "feature": "state"}]],
        },
    }
    (folder / "blocking.json").write_text(json.dumps(config))
    for party in (0, 1):
        ours.done("encode", f"{party}.csv", "--schema", "schema.json", "--secret-file", "secret", "-o", f"{party}.json")
    anonlink(folder, "block", "0.csv", "blocking.json", "blocks-0.json")
    ours.done("block", "1.csv", "--config", "blocking.json", "-o", "blocks-1.json")
    ours.done("project", "create", "--blocks", "--save", "study")
    ours.done("upload", "0.json", "--blocks", "blocks-0.json", "--profile", "study/party-0.toml")
    profile = dict(line.split(" = ") for line in (folder / "study/party-1.toml").read_text().splitlines())
    key = ["--project", json.loads(profile["project_id"]), "--apikey", json.loads(profile["update_token"])]
    anonlink(folder, "upload", "1.json", "--blocks", "blocks-1.json", "--server", server.origin, *key)
    analyst = ["--profile", "study/analyst.toml"]
    ours.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    groups = as_sets(json.loads(ours.done("result", "get", *analyst))["groups"])
    assert len(groups) > ROWS // 3 and groups <= expected(folder)


def test_encodings_with_blocks_are_those_of_the_library(ours, folder):
    """`encode --blocks` writes what anonlink-client sends: `clknblocks`. Rows that break a rule keep their number."""
    ours.done("encode", "0.csv", "--schema", "schema.json", "--secret-file", "secret", "-o", "0.json")
    blocks = {"0": ["(1, 2)", "a \"b\" ü"], "3": ["(4,)"], str(ROWS - 1): ["(1, 2)", 7]}
    (folder / "blocks.json").write_text(json.dumps({"blocks": blocks}))
    encode = ["encode", "0.csv", "--schema", "schema.json", "--secret-file", "secret", "--blocks", "blocks.json"]
    ours.done(*encode, "-o", "both.json")
    both = json.loads((folder / "both.json").read_text())
    written = {"blocks": {record: list(map(str, names)) for record, names in blocks.items()}}
    theirs = combine_clks_blocks(io.StringIO((folder / "0.json").read_text()), io.StringIO(json.dumps(written)))
    assert both == json.loads(theirs.read())
    # A row is left out: the blocks of the others stay theirs.
    lines = (folder / "0.csv").read_text().splitlines(keepends=True)
    for wrong in (1, 3):
        (folder / "0.csv").write_text("".join([*lines[:wrong], "broken\n", *lines[wrong:]]))
        shifted = {str(int(record) + (int(record) >= wrong - 1)): names for record, names in blocks.items()}
        (folder / "blocks.json").write_text(json.dumps({"blocks": shifted}))
        ours.done(*encode, "-o", "skipped.json", "--on-error", "skip")
        assert json.loads((folder / "skipped.json").read_text()) == both
    # Blocks of other data, and rows of bytes, are refused.
    (folder / "blocks.json").write_text(json.dumps({"blocks": {str(ROWS + 5): ["x"]}}))
    assert "record 155" in ours.refused(3, *encode, "-o", "wrong.json", "--on-error", "skip")
    assert "--blocks" in ours.refused(2, *encode, "-o", "wrong.bin") and not (folder / "wrong.json").exists()
