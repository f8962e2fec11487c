"""One PostgreSQL server for the suite; a test that breaks it starts its own."""

import itertools

import pytest

from harness.postgres import Postgres

NAMES = (f"linkage{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def database(postgres):
    """The name of an empty database."""
    return postgres.create(next(NAMES))
