"""Fixtures: a real `entityd` in a temporary folder, and a client that speaks its API."""

import pytest

from harness.api import Api
from harness.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for the whole suite; it has to drain and exit 0 at the end."""
    with Server(tmp_path_factory.mktemp("entityd")) as running:
        yield running


@pytest.fixture(scope="session")
def api(server):
    with Api(server.url) as client:
        yield client
