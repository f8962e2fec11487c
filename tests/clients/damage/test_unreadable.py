"""Sectors that cannot be read: EIO through a mapping, while a run reads, and at a start."""

import os
import subprocess

import pytest

from harness import damage_scene as scene
from harness import unreadable
from harness.api import Api
from harness.server import Server

pytestmark = pytest.mark.skipif(
    not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0,
    reason="skipped: needs /dev/fuse and root to mount a file system that fails",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return folder, scene.build(folder)


@pytest.fixture
def disk(tmp_path):
    """A data directory on a disk that fails to read what the file `control` names."""
    control = tmp_path / "unreadable"
    with unreadable.mounted(tmp_path / "disk", tmp_path / "served" / "data", control):
        yield tmp_path / "served", control


def test_a_mapped_file_that_cannot_be_read_ends_its_run_and_nothing_else(disk):
    folder, control = disk
    with Server(folder, environment=scene.SLOW) as server, Api(server.url) as api:
        project = api.project()
        scene.upload(project, 20)
        finished = project.run(0.9)
        finished.complete()
        control.write_text("/parties/\n")
        status = project.run(0.8).wait()[-1]
        assert status["state"] == "error", status
        assert server.process.poll() is None, server.tail()
        assert finished.get_result().status_code == 200
        control.write_text("")
        project.run(0.8).complete()
    assert "panicked" not in server.log.read_text(errors="replace")


@pytest.mark.parametrize("name", ["metadata.db", "queue/", "identity", "format", "buckets.db", "metadata.mark"])
def test_a_start_that_cannot_read_a_file_names_it_and_changes_nothing(disk, made, name):
    folder, control = disk
    expected = made[1]
    subprocess.run(["cp", "-a", f"{made[0]}/data/.", folder / "data"], check=True)
    before = {path.name for path in (folder / "data").iterdir()}
    control.write_text(f"/{name}\n")
    server = Server(folder)
    with pytest.raises(AssertionError, match="exited with"):
        server.__enter__()
    assert server.process.returncode > 0, server.tail()
    refusal = server.tail().splitlines()[-1]
    assert name.rstrip("/") in refusal, refusal
    assert "Input/output error" in refusal or "disk I/O error" in refusal, refusal
    assert {path.name for path in (folder / "data").iterdir()} == before
    control.write_text("")
    with Server(folder) as server:
        assert set(scene.questions(server, expected).values()) == {"right"}
