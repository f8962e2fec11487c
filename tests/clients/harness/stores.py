"""External object stores. Each is started on a free port, and has two buckets."""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config

from harness.server import Server, free_ports

BUCKETS = INTERNAL, UPLOADS = "internal", "uploads"
# The packages of external_stores/package.json are in a folder beside the venv.
NODE = Path(sys.prefix).with_name("node") / "node_modules"
START_S = 60
# The key of the object that names the owner of a bucket. It is never deleted.
MARK = "entityd/owner"
EMPTY_S = 90


class Store(contextlib.AbstractContextManager):
    """A running store; it stops when the context ends."""

    scheme = None
    # True if data providers upload to the store directly, rather than through the server's S3 endpoint.
    serves_clients = False

    def __init__(self, folder):
        self.folder = folder
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def __enter__(self):
        with (self.folder / "store.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_answered()
            for bucket in BUCKETS:
                self.create(bucket)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def entityd(self, folder, prefix, url=None, *flags, bucket=INTERNAL):
        """A server whose objects are in this store, below `prefix`; `url` is another address of the store."""
        environment, access = self.access(url or self.url)
        location = f"{self.scheme}://{bucket}/{prefix}"
        return Server(folder, "--objects", location, *access, *flags, environment=environment)

    def until_empty(self, bucket):
        deadline = time.monotonic() + EMPTY_S
        while left := self.keys_in(bucket):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def _wait_until_answered(self):
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except urllib.error.HTTPError as answer:
                return answer.close()
            except OSError:
                assert self.process.poll() is None, (self.folder / "store.log").read_text()
                assert time.monotonic() < deadline, f"{self.url} does not answer"
                time.sleep(0.1)


class S3Store(Store):
    scheme = "s3"
    keys = ("store-owner", "store-secret-key")

    def access(self, url):
        environment = {"MINIO_ACCESS_KEY": self.keys[0], "MINIO_SECRET_KEY": self.keys[1]}
        return environment, ["--objects-endpoint", url]

    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.keys[0],
            aws_secret_access_key=self.keys[1],
            config=Config(s3={"addressing_style": "path"}),
        )

    def create(self, bucket):
        self.client().create_bucket(Bucket=bucket)

    def keys_in(self, bucket):
        found = [entry["Key"] for entry in self.client().list_objects_v2(Bucket=bucket).get("Contents", [])]
        return [key for key in found if not key.endswith(MARK)]


class Moto(S3Store):
    """moto from PyPI: S3 with a Security Token Service."""

    serves_clients = True

    def command(self):
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]


class S3rver(S3Store):
    """s3rver from npm: S3 without temporary credentials and conditional PUTs, and with one pair of keys."""

    keys = ("S3RVER", "S3RVER")

    def command(self):
        script = NODE / "s3rver" / "bin" / "s3rver.js"
        return ["node", script, "--address", "127.0.0.1", "--port", str(self.port), "--directory", "objects"]

    def access(self, url):
        environment, flags = super().access(url)
        return {**environment, "AWS_CONDITIONAL_PUT": "disabled"}, flags


class Azurite(Store):
    """azurite from npm: Azure Blob Storage, with the account and key in its documentation."""

    scheme = "az"
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def command(self):
        script = NODE / "azurite" / "dist" / "src" / "blob" / "main.js"
        # The client requests a newer API version than the store supports, but uses only old features.
        flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"]
        return ["node", script, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), *flags]

    def access(self, url):
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}, []

    def client(self):
        return BlobServiceClient(f"{self.url}/{self.account}", credential=self.key)

    def create(self, bucket):
        with self.client() as client:
            client.create_container(bucket).close()

    def keys_in(self, bucket):
        with self.client() as client, client.get_container_client(bucket) as container:
            return [key for key in container.list_blob_names() if not key.endswith(MARK)]


class GoogleDialect(Moto):
    """
    moto, for `gs://`: Google's XML interface is that of S3 with some other headers.

    No emulator of Google's store implements that interface in full. The only header that matters here, the
    precondition that no object is overwritten, is therefore translated into that of S3.
    """

    scheme = "gs"
    serves_clients = False

    def command(self):
        return [sys.executable, "-P", Path(__file__).with_name("google_dialect.py"), str(self.port)]

    def access(self, url):
        return {"GOOGLE_BASE_URL": url, "GOOGLE_BEARER_TOKEN": "token"}, []


STORES = [Moto, S3rver, Azurite, GoogleDialect]


def meets(*stores):
    """Marks a test that runs on these stores only."""
    names = [store.__name__.lower() for store in stores]
    return pytest.mark.parametrize("store", stores, ids=names, indirect=True, scope="module")
