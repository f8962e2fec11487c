"""Secrets of the object store, of TLS and of the operator do not appear in the most detailed log."""

import contextlib
import http.server
import io
import re
import subprocess
import threading
import time
import urllib.parse

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import external
from harness.api import Api, texts_of
from harness.server import Server, free_ports
from harness.wait import until

TRACE = ("--log", "trace,s3s=trace,object_store=trace,hyper=trace,h2=trace,rustls=trace,reqwest=trace")
ENCODINGS = [bytes([n]) * 16 for n in range(1, 9)]


def assert_unsaid(server, secrets):
    """Asserts that no line of the log has a secret, in plain or as escaped in a URL, in JSON or by Rust."""
    log = server.log.read_text(errors="replace")
    assert '"level":"DEBUG"' in log, "details are logged"
    for name, secret in secrets.items():
        assert len(secret) >= 8, name
        for spelling in {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}:
            lines = [line for line in log.splitlines() if spelling in line]
            assert not lines, (name, lines[:3])


def client(url, key, secret, token=None):
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, signature_version="s3v4"),
    )


def signature(url):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["X-Amz-Signature"][0]


def test_no_credentials_of_the_object_store_are_logged(tmp_path):
    root = ("root-access", "planted-root-secret-key")
    environment = {"ENTITYD_S3_ACCESS_KEY": root[0], "ENTITYD_S3_SECRET_KEY": root[1]}
    with Server(tmp_path, *TRACE, environment=environment) as server, Api(server.url) as api:
        secrets = {"root": root[1]}
        url = f"http://{server.host}:{server.s3_port}"
        project = api.project("similarity_scores")
        for party in range(2):
            allowed = external.authorize(project, party)
            credentials, place = allowed["credentials"], allowed["upload"]
            secrets[f"secret of party {party}"] = credentials["SecretAccessKey"]
            secrets[f"session of party {party}"] = credentials["SessionToken"]
            external.upload(project, party, ENCODINGS)
        run = project.run()
        run.complete()
        answer = run.get_result(headers={"RETURN-OBJECT-STORE-ADDRESS": "true"}).json()
        down = answer["credentials"]
        secrets |= {"secret of the download": down["SecretAccessKey"], "its session": down["SessionToken"]}

        # Valid and invalid requests, signed in headers and in the URL, and requests that the credentials do not allow.
        keys = (credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
        mine = client(url, *keys)
        target = {"Bucket": place["bucket"], "Key": f"{place['path']}/planted"}
        for method in ("put_object", "get_object"):
            presigned = mine.generate_presigned_url(method, Params=target)
            secrets[f"signature of {method}"] = signature(presigned)
            for kind in ("PUT", "GET"):
                requests.request(kind, presigned, data=b"planted-in-a-body", timeout=60)
            requests.get(presigned.replace("X-Amz-Signature=", "X-Amz-Signature=0"), timeout=60)
        secrets["a body"] = "planted-in-a-body"
        for wrong in (
            client(url, keys[0], "planted-wrong-secret", keys[2]),
            client(url, *keys[:2], "planted-session-token"),
            client(url, "planted-access", "planted-wrong-secret"),
        ):
            with pytest.raises(ClientError):
                wrong.put_object(**target, Body=b"planted-in-a-body", SSECustomerKey="planted-customer-key-of-32-bytes",
                                 SSECustomerAlgorithm="AES256")
            with pytest.raises(ClientError):
                wrong.list_buckets()
        secrets |= {"wrong secret": "planted-wrong-secret", "made-up session": "planted-session-token"}
        secrets["customer's key"] = "planted-customer-key-of-32-bytes"
        owner = client(url, *root)
        owner.put_object(Bucket=place["bucket"], Key="a", Body=io.BytesIO(b"planted-in-a-body"),
                         Metadata={"planted": "planted-metadata"})
        secrets["metadata"] = "planted-metadata"
        sts = boto3.client("sts", endpoint_url=url, region_name="us-east-1", aws_access_key_id=root[0],
                           aws_secret_access_key=root[1])
        made = sts.assume_role(RoleArn="arn:x:ignored:by:minio:", RoleSessionName="anything")["Credentials"]
        secrets |= {"assumed secret": made["SecretAccessKey"], "assumed session": made["SessionToken"]}
        # Credentials of another store are rejected, and not shown.
        body = {
            "clks": {
                "file": {"bucket": "b", "path": "p", "endpoint": "127.0.0.1:9", "secure": False},
                "credentials": {
                    "AccessKeyId": "planted-their-key",
                    "SecretAccessKey": "planted-their-secret",
                    "SessionToken": "planted-their-session",
                },
            }
        }
        other = api.project("groups")
        answer = other.post_clks(0, {"encodings": body["clks"]})
        assert answer.status_code >= 400 and "planted" not in answer.text
        secrets |= {"their secret": "planted-their-secret", "their session": "planted-their-session"}
        secrets |= {f"encoding {n}": text for n, text in enumerate(texts_of(ENCODINGS))}
    assert_unsaid(server, secrets)


def test_neither_keys_of_tls_nor_the_admin_token_are_logged(tmp_path):
    flags = ("--tls", "self-signed", "--require-admin-token")
    with Server(tmp_path, *TRACE, *flags) as server:
        key = (server.data / "tls" / "self-signed.pem").read_text().split("PRIVATE KEY-----")[1]
        secrets = {f"line {n} of the key": line for n, line in enumerate(key.split("\n")[1:3]) if len(line) >= 8}
        # The admin token is stored as a digest, and printed on stdout, which is not the log.
        until(lambda: "admin token" in server.log.read_text(), "the banner is printed")
        printed = server.log.read_text()
        token = re.search(r"admin token +([0-9a-f]{64})", printed)[1]
        assert printed.count(token) == 1
        assert token not in (server.data / "admin-token").read_text()
        for given in (token, f"Bearer {token}", token[:-1]):
            headers = {"Authorization": given}
            for port, path in ((server.port, "/api/v1/projects"), (server.ops_port, "/admin/queue")):
                requests.get(f"https://{server.host}:{port}{path}", headers=headers, timeout=60,
                             verify=str(server.certificate))
        requests.get(f"https://{server.host}:{server.ops_port}/healthz", timeout=60,
                     verify=str(server.certificate))
        with contextlib.suppress(OSError):
            requests.get(f"http://{server.host}:{server.port}/{token}", timeout=5)
        subprocess.run(
            ["openssl", "s_client", "-connect", f"{server.host}:{server.port}", "-tls1_1"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )
    log = server.log.read_text()
    assert log.count(token) == 1
    server.log.write_text(log.replace(token, ""))
    assert_unsaid(server, secrets)


class Echo(http.server.BaseHTTPRequestHandler):
    """A store that rejects every request and echoes it, as S3 does for a wrong signature."""

    protocol_version = "HTTP/1.1"
    heard = []

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = f"{self.path}\n" + "\n".join(f"{name.lower()}:{value}" for name, value in self.headers.items())
        self.heard.append(told)
        body = (
            "<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message>"
            f"<CanonicalRequest>{told}</CanonicalRequest></Error>"
        ).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def echo():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{store.server_address[1]}"
        store.shutdown()


STORES = {
    "s3": (
        "s3://planted",
        {
            "AWS_ACCESS_KEY_ID": "planted-access-key",
            "AWS_SECRET_ACCESS_KEY": "planted-store-secret",
            "AWS_SESSION_TOKEN": "planted-store-session",
            "AWS_ALLOW_HTTP": "true",
        },
        ["planted-store-secret", "planted-store-session"],
    ),
    "azure": (
        "az://planted",
        {
            "AZURE_STORAGE_ACCOUNT_NAME": "planted",
            "AZURE_STORAGE_SAS_KEY": "sv=2024-01-01&sig=planted-azure-signature",
            "AZURE_ALLOW_HTTP": "true",
        },
        ["planted-azure-signature"],
    ),
}


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("kind", STORES)
def test_errors_of_a_remote_store_contain_no_secrets(tmp_path, kind, away):
    objects, environment, planted = STORES[kind]
    with echo() as url:
        if away:
            url = f"http://127.0.0.1:{free_ports(1)[0]}"
        environment = {**environment, "AZURE_STORAGE_ENDPOINT": url, "AZURE_ENDPOINT": url}
        flags = ["--objects", objects, *(["--objects-endpoint", url] if kind == "s3" else [])]
        heard = len(Echo.heard)
        with Server(tmp_path, *TRACE, *flags, environment=environment) as server, Api(server.url) as api:
            project = api.project("groups")
            said = [project.post_clks(0, {"clks": texts_of(ENCODINGS)}).text]
            said.append(requests.get(f"http://{server.host}:{server.ops_port}/readyz", timeout=60).text)
            until(lambda: away or planted[-1] in "".join(Echo.heard[heard:]), "the store gets a request")
            time.sleep(1)
        told = "".join(Echo.heard[heard:])
        assert away or planted[-1] in told, "the request to the store has the planted secret"
        # A version 4 signature is valid for its request for a while.
        signatures = dict(enumerate(re.findall(r"Signature=([0-9a-f]{64})", told)))
    for secret in planted:
        assert all(secret not in text for text in said), said
    assert_unsaid(server, {**dict(enumerate(planted)), **{f"signature {n}": text for n, text in signatures.items()}})
