"""Client certificates for PostgreSQL: `cert` and `clientcert=verify-full` in pg_hba.conf."""

import subprocess

import pytest

from harness.api import Api
from harness.certificates import Authority, wrong_pairs
from harness.postgres import Postgres, let_through, with_password
from harness.server import BINARY, Server, clean_environment
from harness.wait import until


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def strict(authority, tmp_path_factory):
    """A server that asks clients with TLS for a certificate: in the database `twofold` for a password as well."""
    let_through(authority.pem)
    with Postgres(tmp_path_factory.mktemp("strict"), f"ssl_ca_file={authority.pem}") as server:
        rules = "hostssl twofold all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\nhostssl all all 127.0.0.1/32 cert\n"
        file = server.data / "pg_hba.conf"
        file.write_text(rules + file.read_text())
        server.sql("postgres", "SELECT pg_reload_conf()")
        for name in ("alone", "twofold"):
            server.create(name)
        yield server


def url(server, name):
    return server.url(name, f"sslmode=verify-full&sslrootcert={server.folder}/ca.pem", "localhost")


def status(url, *flags, environment=None):
    environment = {**clean_environment(), **(environment or {})}
    words = [BINARY, "migrate", "status", "--database", url, *flags]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120, check=False)


def files(certificate, key):
    return ["--database-cert-file", certificate, "--database-key-file", key]


@pytest.mark.parametrize("name", ["alone", "twofold"])
def test_a_server_identifies_itself_by_its_certificate(strict, authority, tmp_path, name):
    certificate, key = authority.issue(f"of_{name}", "entityd")
    password = with_password() if name == "twofold" else {}
    with Server(tmp_path, "--database", url(strict, name), *files(certificate, key), environment=password) as server:
        with Api(server.url) as api:
            api.project()
        assert "may be read by other users" not in server.log.read_text()
    asked = "SELECT DISTINCT client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = '%s'"
    key.chmod(0o644)
    # The same in the URL, as for libpq.
    with Server(tmp_path, "--database", f"{url(strict, name)}&sslcert={certificate}&sslkey={key}", environment=password) as server:
        assert strict.sql("postgres", asked % name) == ["/CN=entityd"]
        until(lambda: "may be read by other users" in server.log.read_text(), "a key that others can read is named")


def test_a_wrong_certificate_is_refused_in_one_line(strict, authority, tmp_path):
    def refused(words, *flags, database=url(strict, "alone")):
        done = status(database, *flags)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and all(word in line for word in words), (line, words)

    refused(["certificate", "--database-cert-file"])
    for certificate, key, words in wrong_pairs(authority, tmp_path, "entityd"):
        refused([*words, "--database-cert-file"], *files(certificate, key))
    # A certificate of another user.
    refused(["certificate", "the CN of the certificate"], *files(*authority.issue("other", "guest")))
    certificate, key = authority.issue("last", "entityd")
    refused(["--database-key-file"], "--database-cert-file", certificate)
    refused(["--database-cert-file"], "--database-key-file", key)
    plain = strict.url("alone", "sslmode=disable")
    refused(["sslmode=verify-full"], *files(certificate, key), database=plain)
