"""Projects in the states that the contract distinguishes."""

import pytest

from harness.samples import encodings


@pytest.fixture
def project(api):
    """A fresh project for groups, two parties, no blocking."""
    return api.project("groups")


@pytest.fixture
def blocking_project(api):
    return api.project("groups", blocking=True)


@pytest.fixture(scope="session")
def linked(api):
    """For each result type: a project whose run has completed, that run, and the receipts."""
    return {kind: link(api, kind) for kind in ("groups", "permutations", "similarity_scores")}


def link(api, kind):
    project = api.project(kind)
    receipts = [project.upload_encodings(party, encodings(5 + party, seed=1)) for party in (0, 1)]
    run = project.run(0.5)
    run.complete()
    return project, run, receipts
