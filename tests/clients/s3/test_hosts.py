"""Buckets named by the host, where a domain is configured; any other host is path style."""

import http.client

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from harness.server import Server

DOMAIN = "s3.example.org"


@pytest.fixture
def call(tmp_path):
    with Server(tmp_path, "--s3-domain", DOMAIN) as server:
        keys = Credentials(*(server.data / "s3-credentials").read_text().split())

        def call(method, host, path, body=b""):
            request = AWSRequest(method, f"http://{host}{path}", data=body, headers={"Host": host})
            S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
            connection = http.client.HTTPConnection(server.host, server.s3_port, timeout=60)
            try:
                connection.request(method, path, body, dict(request.headers))
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        yield call


def test_a_host_below_the_domain_is_a_bucket(call):
    bucket = f"box.{DOMAIN}"
    assert call("PUT", bucket, "/")[0] == 200
    assert call("PUT", bucket, "/a/b", b"content")[0] == 200
    assert call("GET", f"{bucket.upper()}:8852", "/a/b") == (200, b"content")
    for host in (DOMAIN, f"{DOMAIN}:8852", "elsewhere.example.com", "localhost:8852", "127.0.0.1", "[::1]:1"):
        assert call("GET", host, "/box/a/b") == (200, b"content"), host
    assert call("GET", f"other.{DOMAIN}", "/a/b")[0] == 404
