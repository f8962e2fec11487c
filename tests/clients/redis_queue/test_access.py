"""Access to Redis: passwords, certificates, settings, owners; and the responses while it is unavailable."""

import json
import os
import subprocess

import requests

from harness.api import Api
from harness.certificates import Authority, wrong_pairs
from harness.redis import PROGRAM, Redis, Sentinels, ask, needs_redis
from harness.samples import encodings
from harness.server import BINARY, Server, clean_environment
from harness.wait import until

pytestmark = needs_redis


def link(server):
    with Api(server.url) as api:
        project = api.project()
        for party in range(2):
            project.upload_encodings(party, encodings(50, seed=1))
        assert len(project.run(1.0).result()["groups"]) == 50


def made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def refusal(folder, *flags, environment=None):
    """Returns the error of a server that does not start."""
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]
    command += ["--ops-listen", "127.0.0.1:0", "--data-dir", folder / "data", *flags]
    variables = {**clean_environment(), **(environment or {})}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables, check=False)
    assert ended.returncode != 0, ended.stdout
    return ended.stderr + ended.stdout


def test_a_password_is_required_and_never_shown(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("an0ther-s3cret\n")
    secret.chmod(0o600)
    user = ["--user", "worker", "on", ">an0ther-s3cret", "~{entityd}*", "resetchannels", "&{entityd}*"]
    user += ["+@all", "-@admin", "+role", "+config|get", "+bgrewriteaof", "+bgsave"]
    with Redis(tmp_path / "redis", "--requirepass", "s3cret-of-default", *user) as redis:
        url = f"redis://worker@127.0.0.1:{redis.port}/0"
        with Server(tmp_path, "--queue", url, "--queue-password-file", secret, "--log", "debug") as server:
            link(server)
        assert "s3cret" not in server.log.read_text()
        variables = {"ENTITYD_QUEUE_PASSWORD": "wrong-s3cret", "ENTITYD_LOG": "debug"}
        said = refusal(tmp_path / "other", "--queue", url, environment=variables)
        assert "--queue" in said and "s3cret" not in said, said
        # The reference's variables, with the password of the default user.
        variables = {"CELERY_BROKER_URL": f"redis://:s3cret-of-default@127.0.0.1:{redis.port}/1"}
        with Server(made(tmp_path / "celery"), environment=variables) as server:
            link(server)
        environment = {**clean_environment(), **variables}
        shown = subprocess.check_output([BINARY, "config", "show", "--json"], text=True, env=environment)
        row = next(row for row in json.loads(shown) if row["key"] == "queue")
        assert row["source"] == "environment CELERY_BROKER_URL" and "s3cret" not in shown, row


def test_a_password_in_a_flag_is_refused(tmp_path):
    said = refusal(tmp_path, "--queue", "redis://:s3cret@127.0.0.1/0")
    assert "--queue-password-file" in said and "s3cret" not in said, said
    said = refusal(tmp_path, "--queue", "amqp://user:s3cret@host")
    assert "redis-sentinel://" in said and "s3cret" not in said, said


def test_a_redis_that_drops_jobs_or_does_not_answer_is_refused(tmp_path):
    with Redis(tmp_path / "redis", "--maxmemory-policy", "allkeys-lru") as redis:
        said = refusal(tmp_path, "--queue", redis.url)
        assert "maxmemory-policy is allkeys-lru" in said, said


def test_a_wrong_kind_of_server_and_a_wrong_password_are_named(tmp_path):
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("wr0ng")
    with Redis(tmp_path / "redis", "--requirepass", "s3cret", ready="AUTH s3cret") as redis:
        said = refusal(tmp_path, "--queue", redis.url, "--queue-password-file", secret)
        assert "--queue-password-file" in said and "wr0ng" not in said, said
    with Redis(tmp_path / "open") as redis:
        said = refusal(tmp_path, "--queue", f"redis-sentinel://127.0.0.1:{redis.port}/master")
        assert "it is no Sentinel" in said, said
        said = refusal(tmp_path, "--queue", f"rediss://127.0.0.1:{redis.port}")
        assert "if it has no TLS, give redis://" in said, said
    with Sentinels(tmp_path / "sentinels") as sentinels:
        said = refusal(tmp_path, "--queue", f"redis://127.0.0.1:{sentinels.watchers[0].port}")
        assert "it is a Sentinel; give redis-sentinel://" in said, said


def test_a_database_has_one_owner(tmp_path):
    with Redis(tmp_path / "redis") as redis:
        with Server(made(tmp_path / "one"), "--queue", redis.url) as server:
            link(server)
            said = refusal(tmp_path / "two", "--queue", redis.url)
            assert "belongs to the data directory with the identity" in said, said
            link(server)
        with Server(made(tmp_path / "two"), "--queue", redis.url[:-1] + "1") as server:
            link(server)


def test_tls_with_certificates_of_both_sides(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    redis = Redis(tmp_path / "redis")
    redis.settings = ["--port", "0", "--tls-port", str(redis.port), "--tls-cert-file", certificate, "--tls-key-file", key]
    redis.settings += ["--tls-ca-cert-file", authority.pem, "--tls-auth-clients", "yes"]
    with redis:
        url = redis.url.replace("redis:", "rediss:")
        flags = ["--queue", url, "--queue-ca", authority.pem]
        files = lambda certificate, key: ["--queue-cert", certificate, "--queue-key", key]
        client = files(*authority.issue("client"))
        with Server(made(tmp_path / "good"), *flags, *client) as server:
            link(server)

        def refused(words, *flags):
            lines = [line for line in refusal(tmp_path / "other", *flags).splitlines() if line.startswith("entityd: ")]
            assert len(lines) == 1 and all(word in lines[0] for word in words), (lines, words)

        refused(["certificate", url], "--queue", url, *client)
        refused(["if it has TLS, give rediss://"], "--queue", redis.url)
        refused(["asks for a client certificate", "--queue-cert", url], *flags)
        for certificate, key, words in wrong_pairs(authority, tmp_path, "x"):
            refused([*words, "--queue-cert"], *flags, *files(certificate, key))
        refused([f"{tmp_path}/empty.pem contains no certificate in PEM", "--queue-ca"], *flags[:3], tmp_path / "empty.pem", *client)
        refused(["queue_cert", "private key"], *flags, *client[:2])


def test_responses_while_redis_is_unavailable(tmp_path):
    token = tmp_path / "token"
    token.write_text("an-admin-token-of-some-length\n")
    token.chmod(0o600)
    # Each upload is indexed by a job, however small.
    flags = ["--admin-token-file", token, "--comparisons-per-job", "1000000"]
    with Redis(tmp_path / "redis") as redis, Server(tmp_path, "--queue", redis.url, *flags) as server:
        ops = f"http://127.0.0.1:{server.ops_port}"
        headers = {"Authorization": "an-admin-token-of-some-length"}
        ask_ops = lambda path, **rest: requests.get(f"{ops}/{path}", timeout=60, **rest)
        engine = "Valkey" if "valkey" in PROGRAM else "Redis"
        wanted = (f"queue: ok ({engine} ", "master, replicas: 0")
        until(lambda: (said := ask_ops("readyz?verbose").text) and all(words in said for words in wanted), "Redis is described")
        with Api(server.url) as api:
            project = api.project()
            project.upload_encodings(0, encodings(50, seed=1))
            redis.kill()
            answer = ask_ops("admin/queue", headers=headers)
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
            assert answer.elapsed.total_seconds() < 20
            assert ask_ops("healthz").status_code == 200
            refuses = lambda: (ready := ask_ops("readyz?verbose")).status_code == 503 and f"127.0.0.1:{redis.port}" in ready.text
            until(refuses, "it is not ready, and says why")
            # Requests that need only the database still succeed.
            project.upload_encodings(1, encodings(50, seed=1))
            run = project.run(1.0)
            assert run.get_status().json()["state"] in ("created", "queued", "running")
            redis.restart()
            assert len(run.result()["groups"]) == 50
            until(lambda: ask_ops("readyz").status_code == 200, "ready again")
            # A Redis that is full accepts no jobs.
            ask(redis.port, "CONFIG", "SET", "maxmemory", "1")
            api.project().upload_encodings(0, encodings(50, seed=1))
            until(lambda: "raise maxmemory" in server.log.read_text(), "it is said what to do")
            until(lambda: "raise maxmemory" in ask_ops("readyz?verbose").text, "it is not ready, and says why")
            ask(redis.port, "CONFIG", "SET", "maxmemory", "0")
            until(lambda: ask_ops("readyz").status_code == 200, "ready again")
            ask(redis.port, "CONFIG", "SET", "min-replicas-to-write", "1")
            until(lambda: "min-replicas-to-write" in ask_ops("readyz?verbose").text, "it is not ready, and says why")
            ask(redis.port, "CONFIG", "SET", "min-replicas-to-write", "0")
            until(lambda: ask_ops("readyz").status_code == 200, "ready again")
        ask(redis.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        until(lambda: ask_ops("readyz").status_code == 503, "the policy is seen")
        ask(redis.port, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        until(lambda: ask_ops("readyz").status_code == 200, "ready again")
    assert not os.path.exists(tmp_path / "data" / "queue")


def checked(folder, *flags):
    """Returns the findings of `entityd check` about the queue."""
    command = [BINARY, "check", "--json", "--data-dir", folder / "data", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment(), check=False)
    findings = json.loads(done.stdout)["checks"]
    return [(finding["state"], finding["detail"]) for finding in findings if finding["check"] == "queue"]


def test_check_describes_redis_and_warns_of_what_loses_jobs(tmp_path):
    with Redis(tmp_path / "redis", "--appendonly", "no") as redis:
        (state, detail), *warnings = checked(tmp_path, "--queue", redis.url)
        assert state == "ok" and "master" in detail and f"127.0.0.1:{redis.port}" in detail, detail
        assert {state for state, _ in warnings} == {"warning"}, warnings
        assert any("appendonly is no" in detail for _, detail in warnings), warnings
        # Nothing was made in it: the queue belongs to no data directory yet.
        assert ask(redis.port, "DBSIZE") == ":0\r\n"
    ((state, detail),) = checked(tmp_path, "--queue", redis.url)
    assert state == "failed" and "Redis at 127.0.0.1" in detail, detail
    assert checked(tmp_path) == []
