"""Results as Arrow streams, an addition: the same elements as in JSON, read by pyarrow."""

import random

import pytest
import requests

from harness import arrow
from harness.api import Api
from harness.random_projects import linkages
from harness.samples import encodings
from harness.server import Server
from harness.upload import upload

AS_ARROW = {"Accept": arrow.MEDIA_TYPE}
SCORES = {"scores": "true"}
MIB = 1 << 20


def same(run, kind, **asked):
    """Asserts that both forms of a result have the same elements; returns the rows."""
    result = run.get_result(**asked).json()
    answer = run.get_result(headers=AS_ARROW, **asked)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == arrow.MEDIA_TYPE
    columns, rows = arrow.read(answer.content)
    assert columns == arrow.COLUMNS[kind]
    assert rows == arrow.rows_of(result[kind], kind)
    return rows


@pytest.mark.parametrize("linkage", list(linkages(20, "arrow")), ids=lambda linkage: linkage.name)
def test_every_result_has_the_elements_of_its_json(api, linkage):
    parties = len(linkage.datasets)
    for kind in ["groups", *(["similarity_scores", "permutations"] if parties == 2 else [])]:
        project = api.project(kind, parties=parties, blocking=linkage.blocks is not None)
        receipts = []
        for party, rows in enumerate(linkage.datasets):
            receipts.append(upload(project, party, linkage.forms[party], rows, linkage.blocks and linkage.blocks[party]))
        run = project.run(linkage.threshold, **({"scores": True} if kind == "groups" else {}))
        run.complete()
        same(run, "mask" if kind == "permutations" else kind)
        if kind == "groups":
            same(run, "scores", params=SCORES)
        if kind == "permutations":
            for receipt in receipts:
                same(run, "permutation", token=receipt)


def test_an_empty_result_has_its_columns(api):
    for kind in ("groups", "similarity_scores"):
        project = api.project(kind)
        for party in (0, 1):
            project.upload_encodings(party, encodings(5, 16, party))
        run = project.run(1.0, **({"scores": True} if kind == "groups" else {}))
        run.complete()
        assert same(run, kind) == []
        if kind == "groups":
            assert same(run, "scores", params=SCORES) == []


def many(api, side):
    """A run with `side` × `side` pairs."""
    chance = random.Random(side)
    project = api.project("similarity_scores")
    for party in (0, 1):
        project.upload_binary(party, [chance.randbytes(16) for _ in range(side)])
    run = project.run(0.01)
    run.complete(timeout_s=300)
    return run


def test_a_long_result_has_several_batches(api):
    run = many(api, 200)
    assert len(same(run, "similarity_scores")) == 40_000
    _, batches = arrow.batches(run.get_result(headers=AS_ARROW).content)
    assert [batch.num_rows for batch in batches] == [16_384, 16_384, 7_232]


def test_the_form_is_the_one_that_the_client_prefers(api):
    run = many(api, 3)
    for accept, form in [
        (f"{arrow.MEDIA_TYPE}, application/json;q=0.9", arrow.MEDIA_TYPE),
        (f"{arrow.MEDIA_TYPE};q=0.5, text/csv", "text/csv; charset=utf-8; header=present"),
        (f"{arrow.MEDIA_TYPE}, */*", "application/json"),
        (f"{arrow.MEDIA_TYPE};q=0", "application/json"),
        ("application/vnd.apache.arrow.file", "application/json"),
    ]:
        answer = run.get_result(headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, form), accept
        assert "accept" in answer.headers["Vary"]
    zipped = run.get_result(headers={**AS_ARROW, "Accept-Encoding": "gzip"})
    assert arrow.read(zipped.content)[1] == arrow.rows_of(run.result()["similarity_scores"], "similarity_scores")


def test_a_result_that_breaks_off_has_no_end(tmp_path):
    with Server(tmp_path) as server, Api(server.url) as api:
        run = many(api, 250)
        [path] = (server.data / "objects").rglob("scores.json")
        content = bytearray(path.read_bytes())
        whole = run.get_result(headers=AS_ARROW).content
        content[len(content) * 3 // 4] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        received = bytearray()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for piece in run.get_result(headers=AS_ARROW, stream=True).iter_content(4_096):
                received += piece
        assert received and arrow.END not in received and len(received) < len(whole)


def test_a_stream_takes_little_memory(tmp_path):
    with Server(tmp_path) as server, Api(server.url) as api:
        run = many(api, 700)
        run.get_result().close()
        server.wait_until_idle()
        before = server.reset_peak()
        answer = run.get_result(headers=AS_ARROW, stream=True)
        received = b"".join(answer.iter_content(65_536))
        raised = server.peak() - before
        print(f"{len(received)} bytes raised the memory by {raised / MIB:.1f} MiB")
        assert len(arrow.batches(received)[1]) == 30
        assert raised < 6 * MIB
