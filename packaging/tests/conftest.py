"""The packages under test, and the chart."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, **options: object) -> subprocess.CompletedProcess:
    """Runs a command to its end with its output captured as text; fails the test if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder that packaging/build filled."""
    return Path(os.environ["PACKAGES"])


@pytest.fixture(scope="session")
def only(packages):
    """Returns the one package whose name matches."""

    def find(pattern: str) -> Path:
        found = list(packages.glob(pattern))
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    return find
