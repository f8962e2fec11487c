"""Whoever sends a large body in vain sees the answer, not a broken connection: with curl and requests, in HTTP/1.1 and
HTTP/2, with and without TLS, at the API, the S3 endpoint and the listener that redirects."""

import subprocess

import pytest
import requests

from harness.api import Api
from harness.server import Server, free_ports

GIB = 1 << 30
BINARY = ["-H", "Content-Type: application/octet-stream", "-H", "Hash-Size: 128", "-H", f"Hash-Count: {GIB // 128}"]
EXPECT = {"asks-first": "Expect: 100-continue", "sends-at-once": "Expect:"}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A GiB that takes no room."""
    path = tmp_path_factory.mktemp("large") / "zeros"
    with path.open("wb") as file:
        file.truncate(GIB)
    yield path
    path.unlink()


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(tmp_path_factory, request):
    flags = ["--body-bytes-max", str(GIB // 2)]
    if request.param == "tls":
        flags += ["--tls", "self-signed", "--redirect-listen", f"127.0.0.1:{free_ports(1)[0]}"]
    with Server(tmp_path_factory.mktemp("entityd"), *flags) as running:
        yield running


@pytest.fixture(params=["http1.1", "http2"])
def version(request, server):
    return "--http2-prior-knowledge" if request.param == "http2" and not server.certificate else f"--{request.param}"


def send(server, url, large, *arguments, method="POST"):
    """Sends the file with curl, which has to succeed; gives the status and what was said."""
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"]
    if server.certificate:
        command += ["--cacert", server.certificate]
    command += ["--request", method, "--upload-file", large, *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, (done.returncode, done.stderr)
    said, _, status = done.stdout.rpartition("\n")
    return int(status), said


def uploads(server):
    session = Api(server.url)
    session.session.verify = str(server.certificate) if server.certificate else True
    with session as api:
        project = api.project()
    return f"{server.url}{project.path}/binaryclks", project


@pytest.mark.parametrize("expect", EXPECT)
def test_who_sends_a_gibibyte_with_a_wrong_token_sees_403(server, version, large, expect):
    url, _ = uploads(server)
    arguments = [version, "-H", EXPECT[expect], "-H", "Authorization: wrong", *BINARY]
    status, said = send(server, url, large, *arguments)
    assert status == 403 and "the token does not open this" in said


@pytest.mark.parametrize("expect", EXPECT)
def test_who_sends_more_than_is_taken_sees_413(server, version, large, expect):
    url, project = uploads(server)
    arguments = [version, "-H", EXPECT[expect], "-H", f"Authorization: {project.update_tokens[0]}", *BINARY]
    status, said = send(server, url, large, *arguments)
    assert status == 413 and "bytes at most" in said


@pytest.mark.parametrize("expect", EXPECT)
def test_who_puts_an_object_without_a_signature_sees_403_from_s3(server, version, large, expect):
    url = f"{server.origin.rpartition(':')[0]}:{server.s3_port}/bucket/key"
    status, said = send(server, url, large, version, "-H", EXPECT[expect], method="PUT")
    assert status == 403 and "AccessDenied" in said


def test_who_sends_a_body_to_the_listener_that_redirects_is_told_where_to_go(server, large):
    if not server.certificate:
        pytest.skip("there is nowhere to redirect to without TLS")
    url = f"http://{server.flags[-1]}/api/v1/projects"
    status, _ = send(server, url, large, "-H", "Expect:")
    assert status == 308


def test_requests_sees_the_answer_to_a_body_in_vain(server):
    url, _ = uploads(server)
    headers = {"Authorization": "wrong", "Hash-Count": "1", "Hash-Size": "8"}
    headers["Content-Type"] = "application/octet-stream"
    verify = str(server.certificate) if server.certificate else True
    body = bytes(32 << 20)
    assert requests.post(url, data=body, headers=headers, verify=verify, timeout=60).status_code == 403
