"""TLS with real clients: curl and openssl."""

import json
import re
import subprocess

import pytest

from harness.server import BINARY, Server, clean_environment
from harness.wait import until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("entityd"), "--tls", "self-signed") as running:
        yield running


def openssl(server, *options):
    """Returns the output of `openssl s_client` for the server."""
    command = ["openssl", "s_client", "-connect", f"{server.host}:{server.port}", "-CAfile", server.certificate]
    said = subprocess.run([*command, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return said.returncode, said.stdout


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_speaks_both_versions(server, option, version):
    command = ["curl", "-sS", option, "--cacert", server.certificate, f"{server.url}/status"]
    form = "\\n%{http_version} %{http_code} %{ssl_verify_result}"
    said = subprocess.run([*command, "-w", form], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.splitlines()[-1] == f"{version} 200 0"


@pytest.mark.parametrize(("option", "protocol"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_openssl_agrees_on_a_version_and_a_protocol(server, option, protocol):
    code, said = openssl(server, option, "-alpn", "h2,http/1.1", "-verify_return_error")
    assert code == 0
    assert f"{protocol}, Cipher is" in said
    assert "ALPN protocol: h2" in said


def test_older_versions_are_refused(server):
    code, _ = openssl(server, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0


def test_the_fingerprint_that_is_printed_is_that_of_the_certificate(server):
    command = ["openssl", "x509", "-in", server.certificate, "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    printed = until(lambda: re.search(r"certificate\s+SHA-256 (\S+)\n", server.log.read_text()), "the banner is printed")
    assert shown.partition("=")[2] == printed[1]


def test_plain_http_is_not_answered_on_a_listener_with_tls(server):
    command = ["curl", "-s", f"http://{server.host}:{server.port}/api/v1/status"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


def entityd(*words):
    command = [BINARY, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment(), check=False)


def test_the_certificate_of_a_ca_is_warned_about(tmp_path):
    """OpenSSL makes a CA's unless told otherwise, and workers and the client commands refuse it as a server's."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "90"]
    path, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run([*made, "-keyout", key, "-out", path], check=True, capture_output=True)
    key.chmod(0o600)
    flags = ["--data-dir", tmp_path / "data", "--tls-cert", path, "--tls-key", key]
    [found] = [item for item in json.loads(entityd("check", "--json", *flags).stdout)["checks"] if item["check"] == "certificate"]
    assert found["state"] == "warning" and "basicConstraints=CA:FALSE" in found["detail"], found
    assert "names no host" in found["detail"], found


def test_an_unusable_file_is_reported_with_its_setting(tmp_path):
    flags = ["--data-dir", tmp_path / "data", "--ops-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]
    absent = tmp_path / "absent.pem"
    said = entityd("serve", *flags, "--tls", "self-signed", "--tls-client-ca", absent)
    assert said.returncode == 1 and f"(--tls-client-ca): cannot use {absent}" in said.stderr, said
    said = entityd("serve", *flags, "--tls-cert", absent, "--tls-key", absent)
    assert said.returncode == 1 and f"(--tls-cert, --tls-key): cannot use {absent}" in said.stderr, said
    said = entityd("check", *flags, "--tls", "self-signed", "--tls-client-ca", absent)
    assert said.returncode == 1 and f"--tls-client-ca: cannot use {absent}" in said.stdout, said
