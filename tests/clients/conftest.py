"""Fixtures: a real `entityd` in a temporary folder, and a client that speaks its API.

With TESTS_FLEET=1 it is two API nodes and two workers on PostgreSQL, Redis and S3, and requests go to the nodes in turn.
"""

import os

import pytest

from harness.api import Api
from harness.fleet import SpreadApi, fleet
from harness.server import Server

FLEET = os.environ.get("TESTS_FLEET") == "1"


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """The nodes that serve; each has to drain and exit 0 at the end."""
    if FLEET:
        with fleet(tmp_path_factory.mktemp("fleet")) as (_, running, _):
            yield running
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
