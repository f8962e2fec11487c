"""Data with a known truth, encoded by the field's own tool: the library's answers, and how good they are."""

import pytest

from harness import people
from harness.oracle import Answer, as_sets, assert_permutations_fit, bit_patterns

THRESHOLD = 0.65


@pytest.fixture(scope="module")
def febrl4():
    tables, truth = people.tables()
    datasets = [people.encode(rows) for rows in tables]
    return datasets, truth, Answer(datasets, THRESHOLD)


def linked(api, datasets, result_type):
    project = api.project(result_type, schema=people.SCHEMA)
    project.upload_encodings(0, datasets[0])
    project.upload_binary(1, datasets[1])
    return project.run(THRESHOLD)


def test_groups_are_the_librarys_and_mostly_true(api, febrl4, capsys):
    datasets, truth, expected = febrl4
    run = linked(api, datasets, "groups")
    found = as_sets(run.result()["groups"])
    assert found == expected.groups()
    assert run.complete()["total_number_comparisons"] == len(datasets[0]) * len(datasets[1])

    pairs = {(dict(group)[0], dict(group)[1]) for group in found}
    precision, recall = len(pairs & truth) / len(pairs), len(pairs & truth) / len(truth)
    with capsys.disabled():
        print(f"\nfebrl4 at {THRESHOLD}: {len(pairs)} pairs, precision {precision:.4f}, recall {recall:.4f}")
    assert precision > 0.95 and recall > 0.9


def test_scores_are_the_librarys_to_the_bit(api, febrl4):
    datasets, _, expected = febrl4
    scores = linked(api, datasets, "similarity_scores").result()["similarity_scores"]
    assert bit_patterns(scores) == bit_patterns(expected.scores())


def test_permutations_and_mask_describe_the_librarys_groups(api, febrl4):
    datasets, _, expected = febrl4
    project = api.project("permutations", schema=people.SCHEMA)
    receipts = [project.upload_encodings(party, dataset) for party, dataset in enumerate(datasets)]
    run = project.run(THRESHOLD)
    mask = run.result()["mask"]
    permutations = [run.get_result(receipt).json() for receipt in receipts]
    assert_permutations_fit(permutations, mask, expected.groups(), expected.sizes)
