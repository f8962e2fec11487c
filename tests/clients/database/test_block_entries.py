"""The version of stored block entries: only a server on its own writes version 2, which the program before it cannot read."""

import secrets
from hashlib import blake2b

import pytest
from harness.api import Api
from harness.postgres import with_password
from harness.server import Server, free_ports
from harness.upload import upload
from harness.wait import until

VERSION_2 = b"\xff\xff\xff\xffent2"
RECORDS = 20
NAMES = [["north", str(record % 3)] for record in range(RECORDS)]


def version_1():
    entries = [(record, name) for record, names in enumerate(NAMES) for name in names]
    return {record.to_bytes(4, "little") + blake2b(name.encode(), digest_size=32).digest() for record, name in entries}


@pytest.mark.parametrize("place", ["alone", "worker listener", "database"])
def test_entries_that_another_program_may_read_are_of_version_1(tmp_path, request, place):
    # Each upload is indexed by a job, however small.
    flags = ["--comparisons-per-job", "1000000"]
    if place == "worker listener":
        flags += ["--worker-listen", f"127.0.0.1:{free_ports(1)[0]}"]
    elif place == "database":
        postgres = request.getfixturevalue("postgres")
        flags += ["--database", postgres.url(request.getfixturevalue("database"))]
    environment = with_password(ENTITYD_SLOW_MS="ingest=3000")
    with Server(tmp_path, *flags, environment=environment) as server, Api(server.url) as api:
        project = api.project(blocking=True)
        encodings = [secrets.token_bytes(16) for _ in range(RECORDS)]
        upload(project, 0, "clknblocks", encodings, NAMES)
        entries = until(lambda: list(server.data.glob("objects/**/entries")), "the entries are stored")[0].read_bytes()
        if place == "alone":
            assert entries.startswith(VERSION_2)
        else:
            assert {entries[at : at + 36] for at in range(0, len(entries), 36)} == version_1()
        upload(project, 1, "encodings+blocks", encodings, NAMES)
        groups = project.run(0.99).result()["groups"]
        assert sorted(map(sorted, groups)) == [[[0, record], [1, record]] for record in range(RECORDS)]
