"""Folders and files of others, in the data directory or where a link or a mount in it leads.

None of these files is removed or overwritten: the start is refused by name, or the files stay. What is empty or our own may be
linked and mounted.
"""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

from harness.api import Api
from harness.commands import Commands
from harness.samples import encodings
from harness.server import Server

# Names that look like those of the server's own temporary files are among them.
MINE = (
    *("photo.jpg", "certificate.pem", "unfinished", ".tmpAbCdEf", "copy-1.txt", "probe-old", "staged-report.odt"),
    *("snapshot/a/b.txt", "tree/x", "partial-notes.md"),
)
PARTS = ("objects", "objects/projects", "objects/buckets", "objects/entityd", "spool", "uploads", "cache", "queue")
KEPT = (
    *("queue", "queue.old", "queue.new", "queue.damaged-by-me", "cache", "spool", "snapshot"),
    *("objects/entityd/snapshot", "objects/similarity-scores", "objects/projects", "objects/entityd"),
)
OFTEN = ("--maintenance-every-ms", "1000")


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A data directory that was used."""
    folder = tmp_path_factory.mktemp("used")
    with Server(folder) as server, Api(server.url) as api:
        project = api.project()
        project.upload_binary(0, encodings(20))
    return folder


@pytest.fixture
def home(used, tmp_path):
    """A copy of it."""
    subprocess.run(["cp", "-a", "--sparse=always", used / "data", tmp_path / "data"], check=True)
    return tmp_path


def mine(folder):
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"my {name}")


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(home, *flags):
    """Asserts that the start is refused, and returns the last line of the log."""
    server = Server(home, *flags)
    try:
        server.__enter__()
    except AssertionError:
        pass
    else:
        server.process.kill()
        server.process.wait()
        raise AssertionError(f"it has started\n{server.tail()}")
    assert (server.process.returncode or 0) > 0, server.tail()
    return server.tail().splitlines()[-1]


def work(home, *flags):
    """Starts a server, which does its work and its chores."""
    with Server(home, *flags) as server, Api(server.url) as api:
        project = api.project()
        for party in (0, 1):
            project.upload_binary(party, encodings(20))
        project.run(0.9).complete()
        project.delete()
        # Chores: the queue is written anew.
        time.sleep(2.5)
        server.wait_until_idle(0.3)


@contextlib.contextmanager
def led_to(part, target, how):
    """Makes a part lead to another folder."""
    if part.is_dir():
        shutil.rmtree(part)
    if how == "link":
        part.symlink_to(target)
        yield
        part.unlink()
        return
    part.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", target, part], check=False).returncode != 0:
        pytest.skip("skipped: needs root to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", part], check=True)


@pytest.mark.parametrize("how", ["link", "mount"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_leads_to_a_folder_of_others_is_refused(home, part, how):
    theirs = home / "theirs"
    mine(theirs)
    before = content(theirs)
    with led_to(home / "data" / part, theirs, how):
        said = refusal(home)
        assert f"data/{part} leads to a directory of something else" in said, said
        assert '"' in said and any(f'"{name.split("/")[0]}"' in said for name in MINE), said
    assert content(theirs) == before
    assert sorted(path.name for path in theirs.iterdir()) == sorted({name.split("/")[0] for name in MINE})


@pytest.mark.parametrize("how", ["link", "mount"])
def test_parts_may_lead_to_empty_folders_and_again_to_their_own(home, how):
    with contextlib.ExitStack() as led:
        theirs = {}
        for part in ("objects/projects", "objects/buckets", "spool", "cache", "queue"):
            theirs[part] = home / part.replace("/", "-")
            (theirs[part] / "lost+found").mkdir(parents=True)
            led.enter_context(led_to(home / "data" / part, theirs[part], how))
        work(home, *OFTEN)
        work(home, *OFTEN)
        # A queue without its files is set aside, with the folder that it was in.
        left = [part for part, folder in theirs.items() if (folder / "lost+found").is_dir()]
        assert set(theirs) - set(left) <= {"queue"}, left


def test_files_that_are_not_the_servers_stay(home):
    folders = [home / "data" / name for name in KEPT]
    for folder in folders:
        mine(folder)
    # It means that the store is half made.
    (home / "data" / "queue" / "unfinished").unlink()
    before = [(folder / name, (folder / name).read_text()) for folder in folders for name in MINE if (folder / name).exists()]
    for _ in range(2):
        work(home, *OFTEN)
    assert not [path for path, text in before if not path.exists() or path.read_text() != text]


@pytest.mark.parametrize("part", ["objects", "spool"])
def test_objects_elsewhere_may_not_be_among_files_of_others(tmp_path, part):
    elsewhere = tmp_path / "var"
    mine(elsewhere / part)
    before = content(elsewhere)
    said = refusal(tmp_path, "--objects", f"file://{elsewhere}")
    assert f"var/{part} leads to a directory of something else" in said, said
    assert content(elsewhere) == before


def test_a_certificate_of_others_is_not_overwritten(home):
    tls = home / "data" / "tls"
    tls.mkdir()
    (tls / "certificate.pem").write_text("my certificate")
    said = refusal(home, "--tls", "self-signed")
    assert "tls/certificate.pem" in said and "would be overwritten" in said, said
    assert (tls / "certificate.pem").read_text() == "my certificate"
    (tls / "certificate.pem").unlink()
    with Server(home, "--tls", "self-signed"):
        pass
    # Our own is made again with the key.
    (tls / "self-signed.pem").unlink()
    with Server(home, "--tls", "self-signed"):
        pass


def test_a_folder_with_a_file_restoring_of_others_is_not_restored_into(home):
    backups, into, commands = home / "backups", home / "into", Commands(home)
    made = commands.run("backup", "--data-dir", home / "data", "--to", backups)
    assert made.returncode == 0, made.stderr
    mine(into / "objects")
    (into / "restoring").write_text("notes on what I am restoring")
    before = content(into)
    tried = commands.run("restore", backups, "--into", into)
    assert tried.returncode == 2 and "is not empty" in tried.stderr, tried
    assert content(into) == before


def test_a_restored_data_directory_starts_without_a_word_of_damage(home):
    backups, again = home / "backups", home / "again"
    for words in (("backup", "--data-dir", home / "data", "--to", backups), ("restore", backups, "--into", again / "data")):
        done = Commands(home).run(*words)
        assert done.returncode == 0, done.stderr
    for said in (True, False):
        (again / "entityd.log").unlink(missing_ok=True)
        with Server(again) as server:
            log = server.log.read_text()
        assert "damaged" not in log and " WARN " not in log, log
        assert ("was restored from a backup; its queue is made anew" in log) == said, log
    # From now on a missing queue is a loss.
    shutil.rmtree(again / "data" / "queue")
    with Server(again) as server:
        assert "the queue is damaged: it is missing" in server.log.read_text()
