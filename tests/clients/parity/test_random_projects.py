"""Random small projects, through HTTP and through `entityd link`: the answers are the library's."""

import csv
import json
import os
import subprocess

import pytest

from harness.oracle import Answer, as_sets, assert_permutations_fit, bit_patterns
from harness.random_projects import linkages
from harness.server import BINARY, clean_environment
from harness.upload import body, upload

SEED = os.environ.get("ENTITYD_SEED", "20261122")
COUNT = 240
LINKAGES = list(linkages(COUNT, SEED))


@pytest.fixture(scope="module", autouse=True)
def seed():
    print(f"{COUNT} projects, ENTITYD_SEED={SEED}")


def each(linkages):
    return pytest.mark.parametrize("linkage", linkages, ids=[linkage.name for linkage in linkages])


def upload_all(api, linkage, result_type):
    """Returns the project and the receipts; the last party uploads first."""
    project = api.project(result_type, parties=linkage.parties, blocking=linkage.blocks is not None)
    receipts = [None] * linkage.parties
    for party in reversed(range(linkage.parties)):
        blocks = linkage.blocks and linkage.blocks[party]
        receipts[party] = upload(project, party, linkage.forms[party], linkage.datasets[party], blocks)
    return project, receipts


def answer(linkage):
    return Answer(linkage.datasets, linkage.threshold, linkage.blocks)


@each(LINKAGES)
def test_groups(api, linkage):
    project, _ = upload_all(api, linkage, "groups")
    groups = project.run(linkage.threshold).result()["groups"]
    assert as_sets(groups) == answer(linkage).groups()
    assert groups == sorted(sorted(group) for group in groups), "groups have a fixed order"


@each([linkage for linkage in LINKAGES if linkage.parties == 2])
def test_scores_and_permutations(api, linkage):
    expected = answer(linkage)
    project, _ = upload_all(api, linkage, "similarity_scores")
    scores = project.run(linkage.threshold).result()["similarity_scores"]
    assert bit_patterns(scores) == bit_patterns(expected.scores())

    project, receipts = upload_all(api, linkage, "permutations")
    run = project.run(linkage.threshold)
    mask = run.result()["mask"]
    permutations = [run.get_result(receipt).json() for receipt in receipts]
    assert_permutations_fit(permutations, mask, expected.groups(), expected.sizes)


@each(LINKAGES)
def test_the_link_command(tmp_path, linkage):
    expected = answer(linkage)
    files = [write(tmp_path, linkage, party) for party in range(linkage.parties)]
    if linkage.parties == 2:
        scores = json.loads(link(files, linkage.threshold, "scores", "json"))["similarity_scores"]
        assert bit_patterns(scores) == bit_patterns(expected.scores())
    groups = json.loads(link(files, linkage.threshold, "groups", "json"))["groups"]
    assert as_sets(groups) == expected.groups()
    scored = json.loads(link(files, linkage.threshold, "groups", "json", "--scores"))
    assert scored == {"groups": groups, "scores": expected.group_scores(groups)}


def write(folder, linkage, party):
    """Writes one party's file; a binary upload becomes the equivalent JSON form."""
    form = linkage.forms[party]
    blocks = linkage.blocks and linkage.blocks[party]
    if form == "binary":
        form = "clks" if blocks is None else "clknblocks"
    path = folder / f"party-{party}.json"
    path.write_text(json.dumps(body(form, linkage.datasets[party], blocks)))
    return path


def link(files, threshold, result, shape, *flags):
    command = [BINARY, "link", *files, "--threshold", repr(threshold), "--result", result, "--format", shape, *flags]
    done = subprocess.run(
        command, capture_output=True, timeout=180, check=False, text=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_link_command_reads_binary_files_and_writes_tables(tmp_path):
    linkage = next(
        item for item in LINKAGES if item.parties == 2 and item.blocks is None and item.kind == "plain"
    )
    files = []
    for party, dataset in enumerate(linkage.datasets):
        files.append(tmp_path / f"party-{party}.bin")
        files[-1].write_bytes(b"".join(dataset))
    size = len(linkage.datasets[0][0])
    command = [BINARY, "link", *files, "--encoding-bytes", str(size), "--threshold", repr(linkage.threshold)]
    target = tmp_path / "scores.csv"
    command += ["--result", "scores", "--format", "csv", "-o", target]
    subprocess.run(command, check=True, timeout=180, env=clean_environment())
    with target.open(newline="") as table:
        rows = list(csv.reader(table))
    expected = [[*left, *right, score] for left, right, score in answer(linkage).scores()]
    assert [[*map(int, row[:4]), float(row[4])] for row in rows[1:]] == expected, rows[0]
