"""A header with a single value occurs once, and a number is written in digits."""

import pytest

from harness import wire
from harness.api import assert_problem

SIXTEEN = bytes(16)


def head(project, lines):
    start = [f"POST /api/v1{project.path}/binaryclks HTTP/1.1", *lines, "Connection: close"]
    return ("\r\n".join(start) + "\r\n\r\n").encode()


def ask(server, data):
    with wire.connection(server) as talk:
        talk.sendall(data)
        return wire.answer(talk)


def lines_of(project):
    return [
        "Host: 127.0.0.1",
        f"Authorization: {project.update_tokens[0]}",
        "Content-Type: application/octet-stream",
        "Content-Length: 16",
        "Hash-Count: 2",
        "Hash-Size: 8",
    ]


@pytest.mark.parametrize("again", ["Hash-Count: 1", "Hash-Count: 2", "Hash-Size: 16", "Authorization: other",
                                   "Content-Type: application/json", "Host: elsewhere", "Content-Length: 15",
                                   "hash-count: 2"])
def test_a_repeated_header_is_refused(api, server, again):
    project = api.project()
    code, said = ask(server, head(project, [*lines_of(project), again]) + SIXTEEN)
    assert code == 400, said
    name = again.partition(":")[0].lower()
    assert name in said.lower() or name == "content-length"
    code, said = ask(server, head(project, lines_of(project)) + SIXTEEN)
    assert code == 201, said


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("chunked_first", [False, True])
def test_chunks_override_a_content_length(api, server, chunked_first):
    project = api.project()
    both = [CHUNKED, *lines_of(project)] if chunked_first else [*lines_of(project), CHUNKED]
    assert ask(server, head(project, both) + b"f\r\n" + bytes(15) + b"\r\n0\r\n\r\n")[0] == 400
    assert ask(server, head(project, both) + b"10\r\n" + SIXTEEN + b"\r\n0\r\n\r\n")[0] == 201


@pytest.mark.parametrize("chunked_first", [False, True])
def test_a_request_with_a_length_and_chunks_is_the_last_of_its_connection(server, chunked_first):
    """A second request hidden behind one of two readings is never served (RFC 9112, section 6.3)."""
    lengths = ["Content-Length: 5", CHUNKED]
    lines = ["POST /api/v1/projects HTTP/1.1", "Host: 127.0.0.1", *(reversed(lengths) if chunked_first else lengths)]
    hidden = b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    _, answers = ask(server, ("\r\n".join(lines) + "\r\n\r\n").encode() + b"0\r\n\r\n" + hidden)
    assert answers.count("HTTP/1.1 ") == 1, answers


@pytest.mark.parametrize("number", ["+2", "002", "0x2", "2.0", "2 ,2", "2,2", "٢", "1_0", "2e0", ""])
@pytest.mark.parametrize("name", ["Hash-Count", "Hash-Size"])
def test_numbers_are_digits(api, name, number):
    project = api.project()
    given = {"Hash-Count": "2", "Hash-Size": "8", name: number.encode()}
    answer = project.post_binary(0, SIXTEEN, 2, 8, headers=given)
    assert_problem(answer, 400, name)
    assert project.post_binary(0, SIXTEEN, 2, 8).status_code == 201
