"""A server with an admin token that the tests know."""

from types import SimpleNamespace

import pytest

ADMIN_TOKEN = "an-admin-token-of-forty-eight-characters-0123456"


@pytest.fixture
def admin(tmp_path):
    """The admin token, its header, and the flags of a server that has it."""
    path = tmp_path / "admin.token"
    path.write_text(ADMIN_TOKEN)
    path.chmod(0o600)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return SimpleNamespace(token=ADMIN_TOKEN, headers=headers, flags=["--admin-token-file", path])
