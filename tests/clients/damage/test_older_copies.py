"""A part of the data directory is an older copy, or another server's, while the rest is current.

The server starts, or refuses and names the part. Then uploads are begun, refused and finished, objects are put and deleted,
and clean-ups run: every stored file that existed and was not deleted is still there, byte for byte. If the refusal names a
flag that accepts the loss, the next start uses it. A run of the tests tries a few; `tests/run --long` tries every part
and every pair.
"""

import itertools
import os
import re
import shutil
import signal
import time

import pytest

from harness import damage_scene as scene
from harness.api import Api
from harness.samples import encodings
from harness.server import Server

LONG = os.environ.get("TESTS_LONG") == "1"
# Parts that are replaced together, and their paths below the data directory.
PARTS = {
    "metadata.db": ("metadata.db", "metadata.db-wal"),
    "metadata.db and its mark": ("metadata.db", "metadata.db-wal", "metadata.mark"),
    "metadata.mark": ("metadata.mark",),
    "queue": ("queue",),
    "objects": ("objects",),
    "objects/projects": ("objects/projects",),
    "objects/buckets": ("objects/buckets",),
    "objects/entityd": ("objects/entityd",),
    "buckets.db": ("buckets.db", "buckets.db-wal"),
    "buckets.db and its mark": ("buckets.db", "buckets.db-wal", "buckets.mark"),
    "identity": ("identity",),
    "spool": ("spool",),
}
SOURCES = ("older", "other")
EVERY = [
    (source, parts)
    for count in (1, 2)
    for parts in itertools.combinations(PARTS, count)
    for source in SOURCES
]
SOME = [
    ("older", ("metadata.db and its mark",)),
    ("older", ("buckets.db and its mark",)),
    ("other", ("objects/buckets",)),
    ("older", ("metadata.db and its mark", "objects/entityd")),
    ("older", ("metadata.db and its mark", "buckets.db and its mark")),
]
OFTEN = ("--maintenance-every-ms", "1000", "--lease-ms", "1000")
BODY = encodings(1, 60_000)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The present data directory, an older copy of it, and another server's."""
    folder = tmp_path_factory.mktemp("present")
    other = tmp_path_factory.mktemp("other")
    older = tmp_path_factory.mktemp("older")
    known = used(folder, older)
    used(other, None)
    return {"present": folder, "older": older, "other": other}, known


def used(folder, older):
    """Uses a server, and copies its data directory to `older` between two uploads of one party, while a run waits and
    objects are put. Returns what is needed to continue."""
    server = Server(folder)
    server.__enter__()
    with Api(server.url) as api:
        credentials = tuple((server.data / "s3-credentials").read_text().split())
        s3 = scene.s3_client(server, credentials)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="before", Body=BODY)
        project = api.project()
        project.upload_binary(1, encodings(20))
        run = project.run(0.9)
        if older is not None:
            # A copy like a snapshot of the disk at this moment.
            server.wait_until_idle(0.3)
            server.process.send_signal(signal.SIGSTOP)
            scene.copy(folder, older)
            server.process.send_signal(signal.SIGCONT)
        for rejected in range(3):
            assert project.post_binary(0, b"x" * 7, 1, 8).status_code == 400, rejected
        project.upload_binary(0, encodings(20, seed=1))
        run.complete()
        s3.put_object(Bucket="kept", Key="after", Body=BODY[::-1])
        other = api.project()
        other.upload_binary(0, encodings(30))
        server.wait_until_idle(0.3)
        s3.close()
    server.process.kill()
    server.process.wait()
    return project, credentials


def replace(data, source, parts):
    for name in itertools.chain.from_iterable(PARTS[part] for part in parts):
        target, new = data / name, source / "data" / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        if new.is_dir():
            shutil.copytree(new, target)
        elif new.exists():
            shutil.copy2(new, target)


@pytest.mark.parametrize("source, parts", EVERY if LONG else SOME, ids=str)
def test_a_part_from_another_time_or_server(made, source, parts, tmp_path):
    folders, (project, credentials) = made
    scene.copy(folders["present"], tmp_path)
    replace(tmp_path / "data", folders[source], parts)
    before = scene.payload(tmp_path / "data")
    losses, owner = [], ()
    for _ in range(4):
        flags = ("--accept-loss", ",".join(losses)) if losses else ()
        server = Server(tmp_path, *OFTEN, *flags, *owner)
        refusal = start(server)
        if refusal is None:
            break
        assert scene.payload(tmp_path / "data") == before, f"a refused start changed objects: {refusal}"
        assert "panicked" not in refusal and re.search(r"metadata|buckets|queue|objects|identity", refusal), refusal
        if named := re.search(r"--accept-loss (\S+:\d+)", refusal):
            losses.append(named[1])
        elif named := re.search(r"--take-over-objects ([0-9a-f]{32})", refusal):
            owner = ("--take-over-objects", named[1])
        else:
            return
    work(server, project, credentials)
    assert_kept(before, tmp_path / "data")
    # The second start removes nothing that the first one kept.
    server = Server(tmp_path, *OFTEN)
    assert start(server) is None
    work(server, project, credentials)
    assert_kept(before, tmp_path / "data")


def start(server):
    """Starts a server; returns None, or the error with which it refused to start."""
    try:
        server.__enter__()
    except AssertionError as error:
        assert (server.process.returncode or 0) > 0, f"no refusal: {error}"
        return server.log.read_text(errors="replace").splitlines()[-1]
    return None


def work(server, project, credentials):
    """Makes uploads that are refused and that finish, puts and deletes objects, and waits for two clean-ups."""
    with Api(server.url) as api:
        fresh = api.project()
        for place in (fresh, type(project)(api, described(project))):
            for party in (0, 1):
                place.post_binary(party, b"x" * 7, 1, 8)
                place.post_binary(party, b"".join(encodings(20)), 20, 8)
        s3 = scene.s3_client(server, credentials)
        for call, arguments in (
            (s3.create_bucket, {}),
            (s3.put_object, {"Key": "fresh", "Body": BODY}),
            (s3.delete_object, {"Key": "fresh"}),
        ):
            try:
                call(Bucket="mine", **arguments)
            except Exception as error:  # noqa: BLE001 (another server has other keys)
                assert "Forbidden" in str(error) or "InvalidAccessKeyId" in str(error) or "Owned" in str(error), error
        s3.close()
        time.sleep(1.5)
        server.wait_until_idle(0.3)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=90) == 0, server.tail()
    assert not list(server.data.glob("*.db-wal")), "a clean stop leaves a log"


def described(project):
    return {"project_id": project.id, "result_token": project.token, "update_tokens": project.update_tokens}


def assert_kept(before, data):
    after = scene.payload(data)
    gone = [name for name, content in before.items() if after.get(name) != content]
    assert not gone, gone


def test_an_older_copy_of_the_metadata_is_refused_by_external_objects(tmp_path):
    """Objects in an external store are not rolled back with the data directory; their lease counts the commits."""
    data, copied, latest = (tmp_path / name for name in ("data", "copied", "latest"))
    flags = (*OFTEN, "--objects", f"file://{tmp_path}/elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with Server(tmp_path, *flags) as server, Api(server.url) as api:
        first = scene.described(api.project())
    shutil.copytree(data, copied)
    with Server(tmp_path, *flags) as server, Api(server.url) as api:
        project = api.project()
        project.upload_binary(0, encodings(20))
        project.upload_binary(1, encodings(20))
        run = project.run(0.9)
        run.complete()
        result = run.get_result().content
    data.rename(latest)
    copied.rename(data)
    with Server(tmp_path, *flags, *loss_to_accept(tmp_path, flags)) as server, Api(server.url) as api:
        scene.Project(api, first).upload_binary(0, encodings(20))
        time.sleep(3)
    shutil.rmtree(data)
    latest.rename(data)
    with Server(tmp_path, *flags, *loss_to_accept(tmp_path, flags)) as server, Api(server.url) as api:
        back = scene.Run(scene.Project(api, scene.described(project)), run.id)
        assert back.get_result().content == result, "objects that the older copy did not know are gone"


def loss_to_accept(folder, flags):
    """Asserts that a start is refused, and returns the flag that the refusal names."""
    server = Server(folder, *flags)
    with pytest.raises(AssertionError):
        server.__enter__()
    refusal = server.tail().splitlines()[-1]
    loss = re.search(r"--accept-loss (metadata\.db:\d+)", refusal)
    assert loss, refusal
    return ("--accept-loss", loss[1])
