"""The endpoint through the `minio` library and common tools: aws, rclone, s3cmd, restic."""

import filecmp
import io
import random
import sys
from pathlib import Path

import pytest
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

# Version 1 is in the venv, version 2 in Debian.
AWS = {"1": Path(sys.executable).parent / "aws", "2": "/usr/bin/aws"}


@pytest.fixture
def tree(tmp_path):
    """Some files, some with awkward names, one of them in parts."""
    chance, top = random.Random(1), tmp_path / "tree"
    for number in range(60):
        path = top / f"{number % 7}" / f"file {number} +&ü.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 5_000, 40_000])))
    (top / "large.bin").write_bytes(chance.randbytes(20 << 20))
    return top


def same(left, right):
    names = sorted(path.relative_to(left) for path in left.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(right) for path in right.rglob("*") if path.is_file())
    _, different, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    assert names and not different and not errors


def test_minio(endpoint, bucket):
    client = endpoint.minio()
    body = random.Random(2).randbytes(12 << 20)
    client.put_object(bucket, "ü/large", io.BytesIO(body), len(body), metadata={"hash-count": "3"})
    client.put_object(bucket, "stream", io.BytesIO(body), -1, part_size=5 << 20)
    for key in ("ü/large", "stream"):
        with client.get_object(bucket, key) as found:
            assert found.data == body
    assert client.stat_object(bucket, "ü/large").metadata["x-amz-meta-hash-count"] == "3"
    client.copy_object(bucket, "copy", CopySource(bucket, "stream"))
    names = [one.object_name for one in client.list_objects(bucket, recursive=True)]
    assert names == ["copy", "stream", "ü/large"]
    assert [one.object_name for one in client.list_objects(bucket)] == ["copy", "stream", "ü/"]
    with client.get_object(bucket, "copy", offset=5, length=10) as found:
        assert found.data == body[5:15]
    assert list(client.remove_objects(bucket, [DeleteObject(name) for name in names])) == []
    with pytest.raises(S3Error) as refused:
        client.get_object(bucket, "copy")
    assert refused.value.code == "NoSuchKey"
    assert refused.value.request_id == refused.value.response.headers["x-amz-request-id"]
    client.remove_bucket(bucket)
    assert not client.bucket_exists(bucket)


@pytest.mark.parametrize("version", AWS)
def test_aws(run, endpoint, bucket, tree, tmp_path, version):
    aws = (AWS[version], "--endpoint-url", endpoint.url)
    assert run(AWS[version], "--version").startswith(f"aws-cli/{version}.")
    run(*aws, "s3", "sync", "--only-show-errors", tree, f"s3://{bucket}/tree")
    assert run(*aws, "s3", "sync", tree, f"s3://{bucket}/tree") == ""
    run(*aws, "s3", "sync", "--only-show-errors", f"s3://{bucket}/tree", tmp_path / "back")
    same(tree, tmp_path / "back")
    assert "large.bin" in run(*aws, "s3", "ls", f"s3://{bucket}/tree/")
    run(*aws, "s3", "mv", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/moved")
    url = run(*aws, "s3", "presign", f"s3://{bucket}/moved").strip()
    assert url.startswith(endpoint.url)
    run(*aws, "s3", "rb", "--force", f"s3://{bucket}")


def test_rclone(run, endpoint, bucket, tree, tmp_path):
    remote = endpoint.rclone(bucket)
    run("rclone", "sync", tree, f"{remote}/tree")
    run("rclone", "check", tree, f"{remote}/tree", "--download")
    run("rclone", "check", tree, f"{remote}/tree")
    run("rclone", "sync", f"{remote}/tree", tmp_path / "back")
    same(tree, tmp_path / "back")
    run("rclone", "copyto", f"{remote}/tree/large.bin", f"{remote}/copy.bin")
    run("rclone", "purge", remote)


def test_s3cmd(run, endpoint, bucket, tree, tmp_path):
    s3cmd = ("s3cmd", "--no-ssl", f"--host={endpoint.host}", f"--host-bucket={endpoint.host}")
    s3cmd += ("--access_key", endpoint.access_key, "--secret_key", endpoint.secret_key)
    s3cmd += ("--region=us-east-1", "--no-progress")
    run(*s3cmd, "sync", f"{tree}/", f"s3://{bucket}/tree/")
    (tmp_path / "back").mkdir()
    run(*s3cmd, "sync", f"s3://{bucket}/tree/", f"{tmp_path}/back/")
    same(tree, tmp_path / "back")
    assert "large.bin" in run(*s3cmd, "ls", f"s3://{bucket}/tree/")
    run(*s3cmd, "cp", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/copy.bin")
    run(*s3cmd, "del", "--recursive", "--force", f"s3://{bucket}/")
    run(*s3cmd, "rb", f"s3://{bucket}")


def test_restic(run, endpoint, bucket, tree, tmp_path):
    restic = ("restic", "--repo", f"s3:{endpoint.url}/{bucket}/repository", "--no-cache")
    run(*restic, "init")
    run(*restic, "backup", tree)
    (tree / "large.bin").unlink()
    run(*restic, "backup", tree)
    run(*restic, "check", "--read-data")
    run(*restic, "restore", "latest", "--target", tmp_path / "back")
    same(tree, tmp_path / "back" / tree.relative_to("/"))
    run(*restic, "forget", "--keep-last", "1", "--prune")
