"""A disk that is full: during an upload, its ingest, a run, requests to S3 and a restart; and then has space again.

Each test mounts a small tmpfs for the data directory. That takes root; without, the tests are skipped and pytest says so.
"""

import os
import secrets
import socket
import subprocess
import time

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.api import Api, assert_problem
from harness.server import Server
from harness.wait import until

MIB = 1 << 20
# Three attempts of a job that fails at once are over after four or five seconds.
ATTEMPTS_S = 7


class Disk:
    """A small disk, and a file that fills it."""

    def __init__(self, path):
        self.path = path
        self.ballast = path / "ballast"

    def free(self):
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, but=0):
        """Fills it up to this many free bytes, even if space is freed meanwhile."""
        with self.ballast.open("ab", buffering=0) as ballast:
            while (left := self.free() - but) > 0:
                try:
                    ballast.write(bytes(min(left, MIB)))
                except OSError:
                    continue

    def make_room(self):
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192m,mode=700", "tmpfs", path]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"only root can mount a small disk: {done.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


# Settings with which a job indexes an upload, however small.
SEVERAL_JOBS = ("--disk-free-min", "0", "--comparisons-per-job", "1000000")


def serve(tmp_path, disk, *flags, **environment):
    """A server whose data is on the disk, and whose log is not."""
    server = Server(tmp_path, *(flags or ["--disk-free-min", "0"]), environment=environment)
    server.data = disk.path / "data"
    return server


def restart(server):
    server.process.kill()
    server.process.wait()
    server.__enter__()


def spool(server):
    return list((server.data / "spool").iterdir())


def reserve(server):
    """Waits until the server has reserved disk space."""
    until((server.data / "reserve").exists, "disk space is reserved")


def half_an_upload(server, project, records):
    """Sends the first half of an upload."""
    talk = socket.create_connection((server.host, server.port), timeout=120)
    head = (
        f"POST /api/v1/projects/{project.id}/binaryclks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Authorization: {project.update_tokens[0]}\r\nContent-Type: application/octet-stream\r\n"
        f"Hash-Count: {records}\r\nHash-Size: 8\r\nContent-Length: {records * 8}\r\n\r\n"
    )
    talk.sendall(head.encode() + secrets.token_bytes(records * 4))
    metrics = lambda: requests.get(f"http://{server.host}:{server.ops_port}/metrics", timeout=60).text
    until(lambda: "entityd_uploads_in_progress 1" in metrics(), "the upload has begun")
    return talk, secrets.token_bytes(records * 4)


def whole_answer(talk):
    received = b""
    while piece := talk.recv(1 << 16):
        received += piece
    return received


@pytest.mark.parametrize("records", [10, 400_000])
def test_an_upload_that_meets_a_full_disk_leaves_nothing_and_its_token_works_once_there_is_room(
    tmp_path, disk, records
):
    with serve(tmp_path, disk) as server, Api(server.url) as api:
        project = api.project()
        talk, rest = half_an_upload(server, project, records)
        with talk:
            disk.fill()
            talk.sendall(rest)
            answer = whole_answer(talk)
        assert answer.startswith(b"HTTP/1.1 507 ") and b"the token stays unused" in answer
        until(lambda: not spool(server), "nothing is left in the spool")
        disk.make_room()
        for party in range(2):
            project.upload_binary(party, [secrets.token_bytes(8) for _ in range(100)])
        assert project.run(0.9).complete()["state"] == "completed"


def test_uploads_are_refused_before_the_disk_is_full_and_accepted_again_afterwards(tmp_path, disk):
    with serve(tmp_path, disk, "--disk-free-min", str(32 * MIB)) as server, Api(server.url) as api:
        project = api.project()
        disk.fill(but=33 * MIB)
        refused = project.post_binary(0, bytes(8 * MIB), MIB, 8)
        assert_problem(refused, 507, "no space")
        disk.fill(but=31 * MIB)
        readiness = requests.get(f"http://{server.host}:{server.ops_port}/readyz?verbose", timeout=60)
        assert readiness.status_code == 503 and "--disk-free-min" in readiness.text
        until(lambda: not spool(server), "nothing is left in the spool")
        disk.make_room()
        assert project.post_binary(0, bytes(8 * MIB), MIB, 8).status_code == 201


@pytest.mark.parametrize("moment", ["ingest", "ingest.done"])
def test_an_upload_that_was_accepted_is_not_lost_to_a_disk_that_is_full_for_a_while(tmp_path, disk, moment):
    slow = {"ENTITYD_SLOW_MS": f"{moment}=4000"}
    with serve(tmp_path, disk, *SEVERAL_JOBS, **slow) as server, Api(server.url) as api:
        project = api.project()
        encodings = [secrets.token_bytes(8) for _ in range(100)]
        project.upload_binary(0, encodings)
        until(lambda: "failpoint: the step is delayed" in server.log.read_text(), f"the job reaches {moment}")
        disk.fill()
        time.sleep(ATTEMPTS_S)
        assert project.describe().json()["error"] is False
        disk.make_room()
        project.upload_binary(1, encodings)
        assert project.run(0.9).complete()["state"] == "completed"
        assert project.describe().json()["error"] is False


def test_a_run_that_meets_a_full_disk_continues_once_there_is_room(tmp_path, disk):
    with serve(tmp_path, disk, ENTITYD_SLOW_MS="compare=4000") as server, Api(server.url) as api:
        project = api.project()
        encodings = [secrets.token_bytes(8) for _ in range(100)]
        for party in range(2):
            project.upload_binary(party, encodings)
        run = project.run(0.9)
        until(lambda: "failpoint: the step is delayed" in server.log.read_text(), "the run is compared")
        disk.fill()
        until(lambda: "free some space" in server.log.read_text(), "it meets the full disk")
        time.sleep(ATTEMPTS_S)
        disk.make_room()
        run.complete()
        assert project.run(0.9).complete()["state"] == "completed"


def test_a_full_disk_is_507_and_recovers_without_a_restart(tmp_path, disk):
    with serve(tmp_path, disk) as server, Api(server.url) as api:
        project = api.project()
        disk.fill()
        for refused in (api.post("/projects", json={"schema": {}, "result_type": "groups"}), project.post_run(0.9)):
            assert_problem(refused, 507, "nothing has changed")
        assert project.describe().json()["parties_contributed"] == 0
        assert api.get("/status").json()["project_count"] == 1
        disk.make_room()
        assert project.post_run(0.9).status_code == 201
        assert api.get("/status").json()["project_count"] == 1
        api.project()


def test_on_a_full_disk_a_project_can_be_deleted_and_frees_its_space(tmp_path, disk):
    with serve(tmp_path, disk) as server, Api(server.url) as api:
        reserve(server)
        project, kept = api.project(), api.project()
        assert project.post_binary(0, bytes(8 * MIB), MIB, 8).status_code == 201
        server.wait_until_idle()
        disk.fill()
        assert kept.post_run(0.9).status_code == 507
        assert project.delete().status_code == 204
        until(lambda: disk.free() > 8 * MIB, "its bytes are gone")
        assert kept.post_run(0.9).status_code == 201


def test_killed_on_a_full_disk_it_starts_on_the_full_disk_and_loses_nothing(tmp_path, disk):
    with serve(tmp_path, disk) as server:
        reserve(server)
        with Api(server.url) as api:
            big, waiting = api.project(), api.project()
            assert big.post_binary(0, bytes(8 * MIB), MIB, 8).status_code == 201
            encodings = [secrets.token_bytes(8) for _ in range(100)]
            for party in range(2):
                waiting.upload_binary(party, encodings)
            run = waiting.run(0.9)
            disk.fill()
        restart(server)
        with Api(server.url) as api:
            assert "releasing the ballast" in server.log.read_text()
            disk.fill()
            assert api.get("/status").json()["project_count"] == 2
            big.api = waiting.api = run.api = api
            assert big.describe().json()["parties_contributed"] in (0, 1)
            disk.make_room()
            assert big.delete().status_code == 204
            # The run may have met the full disk, and then ends with the reason.
            status = run.wait()[-1]
            assert status["state"] == "completed" or "free some space" in status["message"]
            assert waiting.run(0.9).complete()["state"] == "completed"


def test_without_reserved_space_a_start_on_a_full_disk_fails_with_the_reason_and_loses_nothing(tmp_path, disk):
    with serve(tmp_path, disk) as server:
        reserve(server)
        with Api(server.url) as api:
            project = api.project()
            project.upload_binary(0, [secrets.token_bytes(8)])
        server.process.kill()
        server.process.wait()
        (server.data / "reserve").unlink()
        disk.fill()
        with pytest.raises(AssertionError, match="exited with 1"):
            server.__enter__()
        assert "no space left" in server.tail().splitlines()[-1]
        disk.make_room()
        server.__enter__()
        with Api(server.url) as api:
            project.api = api
            until(lambda: project.describe().json()["parties_contributed"] == 1, "the upload is accepted")


def s3_client(server):
    access_key, secret_key = (server.data / "s3-credentials").read_text().split()
    return boto3.client(
        "s3",
        endpoint_url=f"http://{server.host}:{server.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )


def refused_for_want_of_room(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507, refused.value


def test_s3_answers_507_on_a_full_disk_keeps_nothing_it_refused_and_recovers(tmp_path, disk):
    with serve(tmp_path, disk) as server:
        s3 = s3_client(server)
        s3.create_bucket(Bucket="bucket")
        name = {"Bucket": "bucket", "Key": "whole"}
        parts = {"Bucket": "bucket", "Key": "parts"}
        upload = s3.create_multipart_upload(**parts)["UploadId"]
        first = s3.upload_part(**parts, UploadId=upload, PartNumber=1, Body=bytes(5 * MIB))["ETag"]
        before = {path for path in server.payload_files()}
        disk.fill(but=MIB)
        refused_for_want_of_room(s3.put_object, **name, Body=bytes(4 * MIB))
        refused_for_want_of_room(s3.upload_part, **parts, UploadId=upload, PartNumber=2, Body=bytes(5 * MIB))
        disk.fill()
        refused_for_want_of_room(s3.put_object, **name, Body=b"small")
        refused_for_want_of_room(s3.create_bucket, Bucket="another")
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
        until(lambda: {path for path in server.payload_files() if "ballast" not in path} == before, "nothing is left")
        disk.make_room()
        s3.put_object(**name, Body=bytes(4 * MIB))
        second = s3.upload_part(**parts, UploadId=upload, PartNumber=2, Body=b"end")["ETag"]
        both = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
        s3.complete_multipart_upload(**parts, UploadId=upload, MultipartUpload={"Parts": both})
        assert s3.head_object(**parts)["ContentLength"] == 5 * MIB + 3
        assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 2
        s3.close()


def test_s3_refuses_before_the_disk_is_full(tmp_path, disk):
    with serve(tmp_path, disk, "--disk-free-min", str(32 * MIB)) as server:
        s3 = s3_client(server)
        s3.create_bucket(Bucket="bucket")
        upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
        disk.fill(but=34 * MIB)
        s3.put_object(Bucket="bucket", Key="small", Body=b"small")
        refused_for_want_of_room(s3.put_object, Bucket="bucket", Key="large", Body=bytes(4 * MIB))
        part = {"Bucket": "bucket", "Key": "parts", "UploadId": upload, "PartNumber": 1}
        refused_for_want_of_room(s3.upload_part, **part, Body=bytes(5 * MIB))
        s3.close()
