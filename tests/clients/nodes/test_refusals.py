"""Refusals of the worker listener and of workers: unknown callers, workers that differ, and workers that lie."""

import contextlib
import hashlib
import json
import os
import subprocess
import threading
import time

import pytest
import requests
from harness.nodes import LIBFAKETIME, ApiNode, WorkerNode, clock
from harness.postgres import Postgres, with_password
from harness.server import BINARY, clean_environment
from harness.wait import until

from harness import linkages

# Each upload is indexed by a job, however small.
SEVERAL_JOBS = ("--comparisons-per-job", "1000000")




@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with ApiNode(tmp_path_factory.mktemp("api"), "--lease-ms", "60000", *SEVERAL_JOBS) as running:
        yield running


@pytest.fixture(scope="module")
def token(node):
    return node.join_token()


class Liar:
    """A worker that sends arbitrary requests."""

    def __init__(self, node, token, name="1" * 32):
        self.base, self.claims, self.name = f"{node.join_url}/worker/v1", 0, name
        self.session = requests.Session()
        self.session.headers.update({"Authorization": f"Bearer {token}", "Entityd-Node": name})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def hello(self, **changes):
        settings = {"external_endpoints": "", "body_bytes_max": "10485760000", **changes.pop("settings", {})}
        hello = {"protocol": 1, "version": "0", "node": self.name, "name": "liar", "queues": "compute=1", "threads": 1}
        return self.post("hello", {**hello, "settings": settings, **changes})

    def post(self, path, body, **rest):
        return self.session.post(f"{self.base}/{path}", json=body, timeout=90, **rest)

    def claim(self, *queues, wait_ms=5_000):
        self.claims += 1
        wish = {"number": self.claims, "received": self.claims - 1, "queues": queues, "count": 1, "wait_ms": wait_ms}
        response = self.post("claim", wish)
        assert response.status_code == 200, response.text
        return response.json()["jobs"]

    def turn(self, **items):
        response = self.post("turn", items)
        assert response.status_code == 200, response.text
        return response.json()

    def object(self, method, key, ticket, area="objects", data=None, headers=None, **query):
        lease = ticket["lease"]
        text = f"{lease['fence']} {ticket['attempt']} {ticket['grant']} {lease['job']}"
        query = {"area": area, "key": key, **query}
        return self.session.request(
            method, f"{self.base}/object", params=query, data=data, headers={"Entityd-Ticket": text, **(headers or {})}, timeout=60
        )


def test_a_caller_without_the_join_token_gets_nothing(node, token):
    for given in (None, "", "0" * 64, node.admin_token, token[:-1]):
        headers = {} if given is None else {"Authorization": f"Bearer {given}"}
        for path in ("hello", "claim", "turn", "copies", "object", "leave", "", "../api/v1/projects"):
            response = requests.post(f"{node.join_url}/worker/v1/{path}", headers=headers, json={}, timeout=60)
            assert response.status_code == 401, (given, path, response.text)
            assert "join token" in response.json()["detail"]
    assert token not in node.log.read_text()


def test_the_join_token_opens_nothing_else(node, token):
    headers = {"Authorization": f"Bearer {token}"}
    for url in (
        f"{node.join_url}/admin/queue",
        f"{node.join_url}/api/v1/projects",
        f"{node.join_url}/worker/v1/admin/queue",
        f"{node.join_url}/metrics",
    ):
        assert requests.get(url, headers=headers, timeout=60).status_code == 404, url
    assert requests.get(f"http://127.0.0.1:{node.ops_port}/admin/queue", headers=headers, timeout=60).status_code == 401
    with Liar(node, token, "9" * 32) as liar:
        assert liar.post("claim", {}).status_code == 428, "a worker must call hello first"


def test_a_worker_that_differs_is_refused_with_both_values(node, token, tmp_path):
    with Liar(node, token) as liar:
        old = liar.hello(protocol=0)
        assert old.status_code == 409 and "protocol 0" in old.json()["detail"] and "1" in old.json()["detail"]
        assert liar.hello(protocol=2).json()["protocol"] == 1, "a newer worker speaks the older protocol"
        other = liar.hello(settings={"external_endpoints": "s3.example.org"})
        assert other.status_code == 409 and "s3.example.org" in other.json()["detail"]
        assert liar.hello(node="short").status_code == 400
    with WorkerNode(tmp_path / "w", [node.join_url], token, "--body-bytes-max", "1000000") as worker:
        worker.wait_until_said("body_bytes_max")
        assert '1000000' in worker.said() and "10485760000" in worker.said()

        def is_not_ready():
            # The listener may not be there yet.
            with contextlib.suppress(requests.ConnectionError):
                return worker.ops("/readyz").status_code == 503

        until(is_not_ready, "the worker is not ready")
    until(lambda: "worker rejected" in node.log.read_text(), "it is logged")


def test_a_wrong_token_is_reported_and_a_right_one_is_accepted(node, tmp_path):
    with WorkerNode(tmp_path / "w", [node.join_url], "0" * 64) as worker:
        worker.wait_until_said("401")
        assert str(worker.token) in worker.said() and "entityd join-token" in worker.said()
        worker.token.write_text(node.join_token())
        worker.wait_until_said("no telemetry")


@pytest.mark.parametrize("rejects", ["the token", "the settings"])
def test_a_worker_uses_the_node_that_accepts_it(node, token, tmp_path, rejects):
    """Of two nodes one rejects it, as while tokens or settings change, or with a wrong clock."""
    case = next(iter(linkages.cases(int(os.environ["TESTS_SEED"]), 40)))
    flags = ["--lease-ms", "3000"]
    if rejects == "the settings":
        known = tmp_path / "token"
        known.write_text(token)
        flags += ["--join-token-file", str(known), "--body-bytes-max", "1000000"]
    with ApiNode(tmp_path / "other", *flags) as other, node.client() as api:
        with WorkerNode(tmp_path / "w", [other.join_url, node.join_url], token) as worker:
            worker.wait_until_said("no telemetry")
            linkages.outcome(linkages.start(api, case), case)
            assert "heartbeat failed" not in worker.said() and "cannot claim" not in worker.said()


def certificate(folder, name, days):
    key, path = folder / f"{name}.key", folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", key, "-out", path, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, "-days", str(days)], check=True, capture_output=True)
    key.chmod(0o600)
    der = subprocess.run(["openssl", "x509", "-in", path, "-outform", "DER"], check=True, capture_output=True).stdout
    return path, key, hashlib.sha256(der).hexdigest()


def test_a_worker_trusts_the_certificate_that_its_token_names(tmp_path):
    path, key, sha256 = certificate(tmp_path, "server", 30)
    flags = ["--tls-cert", str(path), "--tls-key", str(key)]
    shared = tmp_path / "shared"
    shared.touch(mode=0o600)
    shared.write_text("a-token-of-the-operator\n")
    node = ApiNode(tmp_path / "api", *flags, "--join-token-file", str(shared))
    node.certificate, node.url = path, node.url.replace("http:", "https:")
    with node:
        with WorkerNode(tmp_path / "right", [node.join_url], f"a-token-of-the-operator.sha256-{sha256}") as worker:
            worker.wait_until_said("no telemetry")
        token = tmp_path / "right" / "join-token"
        check = [BINARY, "check", "--role", "worker", "--join", node.join_url, "--join-token-file", token]
        check += ["--data-dir", tmp_path / "checked", "--ops-listen", "127.0.0.1:0"]
        done = subprocess.run(check, capture_output=True, text=True, timeout=120, env=clean_environment(), check=False)
        assert done.returncode == 0 and "accepts the join token" in done.stdout, done
        with WorkerNode(tmp_path / "ca", [node.join_url], "a-token-of-the-operator", "--join-ca", str(path)) as worker:
            worker.wait_until_said("no telemetry")
        wrong = "0" * 64
        with WorkerNode(tmp_path / "wrong", [node.join_url], f"a-token-of-the-operator.sha256-{wrong}") as worker:
            worker.wait_until_said(wrong)
            assert "make a new token with `entityd join-token`" in worker.said()
            assert sha256 in worker.said() and "a-token-of-the-operator" not in worker.said()
        with WorkerNode(tmp_path / "unknown", [node.join_url], "a-token-of-the-operator") as worker:
            worker.wait_until_said("no API node of --join answers")
        assert "a-token-of-the-operator" not in node.log.read_text()


def test_a_wrong_address_is_explained(tmp_path):
    """Another protocol, and another listener than that of workers."""
    word = "a-token-of-the-operator"
    shared = tmp_path / "shared"
    shared.touch(mode=0o600)
    shared.write_text(word)
    path, key, sha256 = certificate(tmp_path, "server", 30)
    secure = ApiNode(tmp_path / "tls", "--tls-cert", str(path), "--tls-key", str(key), "--join-token-file", str(shared))
    secure.certificate, secure.url = path, secure.url.replace("http:", "https:")
    with secure, ApiNode(tmp_path / "plain", "--join-token-file", str(shared)) as plain:
        for url, words in (
            (secure.join_url.replace("https:", "http:"), "give its address with https://"),
            (plain.join_url.replace("http:", "https:"), "give its address with http://"),
            (f"http://127.0.0.1:{plain.ops_port}", "--join needs the address of a worker listener"),
            (f"http://127.0.0.1:{plain.port}", "--join needs the address of a worker listener"),
            (secure.join_url, "entityd join-token"),
        ):
            with WorkerNode(tmp_path / "w", [url], word) as worker:
                worker.wait_until_said(words)
            check = [BINARY, "check", "--json", *worker.command[1:]]
            done = subprocess.run(check, capture_output=True, text=True, timeout=120, env=clean_environment(), check=False)
            [found] = [finding for finding in json.loads(done.stdout)["checks"] if finding["check"] == "API node"]
            assert done.returncode == 1 and found["state"] == "failed" and words in found["detail"], found
            # It was stopped before it had joined, and that is no failure.
            assert worker.process.wait() == 0, worker.tail()
            worker.log.unlink()
        # A token that names a certificate is not sent without TLS.
        with WorkerNode(tmp_path / "pinned", [plain.join_url], f"{word}.sha256-{sha256}") as worker:
            assert worker.process.wait(timeout=60) == 1
            assert "names the certificate" in worker.said() and word not in worker.said()


def test_a_worker_refuses_an_expired_certificate(tmp_path):
    path, key, sha256 = certificate(tmp_path, "server", 1)
    node = ApiNode(tmp_path / "api", "--tls-cert", str(path), "--tls-key", str(key))
    node.certificate, node.url = path, node.url.replace("http:", "https:")
    if not LIBFAKETIME.exists():
        pytest.skip("the package libfaketime is not installed")
    with node:
        token = f"{node.join_token()}.sha256-{sha256}"
        for extra, given in (([], token), (["--join-ca", str(path)], token.split(".")[0])):
            folder = tmp_path / f"worker-{len(extra)}"
            with WorkerNode(folder, [node.join_url], given, *extra, environment=clock("+3d")) as worker:
                worker.wait_until_said("no API node of --join answers")
                assert "xpired" in worker.said(), worker.tail()


def test_tokens_rotate_and_are_revoked(tmp_path):
    with ApiNode(tmp_path / "api") as node:
        first = node.join_token()
        second = node.join_token(keep_s=3_600)
        third = node.join_token(keep_s=0)

        def opens(token):
            with Liar(node, token) as liar:
                return liar.hello().status_code == 200

        assert [opens(token) for token in (first, second, third)] == [False, False, True]
        fourth = node.join_token(keep_s=3_600)
        assert opens(third) and opens(fourth)
        for stored in (node.data / "join-tokens").read_text(), node.log.read_text():
            assert third not in stored and fourth not in stored
        assert (node.data / "join-tokens").stat().st_mode & 0o777 == 0o600
        command = [BINARY, "join-token", "--server", f"http://127.0.0.1:{node.ops_port}"]
        environment = {**os.environ, "ENTITYD_ADMIN_TOKEN": node.admin_token}
        output = tmp_path / "token"
        subprocess.run([*command, "--output", output], env=environment, check=True, capture_output=True)
        assert opens(output.read_text().strip()) and output.stat().st_mode & 0o777 == 0o600
        subprocess.run([*command, "--revoke"], env=environment, check=True, capture_output=True)
        assert not opens(third) and not opens(output.read_text().strip())


def test_a_revoked_token_gets_no_job_that_it_waited_for(tmp_path):
    with ApiNode(tmp_path / "api", *SEVERAL_JOBS) as node, node.client() as api:
        with Liar(node, node.join_token()) as thief:
            assert thief.hello().status_code == 200
            answers = []
            wish = {"number": 1, "received": 0, "queues": ["ingest"], "count": 1, "wait_ms": 20_000}
            waiting = threading.Thread(target=lambda: answers.append(thief.post("claim", wish)))
            waiting.start()
            time.sleep(1)
            node.admin("POST", "join-token/revoke")
            api.project("groups").upload_binary(0, [b"12345678"] * 9)
            waiting.join()
            assert answers[0].status_code == 401, answers[0].text
        # The job is free again at once.
        with Liar(node, node.join_token(), "4" * 32) as other:
            assert other.hello().status_code == 200
            assert len(other.claim("ingest")) == 1


def two_jobs(node, liar, api, seed):
    """An ingest job of each of two projects, both held by the liar."""
    cases = list(linkages.cases(seed, 40))
    projects = []
    for _ in range(2):
        project = api.project("groups")
        project.upload_binary(0, cases[0][2][0])
        projects.append(project)
    jobs = []
    deadline = time.monotonic() + 60
    while len(jobs) < 2 and time.monotonic() < deadline:
        jobs += liar.claim("ingest")
    return projects, {job["job"]["project"]: job for job in jobs}, cases


def test_a_lying_worker_does_no_harm(node, token, tmp_path):
    with node.client() as api, Liar(node, token, "2" * 32) as liar, Liar(node, token, "3" * 32) as other:
        assert liar.hello().status_code == 200 and other.hello(node="3" * 32).status_code == 200
        projects, held, cases = two_jobs(node, liar, api, int(os.environ["TESTS_SEED"]))
        mine, theirs = (held[project.id] for project in projects)
        ticket = mine["ticket"]
        ingest = mine["job"]["task"]["ingest"]
        upload = ingest["upload"]
        base = f"projects/{projects[0].id}/parties/0/{upload['upload']}"
        foreign = f"projects/{projects[1].id}/parties/0/{theirs['job']['task']['ingest']['upload']['upload']}"
        size = upload["records"] * upload["encoding_bytes"]

        read = liar.object("GET", f"{base}/matrix", ticket, bytes=8 << 20)
        assert read.status_code == 200 and len(read.content) == size
        # Objects of another project, with the ticket of this one; and objects that no job may read.
        for key in (f"{foreign}/matrix", "entityd/owner", "../metadata.db", "..%2Fmetadata.db", "", f"{base}/plan"):
            assert liar.object("GET", key, ticket, bytes=100).status_code == 403, key
            assert liar.object("PUT", key, ticket, data=b"x").status_code == 403, key
        assert liar.object("PUT", f"{base}/matrix", ticket, data=b"x").status_code == 403, "inputs are not written"
        assert liar.object("GET", f"{base}/matrix", ticket, area="files", bytes=9).status_code == 403

        # Tickets that were never issued.
        forged = [
            {**ticket, "lease": {**ticket["lease"], "fence": "0" * 31 + "1"}},
            {**ticket, "lease": theirs["ticket"]["lease"]},
            {**ticket, "attempt": 2},
            {**ticket, "grant": "00" * 32},
        ]
        ingested = {"upload": upload["upload"], "records": upload["records"], "encoding_bytes": 16, "blocks": 0}
        for wrong in forged:
            assert liar.object("GET", f"{base}/matrix", wrong, bytes=9).status_code == 403
            answer = liar.turn(
                beats=[{"ticket": wrong, "progress": {"done": 0, "total": 0}}],
                reports=[{"ticket": wrong, "outcome": {"ingested": ingested}}],
                failures=[{"ticket": wrong, "reason": "x"}],
                releases=[wrong],
            )
            assert answer["pulses"] == ["Lost"]
            for receipt in answer["reports"] + answer["failures"] + answer["releases"]:
                assert "rejected" in receipt, answer

        # Outcomes that the job cannot have, or without their object; and one that is too long.
        lies = [
            "purged",
            {"ingested": ingested},
            {"ingested": {**ingested, "records": 9}},
            {"compared": {"comparisons": 1, "pairs": 0}},
            {"rejected": {"message": "x" * 100_000}},
        ]
        for lie in lies:
            [receipt] = liar.turn(reports=[{"ticket": ticket, "outcome": lie}])["reports"]
            assert "rejected" in receipt, (lie, receipt)
        huge = {"ticket": ticket, "outcome": {"rejected": {"message": "x" * (2 << 20)}}}
        assert liar.post("turn", {"reports": [huge]}).status_code == 413
        assert liar.post("turn", {"reports": [{"ticket": ticket, "outcome": "nonsense"}]}).status_code == 422

        # An object that is truncated, or changed in transit, is rejected.
        for headers in ({}, {"Entityd-Size": "5", "Entityd-Crc32": "1"}):
            cut = liar.object("PUT", f"{base}/index", ticket, data=b"12345", headers=headers)
            assert cut.status_code == 400, cut.text
        assert liar.object("GET", f"{base}/index", ticket).status_code == 404
        assert liar.post("copies", {"keys": ["../metadata.db", "entityd/owner", f"{base}/matrix"]}).json()["found"][:2] == [None, None]
        assert not list((node.data / "spool").iterdir())
        assert not (node.data / "objects" / base / "index").exists()

        # Purges are not given to workers.
        refused = liar.post("claim", {"number": 99, "received": 98, "queues": ["maintenance"], "count": 1, "wait_ms": 10})
        assert refused.status_code == 400

        # Once the jobs are released, an honest worker does them, and the results are right.
        answer = liar.turn(releases=[ticket, theirs["ticket"]])
        assert answer["releases"] == ["done", "done"], answer
        with WorkerNode(tmp_path / "honest", [node.join_url], token):
            for project in projects:
                project.upload_binary(1, cases[0][2][1])
                assert project.run(0.8).result()["groups"] is not None
        log = node.log.read_text()
        for words in ("wrong signature", "of this kind cannot have", "does not belong to the job", "does not exist"):
            assert words in log, words
    with contextlib.suppress(json.JSONDecodeError):
        assert '"level":"ERROR"' not in log


def test_a_lost_response_is_repeated(node, token, tmp_path):
    with node.client() as api, Liar(node, token, "4" * 32) as liar:
        liar.hello()
        project = api.project("groups")
        project.upload_binary(0, [bytes(8)])
        [first] = liar.claim("ingest")
        liar.claims += 1
        again = {"number": liar.claims, "received": liar.claims - 2, "queues": ["ingest"], "count": 1, "wait_ms": 10}
        [second] = liar.post("claim", again).json()["jobs"]
        assert first["ticket"] == second["ticket"]
        liar.turn(releases=[first["ticket"]])


def test_a_later_claim_ends_a_waiting_one(node, token):
    with Liar(node, token, "5" * 32) as liar:
        liar.hello()
        # The longest wait that a node allows.
        waiting = threading.Thread(target=lambda: liar.claim("highmemory", wait_ms=30_000))
        waiting.start()
        time.sleep(0.5)
        with Liar(node, token, "5" * 32) as later:
            later.claims = 10
            later.claim("highmemory", wait_ms=10)
        waiting.join(timeout=25)
        assert not waiting.is_alive()


def test_a_database_that_does_not_answer_uses_up_no_attempt(tmp_path):
    """A job that is claimed meanwhile cannot be checked; its lease must not expire, which would count."""
    with Postgres(tmp_path) as postgres:
        flags = ["--database", postgres.url(postgres.create("one")), "--lease-ms", "2000", "--database-timeout-ms", "8000"]
        with contextlib.ExitStack() as stack:
            node = stack.enter_context(ApiNode(tmp_path / "api", *flags, environment=with_password()))
            api, token = stack.enter_context(node.client()), node.join_token()
            *liars, last = [stack.enter_context(Liar(node, token, f"{number:032x}")) for number in range(25)]
            assert last.hello().status_code == 200 and all(liar.hello().status_code == 200 for liar in liars)
            api.project("groups").upload_binary(0, [bytes(8)])
            until(lambda: node.admin("GET", "queue/jobs", params={"state": "ready"})["jobs"], "the job is in the queue")
            go_on = postgres.freeze()
            wish = {"number": 1, "received": 0, "queues": ["ingest"], "count": 1, "wait_ms": 100}
            answers = []
            claims = [threading.Thread(target=lambda liar=liar: answers.append(liar.post("claim", wish))) for liar in liars]
            for claim in claims:
                claim.start()
                time.sleep(0.4)
            go_on()
            for claim in claims:
                claim.join()

            def handed_out():
                # Connections to the database may still be timing out.
                with contextlib.suppress(AssertionError):
                    return last.claim("ingest")

            jobs = until(handed_out, "the job is handed out")
            # A liar whose claim lasts until the database answers gets the job, and uses up an attempt.
            given = sum(answer.status_code == 200 and bool(answer.json()["jobs"]) for answer in answers)
            assert jobs[0]["ticket"]["attempt"] <= 1 + given, (jobs, given)
