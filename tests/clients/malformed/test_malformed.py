"""Input that is broken, too long, too short or incomplete: the right error, and nothing left behind."""

import base64
import json
import random
import signal

import pytest

from harness import wire
from harness.api import Api, assert_problem, receipt, texts_of
from harness.samples import EIGHT_BYTES, encodings
from harness.server import Server
from harness.wait import until

JSON = {"Content-Type": "application/json"}
ROWS = encodings(40, 16)
NAMED = {str(record): ["north", str(record % 3)] for record in range(len(ROWS))}
BODIES = {
    "clks": {"clks": texts_of(ROWS)},
    "encodings": {"encodings": texts_of(ROWS)},
    "clknblocks": {"clknblocks": [[text, "north", 7] for text in texts_of(ROWS)]},
    "encodings+blocks": {"encodings": texts_of(ROWS), "blocks": NAMED},
    "blocks+encodings": {"blocks": NAMED, "encodings": texts_of(ROWS)},
}
SEED = 7


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that stores nothing but what these tests leave behind by mistake."""
    with Server(tmp_path_factory.mktemp("entityd"), "--body-bytes-max", "20_000_000") as running:
        yield running


@pytest.fixture(scope="module")
def api(server):
    with Api(server.url) as client:
        yield client


@pytest.fixture
def project_for(api, server):
    """Makes a project that fits a form; afterwards checks that nothing is stored and that its token still works."""
    made = []

    def make(form):
        made.append(api.project("groups", blocking="blocks" in form))
        return made[-1]

    yield make
    nothing_is_stored(server)
    for project in made:
        described = project.describe().json()
        assert described["error"] is False and described["parties_contributed"] == 0
        good = {"clknblocks": [[EIGHT_BYTES, "1"]]} if described["uses_blocking"] else {"clks": [EIGHT_BYTES]}
        # A connection that has just broken holds the token until the server notices.
        answer = until(lambda: refused_no_more(project.post_clks(0, good)), "the token can be used again")
        receipt(answer)
        project.delete()
    nothing_is_stored(server)


def refused_no_more(answer):
    return None if answer.status_code == 403 else answer


def nothing_is_stored(server):
    until(lambda: not server.payload_files(), "nothing is stored")


def post(project, body, headers=JSON):
    path = f"{project.path}/clks"
    return project.api.post(path, project.update_tokens[0], data=body, headers=headers)


@pytest.mark.parametrize("form", BODIES)
def test_json_that_ends_early(project_for, form):
    whole = json.dumps(BODIES[form]).encode()
    project = project_for(form)
    cuts = random.Random(SEED).sample(range(len(whole)), 30) + [0, 1, 2, len(whole) - 1, len(whole) - 2]
    for cut in cuts:
        assert_problem(post(project, whole[:cut]), 400)


@pytest.mark.parametrize("form", BODIES)
def test_json_with_an_extra_character(project_for, form):
    whole = json.dumps(BODIES[form]).encode()
    project = project_for(form)
    for extra in (b"}", b"x", b"{}", b",", b"\0"):
        assert_problem(post(project, whole + extra), 400)
        assert_problem(post(project, extra + whole), 400)


@pytest.mark.parametrize("form", BODIES)
def test_json_with_damaged_bytes_never_breaks_the_server(api, server, form):
    whole = json.dumps(BODIES[form]).encode()
    rng = random.Random(SEED)
    project = api.project("groups", blocking="blocks" in form)
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        answer = post(project, bytes(damaged))
        if answer.status_code == 201:
            # The upload is still valid, with other bytes, so the next attempt needs another project.
            project.delete()
            project = api.project("groups", blocking="blocks" in form)
        elif answer.status_code == 403:
            # The damage has renamed the member with the blocks, or has added such a member.
            assert_problem(answer, 403, "block")
        else:
            assert_problem(answer, 400)
    project.delete()
    nothing_is_stored(server)


def ragged(index):
    texts = texts_of(ROWS)
    texts[index] = base64.b64encode(b"too short").decode()
    return texts


@pytest.mark.parametrize("index", [1, 20, 39])
def test_ragged_encodings(project_for, index):
    bodies = [
        {"clks": ragged(index)},
        {"encodings": ragged(index), "blocks": NAMED},
        {"clknblocks": [[text, "1"] for text in ragged(index)]},
    ]
    for body in bodies:
        form = "blocks" if len(body) > 1 or "clknblocks" in body else "clks"
        assert_problem(post(project_for(form), json.dumps(body)), 400, f"record {index}", "bytes")


@pytest.mark.parametrize(
    "text", ["AAECAwQFBgcICQoLDA0OD", "****", "AAECAwQFBgcICQoLDA0O-_==", "\u00e9" * 24, "AAEC=AAE"]
)
def test_bad_base64(project_for, text):
    texts = texts_of(ROWS[:5]) + [text]
    assert_problem(post(project_for("clks"), json.dumps({"clks": texts})), 400, "record 5", "base64")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"clks": ["%s"], "clks": ["%s"]}', "clks"),
        ('{"encodings": ["%s"], "encodings": ["%s"]}', "encodings"),
    ],
)
def test_a_repeated_key(project_for, body, named):
    assert_problem(post(project_for("clks"), body % (EIGHT_BYTES, EIGHT_BYTES)), 400, named)


@pytest.mark.parametrize(
    "body",
    [
        '{"encodings": ["%s"], "blocks": {"0": ["x"], "0": ["y"]}}',
        '{"blocks": {"0": ["x"], "0": ["y"]}, "encodings": ["%s"]}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"], "00": ["y"]}}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"], "1": ["y"]}}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"], "4294967296": ["y"]}}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"], " 0": ["y"]}}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"], "+0": ["y"]}}',
        '{"encodings": ["%s"], "blocks": {"0": ["x"]}, "blocks": {"0": ["x"]}}',
    ],
)
def test_block_keys_that_are_repeated_or_name_no_record(project_for, body):
    assert_problem(post(project_for("blocks"), body % EIGHT_BYTES), 400, "blocks")


@pytest.mark.parametrize("name", [b"\xff", b"\\ud800", b"\\x", b"\n", b"\\u12"])
def test_block_names_that_are_not_strings(project_for, name):
    body = b'{"clknblocks": [["%s", "%s"]]}' % (EIGHT_BYTES.encode(), name)
    assert_problem(post(project_for("blocks"), body), 400)


def test_endless_nesting(project_for):
    for deep in (b"[" * 200_000, b'{"a":' * 200_000, b'{"x": ' + b"[" * 200_000 + b"]" * 200_000):
        assert_problem(post(project_for("clks"), deep), 400)
    api = project_for("clks").api
    assert_problem(api.post("/projects", data=b'{"schema": ' + b'{"a":' * 200_000, headers=JSON), 400)


# The length of a body.


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_above_the_limit_is_413(project_for, chunked):
    text = b'{"clks": [' + b'"AAECAwQFBgc=",' * 1_400_000 + b'"AAECAwQFBgc="]}'
    project = project_for("clks")
    answer = post(project, iter([text]) if chunked else text)
    assert answer.status_code == 413, answer.text
    size = 21_000_000
    answer = project.post_binary(0, iter([bytes(size)]) if chunked else bytes(size), size // 8, 8)
    assert answer.status_code == 413, answer.text


@pytest.mark.parametrize("length", [0, 8, 23, 25, 32, 24_000])
def test_a_binary_body_of_another_length(project_for, length):
    project = project_for("clks")
    assert_problem(project.post_binary(0, bytes(length), 3, 8), 400)


def request_of(form, project, length):
    """Returns the head of an upload in a form, which declares a length."""
    token = project.update_tokens[0]
    if form == "binary":
        headers = {"Content-Type": "application/octet-stream", "Hash-Count": "500000", "Hash-Size": "16"}
        return wire.head(f"{project.path}/binaryclks", token, {**headers, "Content-Length": length})
    return wire.head(f"{project.path}/clks", token, {**JSON, "Content-Length": length})


def large(form):
    """Returns eight million bytes of a form: enough to be on disk before the end arrives."""
    if form == "binary":
        return bytes(8_000_000)
    body = BODIES[form]
    rows = 8_000_000 // len(json.dumps(body)) * len(ROWS)
    repeated = {
        key: {str(row): ["x"] for row in range(rows)} if key == "blocks" else value * (rows // len(ROWS))
        for key, value in body.items()
    }
    return json.dumps(repeated).encode()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", [*BODIES, "binary"])
def test_a_connection_that_ends_half_way(project_for, server, form, part, reset):
    project = project_for(form)
    body = large(form)
    sent = request_of(form, project, len(body)) + body[: int(len(body) * part)]
    wire.drop(server, sent, reset)


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\nabc\r\n", b"5\r\nabc", b"-1\r\n", b"ffffffffffffffffff\r\nabc", b"3\r\nabcdef\r\n0\r\n\r\n"],
)
def test_invalid_chunks(project_for, server, chunks):
    project = project_for("clks")
    request = wire.head(
        f"{project.path}/clks", project.update_tokens[0], {**JSON, "Transfer-Encoding": "chunked"}
    )
    code, said = wire.send(server, request + chunks)
    assert code in (0, 400), said


def test_invalid_request_heads(server, api):
    for junk in (b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET /api/v1/status HTTP/1.1\r\nA b: c\r\n\r\n"):
        code, said = wire.send(server, junk)
        assert code in (0, 400, 505), said
    assert api.get("/status").status_code == 200


@pytest.mark.parametrize("form", [*BODIES, "binary"])
def test_a_killed_server_forgets_a_half_upload_and_accepts_a_whole_one(tmp_path, form):
    first = Server(tmp_path)
    with pytest.raises(AssertionError, match="exit code -9"), first, Api(first.url) as api:
        project = api.project("groups", blocking="blocks" in form)
        body = large(form)
        with wire.connection(first) as talk:
            talk.sendall(request_of(form, project, len(body)) + body[: len(body) // 2])
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
    with Server(tmp_path) as second, Api(second.url) as api:
        assert second.payload_files() == {}
        project.api = api
        body = {"clknblocks": [[EIGHT_BYTES, "1"]]} if "blocks" in form else {"clks": [EIGHT_BYTES]}
        receipt(project.post_clks(0, body))
