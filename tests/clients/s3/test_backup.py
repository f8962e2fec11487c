"""`entityd backup --to s3://` with this server's own S3 endpoint."""

import re

import pytest
from harness.commands import Commands
from harness.server import Server


def backups_to(endpoint, folder):
    """Returns commands whose backups go to the S3 endpoint."""
    return Commands(
        folder,
        AWS_ENDPOINT_URL=endpoint.url,
        AWS_ALLOW_HTTP="true",
        AWS_ACCESS_KEY_ID=endpoint.access_key,
        AWS_SECRET_ACCESS_KEY=endpoint.secret_key,
    )


@pytest.fixture
def stopped(tmp_path):
    """The data directory of another server, which has ended."""
    with Server(tmp_path) as server:
        pass
    return server.data


def keys_in(s3, bucket):
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_a_backup_into_a_bucket_of_the_server_itself_is_refused(endpoint, s3, bucket, tmp_path):
    token = re.search(r"admin token +(\S+)", endpoint.server.log.read_text())[1]
    commands = backups_to(endpoint, tmp_path)
    ops = f"http://{endpoint.server.host}:{endpoint.server.ops_port}"
    words = ("backup", "--server", ops, "--to", f"s3://{bucket}/backups")
    said = commands.refused(2, *words, ENTITYD_ADMIN_TOKEN=token)
    assert "is a bucket of the server that is backed up" in said and "give a bucket of another store" in said, said
    assert keys_in(s3, bucket) == []


def test_a_backup_of_another_server_is_accepted(endpoint, s3, bucket, stopped, tmp_path):
    commands = backups_to(endpoint, tmp_path)
    commands.done("backup", "--data-dir", stopped, "--to", f"s3://{bucket}/backups")
    commands.done("backup", "verify", f"s3://{bucket}/backups")
    assert not [key for key in keys_in(s3, bucket) if "/new/" in key]


@pytest.mark.parametrize("place", ["", "/data", "/data/backups", "/data/a/b"])
def test_a_backup_among_the_objects_of_a_server_is_refused(endpoint, s3, bucket, stopped, tmp_path, place):
    mark = "entityd/owner" if place == "" else "data/entityd/owner"
    s3.put_object(Bucket=bucket, Key=mark, Body=b"{}")
    commands = backups_to(endpoint, tmp_path)
    said = commands.refused(2, "backup", "--data-dir", stopped, "--to", f"s3://{bucket}{place}")
    assert "is among the objects of a server" in said and "give another bucket or prefix" in said, said
    assert keys_in(s3, bucket) == [mark]
    if place:
        commands.done("backup", "--data-dir", stopped, "--to", f"s3://{bucket}/data-backups")
