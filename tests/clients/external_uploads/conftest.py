"""The store that clients upload into: our own S3 endpoint, or with TESTS_FLEET=1 the store of all objects."""

from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def upload_store(several, server):
    """Its address, the keys of its owner, and the refusal of a part for a removed project."""
    if several:
        store = several[0].store
        return SimpleNamespace(host=f"127.0.0.1:{store.port}", keys=store.keys, refusal="")
    file = server.data / "s3-credentials"
    assert file.stat().st_mode & 0o777 == 0o600
    return SimpleNamespace(host=f"127.0.0.1:{server.s3_port}", keys=tuple(file.read_text().split()), refusal="revoked")
