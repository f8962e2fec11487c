"""Shared by the S3 tests: the root credentials of the server, a boto3 client, a fresh bucket for each test."""

import itertools
import os
import subprocess

import boto3
import minio
import pytest
from botocore.config import Config
from harness.signed import Caller

_numbers = itertools.count()


class Endpoint:
    def __init__(self, server):
        self.server = server
        self.host = f"{server.host}:{server.s3_port}"
        self.url = f"http://{self.host}"
        self.access_key, self.secret_key = (server.data / "s3-credentials").read_text().split()

    def rclone(self, bucket):
        """Returns the bucket as rclone names it."""
        return f":s3,provider=Other,env_auth=true,endpoint='{self.url}',force_path_style=true:{bucket}"

    def minio(self):
        return minio.Minio(self.host, self.access_key, self.secret_key, secure=False)

    def client(self, **config):
        style = {"addressing_style": "path", **config.pop("s3", {})}
        config = {"retries": {"max_attempts": 0}, "signature_version": "s3v4", **config}
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3=style, **config),
        )


@pytest.fixture(scope="session")
def endpoint(server):
    return Endpoint(server)


@pytest.fixture
def client_of():
    """Returns a function that makes a boto3 client of any server."""
    return lambda server: Endpoint(server).client()


@pytest.fixture(scope="session")
def s3(endpoint):
    client = endpoint.client()
    yield client
    client.close()


@pytest.fixture
def caller(endpoint):
    """Sends requests that are signed by hand."""
    return Caller(endpoint)


@pytest.fixture
def bucket(s3):
    """A bucket for one test, which is not deleted."""
    name = f"bucket-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def run(endpoint, tmp_path):
    """Runs a tool with the credentials in its environment; it must succeed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RESTIC_PASSWORD": "password",
        "LANG": "C.UTF-8",
    }

    def call(*command):
        done = subprocess.run(
            [str(word) for word in command], env=environment, cwd=tmp_path, capture_output=True, timeout=300
        )
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    return call
