"""Section 4.13 of the contract, and the data sets of the reference's own suite."""

import json
import random
import re

import pytest

from harness.oracle import Answer, as_sets, assert_permutations_fit, bit_patterns
from harness.samples import encodings


def noisy(rows, seed):
    """Returns the rows with a few bits of each flipped."""
    rng = random.Random(seed)

    def copy(row):
        changed = bytearray(row)
        for _ in range(len(row) // 4):
            changed[rng.randrange(len(row))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return [copy(row) for row in rows]


def project_with(api, kind, datasets):
    project = api.project(kind, parties=len(datasets))
    receipts = [project.upload_encodings(party, rows) for party, rows in enumerate(datasets)]
    return project, receipts


@pytest.mark.parametrize("threshold", [0.9, 1.0])
@pytest.mark.parametrize("size", [8, 128])
@pytest.mark.parametrize("counts", [(1, 1), (1, 1000), (1000, 1), (1000, 1000)])
def test_two_parties(api, counts, size, threshold):
    people = encodings(1000, size)
    datasets = [people[: counts[0]], noisy(people, 1)[: counts[1] - 1] + people[:1]]
    expected = Answer(datasets, threshold)
    project, _ = project_with(api, "similarity_scores", datasets)
    scores = project.run(threshold).result()["similarity_scores"]
    assert bit_patterns(scores) == bit_patterns(expected.scores()) and scores
    project, receipts = project_with(api, "permutations", datasets)
    run = project.run(threshold)
    mask = run.result()["mask"]
    permutations = [run.get_result(receipt).json() for receipt in receipts]
    assert_permutations_fit(permutations, mask, expected.groups(), expected.sizes)
    project, _ = project_with(api, "groups", datasets)
    assert as_sets(project.run(threshold).result()["groups"]) == expected.groups()


@pytest.mark.parametrize("counts", [(10, 100, 1000), (1000, 1000, 1000), (100, 500, 1000, 300, 1)])
def test_several_parties(api, counts):
    people = encodings(1000, 128)
    datasets = [noisy(people, party)[:count] for party, count in enumerate(counts)]
    project, _ = project_with(api, "groups", datasets)
    found = project.run(0.8).result(timeout_s=300)["groups"]
    assert as_sets(found) == Answer(datasets, 0.8).groups()


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("size", [8, 128])
def test_identical_parties_have_a_full_group_for_each_record(api, parties, size):
    people = list(dict.fromkeys(encodings(1010, size)))[:1000]
    project, _ = project_with(api, "groups", [people] * parties)
    groups = project.run(1.0).result(timeout_s=300)["groups"]
    assert groups == [[[party, row] for party in range(parties)] for row in range(1000)]


def test_groups_have_their_documented_shape(linked):
    groups = linked["groups"][1].result()
    assert groups.keys() == {"groups"}
    assert all(len(group) >= 2 for group in groups["groups"])
    members = [tuple(member) for group in groups["groups"] for member in group]
    assert len(set(members)) == len(members)
    assert all(type(number) is int for member in members for number in member)


def test_scores_parse_to_the_same_double(linked):
    text = linked["similarity_scores"][1].get_result().text
    numbers = re.findall(r"\d+\.\d+(?:e-?\d+)?", text)
    assert numbers == [repr(float(number)) for number in numbers]
    scores = json.loads(text)["similarity_scores"]
    assert all(type(score) is float and left[0] < right[0] for left, right, score in scores)
    keys = [(-score, left[0], right[0], left[1], right[1]) for left, right, score in scores]
    assert keys == sorted(keys) and len(numbers) == len(scores) > 0


def test_permutations_are_integers_and_the_mask_is_zeros_and_ones(linked):
    _, run, receipts = linked["permutations"]
    mask = run.result()
    assert mask.keys() == {"mask"} and all(type(bit) is int for bit in mask["mask"])
    for receipt in receipts:
        answer = run.get_result(receipt).json()
        assert answer.keys() == {"permutation", "rows"} and answer["rows"] == len(mask["mask"]) == 5


@pytest.mark.parametrize(
    ("kind", "empty"),
    [
        ("groups", {"groups": []}),
        ("similarity_scores", {"similarity_scores": []}),
        ("permutations", {"mask": [0, 0]}),
    ],
)
def test_a_run_that_finds_nothing_has_an_empty_result(api, kind, empty):
    zeros, ones = [bytes(8)] * 2, [b"\xff" * 8] * 3
    project, _ = project_with(api, kind, [zeros, ones])
    assert project.run(0.1).result() == empty


def test_equal_runs_have_equal_results(api):
    people = encodings(300, 16)
    texts = set()
    for _ in range(3):
        project, _ = project_with(api, "groups", [people, noisy(people, 1), noisy(people, 2)])
        run = project.run(0.7)
        run.complete()
        texts.add(run.get_result().text)
    assert len(texts) == 1
