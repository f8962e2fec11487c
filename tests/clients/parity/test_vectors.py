"""The reference linkages, through HTTP."""

import pytest

from harness import vectors
from harness.oracle import Answer, as_sets, bit_patterns
from harness.upload import upload

FLOWS = list(vectors.flows())
TWO_PARTY_FLOWS = [flow for flow in FLOWS if flow["parties"] == 2]


def named(flow):
    return flow["name"]


def expected_scores(flow):
    return [[[d0, r0], [d1, r1], score] for score, d0, d1, r0, r1 in flow["pairs"]]


def run(api, flow, result_type, forms):
    project = api.project(result_type, parties=flow["parties"], blocking=flow["blocks"] is not None)
    for party in reversed(range(flow["parties"])):
        blocks = flow["blocks"] and flow["blocks"][party]
        upload(project, party, forms[party % len(forms)], flow["datasets"][party], blocks)
    return project.run(flow["threshold"])


def forms_of(flow):
    if flow["blocks"] is None:
        return [["clks"], ["binary", "encodings"]]
    return [["clknblocks"], ["blocks+encodings", "encodings+blocks"]]


@pytest.mark.parametrize("flow", FLOWS, ids=named)
def test_groups_and_comparisons_are_the_references(api, flow):
    for forms in forms_of(flow):
        linkage = run(api, flow, "groups", forms)
        assert linkage.result()["groups"] == sorted(sorted(group) for group in flow["groups"])
        assert linkage.complete()["total_number_comparisons"] == flow["total_number_comparisons"]


@pytest.mark.parametrize("flow", TWO_PARTY_FLOWS, ids=named)
def test_scores_are_the_references_to_the_bit(api, flow):
    for forms in forms_of(flow):
        scores = run(api, flow, "similarity_scores", forms).result()["similarity_scores"]
        assert bit_patterns(scores) == bit_patterns(expected_scores(flow))


@pytest.mark.parametrize("flow", FLOWS, ids=named)
def test_the_installed_library_agrees_with_the_vectors(flow):
    answer = Answer(flow["datasets"], flow["threshold"], flow["blocks"])
    assert bit_patterns(answer.scores()) == bit_patterns(expected_scores(flow))
    assert answer.groups() == as_sets(flow["groups"])
