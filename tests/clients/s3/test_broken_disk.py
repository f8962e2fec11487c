"""A disk that fails for a while, is read-only or has no quota left: S3 clients are asked to retry."""

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from harness.server import Server

SHIM = Path(__file__).parents[2] / "appliance" / "broken_disk" / "shim.c"
BODIES = {"in the index": b"small", "in a file": bytes(100_000)}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SHIM], check=True)
    return library


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [("sync", errno.EIO, 503), ("write", errno.EIO, 503), ("write", errno.EROFS, 503), ("write", errno.EDQUOT, 507)],
)
def test_a_client_is_asked_to_retry_and_then_succeeds(tmp_path, client_of, shim, kind, error, status):
    broken = tmp_path / "broken"
    environment = {"LD_PRELOAD": str(shim), "BROKEN_DISK": str(broken)}
    with Server(tmp_path, environment=environment) as server:
        s3 = client_of(server)
        s3.create_bucket(Bucket="box")
        broken.write_text(f"{kind} {error} {os.path.realpath(server.data)}/")
        for key, body in BODIES.items():
            with pytest.raises(ClientError) as refused:
                s3.put_object(Bucket="box", Key=key, Body=body)
            answer = refused.value.response["ResponseMetadata"]
            assert answer["HTTPStatusCode"] == status, (key, refused.value.response)
            assert status != 503 or int(answer["HTTPHeaders"]["retry-after"]) > 0
        broken.unlink()
        deadline = time.monotonic() + 90
        for key, body in BODIES.items():
            while True:
                try:
                    s3.put_object(Bucket="box", Key=key, Body=body)
                    break
                except ClientError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert s3.get_object(Bucket="box", Key=key)["Body"].read() == body
