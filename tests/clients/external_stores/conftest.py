"""Runs a test on every store unless it names some: one process of each, and one `entityd` on it, for a file of tests."""

import pytest

from harness.api import Api
from harness.stores import STORES


@pytest.fixture(scope="module", params=STORES, ids=lambda store: store.__name__.lower())
def store(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def server(store, tmp_path_factory):
    with store.entityd(tmp_path_factory.mktemp("entityd"), "some/prefix") as running:
        yield running


@pytest.fixture(scope="module")
def api(server):
    with Api(server.url) as client:
        yield client
