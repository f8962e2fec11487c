"""Fixtures: a real `entityd` in a temporary folder, and a client that speaks its API.

With TESTS_FLEET=1 it is two API nodes and two workers on PostgreSQL, Redis and S3, and requests go to the nodes in turn.
"""

import os

import pytest

from harness.api import Api
from harness.fleet import SpreadApi, fleet
from harness.server import Server

FLEET = os.environ.get("TESTS_FLEET") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        marker = item.get_closest_marker("one_process")
        if FLEET and marker:
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """The engines, API nodes and workers of a fleet; None for one process."""
    if not FLEET:
        yield None
        return
    with fleet(tmp_path_factory.mktemp("fleet")) as parts:
        yield parts


@pytest.fixture(scope="session")
def nodes(several, tmp_path_factory):
    """The nodes that serve; each has to drain and exit 0 at the end."""
    if several:
        yield several[1]
    else:
        with Server(tmp_path_factory.mktemp("entityd")) as running:
            yield [running]


@pytest.fixture(scope="session")
def server(nodes):
    """One server for the whole suite."""
    return nodes[0]


@pytest.fixture(scope="session")
def api(nodes):
    with SpreadApi(nodes) if FLEET else Api(nodes[0].url) as client:
        yield client
