"""A million encodings are uploaded without being held in memory."""

import base64
import json
import random

import pytest

from harness.api import Api
from harness.server import Server

COUNT = 1_000_000
SIZE = 128
ALLOWED = 64 * 1024 * 1024
BATCH = 10_000


def random_batches():
    rng = random.Random(1)
    for start in range(0, COUNT, BATCH):
        yield start, [rng.randbytes(SIZE) for _ in range(BATCH)]


def write_joined(file, pieces):
    for index, piece in enumerate(pieces):
        file.write(("," if index else "") + piece)


def write_clks(path):
    with path.open("w") as file:
        file.write('{"clks": [')
        write_joined(file, (json.dumps(as_texts(rows))[1:-1] for _, rows in random_batches()))
        file.write("]}")


def write_clknblocks(path):
    def records(start, rows):
        return [[text, *names(start + row)] for row, text in enumerate(as_texts(rows))]

    with path.open("w") as file:
        file.write('{"clknblocks": [')
        write_joined(file, (json.dumps(records(start, rows))[1:-1] for start, rows in random_batches()))
        file.write("]}")


def write_encodings_and_blocks(path):
    def named(start, rows):
        return {str(start + row): names(start + row) for row in range(len(rows))}

    with path.open("w") as file:
        file.write('{"blocks": {')
        write_joined(file, (json.dumps(named(start, rows))[1:-1] for start, rows in random_batches()))
        file.write('}, "encodings": [')
        write_joined(file, (json.dumps(as_texts(rows))[1:-1] for _, rows in random_batches()))
        file.write("]}")


def write_binary(path):
    with path.open("wb") as file:
        for _, rows in random_batches():
            file.write(b"".join(rows))


def as_texts(rows):
    return [base64.b64encode(row).decode() for row in rows]


def names(record):
    """Five blocks for each record, of some hundreds to thousands of records each."""
    return [f"{kind}-{record * 2654435761 % (1000 + 977 * kind)}" for kind in range(5)]


WRITERS = {
    "clks": write_clks,
    "clknblocks": write_clknblocks,
    "blocks then encodings": write_encodings_and_blocks,
    "binary": write_binary,
}


@pytest.mark.parametrize("form", WRITERS)
def test_an_upload_of_a_million_encodings_stays_small(tmp_path, capsys, form):
    path = tmp_path / "body"
    WRITERS[form](path)
    with Server(tmp_path) as server, Api(server.url) as api:
        project = api.project("groups", blocking="blocks" in form)
        server.wait_until_idle()
        before = server.reset_peak()
        with path.open("rb") as body:
            answer = post(project, form, body)
        assert answer.status_code == 201, answer.text
        uploaded = server.peak()
        # The jobs that follow the response count too.
        server.wait_until_idle()
        assert project.describe().json()["error"] is False
        raised, ingested = uploaded - before, server.peak() - before
        with capsys.disabled():
            sent_mb, raised_mib, ingested_mib = path.stat().st_size / 1e6, raised / 2**20, ingested / 2**20
            print(f"\n{form}: {sent_mb:.0f} MB raised peak memory by {raised_mib:.1f} MiB,", end=" ")
            print(f"with what follows {ingested_mib:.1f} MiB", end=" ")
        assert ingested < ALLOWED
    path.unlink()


def post(project, form, body):
    if form == "binary":
        return project.post_binary(0, body, COUNT, SIZE, timeout=300)
    headers = {"Content-Type": "application/json"}
    path = f"{project.path}/clks"
    return project.api.post(path, project.update_tokens[0], data=body, headers=headers, timeout=300)
