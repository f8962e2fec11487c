"""A client whose large body is rejected early sees the response, not a broken connection: with curl and requests, in HTTP/1.1
and HTTP/2, with and without TLS, at the API, the S3 endpoint and the listener that redirects."""

import contextlib
import socket
import ssl
import subprocess
import time

import pytest
import requests

from harness import wire
from harness.api import Api
from harness.server import Server, free_ports

GIB = 1 << 30
BINARY = ["-H", "Content-Type: application/octet-stream", "-H", "Hash-Size: 128", "-H", f"Hash-Count: {GIB // 128}"]
EXPECT = {"asks-first": "Expect: 100-continue", "sends-at-once": "Expect:"}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A sparse file of 1 GiB."""
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
    """Sends the file with curl, which must succeed; returns the status and the body of the response."""
    command = ["curl", "--silent", "--show-error", "--max-time", "240", "--write-out", "\n%{http_code}"]
    if server.certificate:
        command += ["--cacert", server.certificate]
    command += ["--request", method, "--upload-file", large, *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
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
def test_a_gibibyte_with_a_wrong_token_gets_403(server, version, large, expect):
    url, _ = uploads(server)
    arguments = [version, "-H", EXPECT[expect], "-H", "Authorization: wrong", *BINARY]
    status, said = send(server, url, large, *arguments)
    assert status == 403 and "the token has no access" in said


@pytest.mark.parametrize("expect", EXPECT)
def test_an_oversized_body_gets_413(server, version, large, expect):
    url, project = uploads(server)
    arguments = [version, "-H", EXPECT[expect], "-H", f"Authorization: {project.update_tokens[0]}", *BINARY]
    status, said = send(server, url, large, *arguments)
    assert status == 413 and "bytes at most" in said


@pytest.mark.parametrize("expect", EXPECT)
def test_an_unsigned_put_gets_403_from_s3(server, version, large, expect):
    url = f"{server.origin.rpartition(':')[0]}:{server.s3_port}/bucket/key"
    status, said = send(server, url, large, version, "-H", EXPECT[expect], method="PUT")
    assert status == 403 and "AccessDenied" in said


def test_a_body_sent_to_the_redirect_listener_gets_the_address(server, large):
    if not server.certificate:
        pytest.skip("there is nowhere to redirect to without TLS")
    url = f"http://{server.flags[-1]}/api/v1/projects"
    status, _ = send(server, url, large, "-H", "Expect:")
    assert status == 308


def test_requests_sees_the_response_to_a_rejected_body(server):
    """The body is as large as 400,000 records, more than the buffers on the way hold."""
    url, project = uploads(server)
    headers = {"Authorization": "wrong", "Hash-Count": "1", "Hash-Size": "8"}
    headers["Content-Type"] = "application/octet-stream"
    verify = str(server.certificate) if server.certificate else True
    body = bytes(150 << 20)
    assert requests.post(url, data=body, headers=headers, verify=verify, timeout=240).status_code == 403
    headers = {"Authorization": project.token, "Content-Type": "application/json"}
    url = url.replace("binaryclks", "runs")
    assert requests.post(url, data=body, headers=headers, verify=verify, timeout=240).status_code == 413


def test_the_timeout_of_a_request_head_does_not_apply_to_the_rest_of_a_body(tmp_path):
    """The rest of a rejected body is not the head of a request, which has a shorter timeout."""
    with Server(tmp_path, "--header-timeout-ms", "5000") as slow, Api(slow.url) as api:
        project = api.project()
        head = wire.head(f"{project.path}/binaryclks", "wrong", {
            "Content-Type": "application/octet-stream", "Hash-Count": "1", "Hash-Size": "8", "Content-Length": "100",
        })
        with wire.connection(slow) as talk:
            talk.sendall(head)
            for _ in range(10):
                time.sleep(0.7)
                talk.sendall(bytes(10))
            assert talk.recv(1000).startswith(b"HTTP/1.1 403 ")
            # The connection can still be used.
            talk.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200 " in wire.answer(talk)[1].encode()


class AsksClients(Server):
    """A server whose API requires a client certificate; its probes do not."""

    def _wait_until_ready(self):
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                url = f"https://{self.host}:{self.ops_port}/readyz"
                if requests.get(url, timeout=2, verify=str(self.certificate)).status_code == 200:
                    return
            assert time.monotonic() < deadline and self.process.poll() is None, self.tail()
            time.sleep(0.05)


def test_a_client_without_its_certificate_reads_the_alert(tmp_path):
    """With TLS 1.3 a client sends before it knows: the server discards the bytes, so that the client reads the alert."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority", "-days", "2"]
    authority = tmp_path / "authority.pem"
    subprocess.run([*made, "-keyout", tmp_path / "key.pem", "-out", authority], check=True, capture_output=True)
    with AsksClients(tmp_path, "--tls", "self-signed", "--tls-client-ca", str(authority)) as server:
        context = ssl.create_default_context(cafile=server.certificate)
        with socket.create_connection((server.host, server.port), timeout=120) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as talk:
                with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                    talk.sendall(b"POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
                    for _ in range(50):
                        talk.sendall(bytes(1_000_000))
                    talk.recv(1)
