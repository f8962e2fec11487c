"""TLS with real clients: curl and openssl."""

import re
import subprocess

import pytest

from harness.server import Server
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
