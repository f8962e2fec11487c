"""Transfers to the S3 endpoint whose project is deleted meanwhile are rejected at their end and leave nothing."""

import contextlib
import http.client
import time

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from harness import external
from harness.signed import code_of
from harness.wait import until

pytestmark = pytest.mark.one_process("the objects of several nodes are in an external store; this is about our S3 endpoint")
SIZES = [pytest.param(1_000, id="small"), pytest.param(3_000_000, id="large")]


class Provider:
    """A party with credentials of its own for a project that can be deleted; and the root's credentials."""

    def __init__(self, api, server):
        self.server, self.project = server, api.project()
        given = external.authorize(self.project, 0)
        self.place, keys = given["upload"], given["credentials"]
        self.own = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
        self.root = Credentials(*(server.data / "s3-credentials").read_text().split())
        self.path = f"/{self.place['bucket']}/{self.place['path']}/data.bin"

    def client(self, keys):
        return boto3.client(
            "s3", endpoint_url=f"http://{self.place['endpoint']}", region_name="us-east-1",
            aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key, aws_session_token=keys.token,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
        )

    def names(self):
        """Returns the bucket and the key as arguments of boto3."""
        return {"Bucket": self.place["bucket"], "Key": f"{self.place['path']}/data.bin"}

    @contextlib.contextmanager
    def half_put(self, keys, size, query=""):
        """Sends half of a body; returns a function that sends the rest and returns the response."""
        request = AWSRequest("PUT", f"http://{self.place['endpoint']}{self.path}{query}", data=b"",
                             headers={"Host": self.place["endpoint"]})
        signer = S3SigV4Auth(keys, "s3", "us-east-1")
        signer.payload = lambda _: "UNSIGNED-PAYLOAD"
        signer.add_auth(request)
        talk = http.client.HTTPConnection(self.place["endpoint"], timeout=60)
        talk.putrequest("PUT", self.path + query, skip_host=True, skip_accept_encoding=True)
        for name, value in {**request.headers, "Content-Length": str(size)}.items():
            talk.putheader(name, value)
        talk.endheaders()
        talk.send(bytes(size // 2))

        def finish():
            talk.send(bytes(size - size // 2))
            answer = talk.getresponse()
            return answer.status, answer.read()

        try:
            yield finish
        finally:
            talk.close()

    def leaves(self):
        """Returns whether any data of the project is left."""
        store, prefix = self.client(self.root), self.project.id
        bucket = self.place["bucket"]
        return (
            store.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents")
            or store.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads")
        )


@pytest.fixture
def provider(api, server):
    return Provider(api, server)


def settled(server, before):
    """Waits until the same files hold uploaded bytes as before."""
    deadline = time.monotonic() + 60
    while (found := server.payload_files()) != before:
        assert time.monotonic() < deadline, set(found) - set(before)
        time.sleep(0.05)


def deleted(provider):
    """Deletes the project and waits until it has been purged."""
    assert provider.project.delete().status_code == 204
    time.sleep(0.5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("who", ["own", "root"])
def test_a_put_in_progress_is_refused_at_its_end(provider, server, size, who):
    before = server.payload_files()
    with provider.half_put(getattr(provider, who), size) as finish:
        deleted(provider)
        status, body = finish()
    assert (status, code_of(body)) == (403, "AccessDenied")
    until(lambda: not provider.leaves(), "nothing of the project is left")
    settled(server, before)


@pytest.mark.parametrize("who", ["own", "root"])
def test_a_part_in_progress_is_refused_at_its_end(provider, server, who):
    before = server.payload_files()
    store = provider.client(provider.own)
    upload = store.create_multipart_upload(**provider.names())["UploadId"]
    with provider.half_put(getattr(provider, who), 1_000_000, f"?partNumber=1&uploadId={upload}") as finish:
        deleted(provider)
        status, body = finish()
    assert (status, code_of(body)) in [(403, "AccessDenied"), (404, "NoSuchUpload")]
    until(lambda: not provider.leaves(), "nothing of the project is left")
    settled(server, before)


def test_no_upload_begins_for_a_deleted_project(provider):
    root, names = provider.client(provider.root), provider.names()
    upload = root.create_multipart_upload(**names)["UploadId"]
    part = root.upload_part(**names, PartNumber=1, UploadId=upload, Body=b"x")
    root.create_bucket(Bucket="elsewhere")
    root.put_object(Bucket="elsewhere", Key="k", Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    deleted(provider)
    source = {"Bucket": "elsewhere", "Key": "k"}
    for call in (
        lambda: root.put_object(**names, Body=b"x"),
        lambda: root.copy_object(**names, CopySource=source),
        lambda: root.create_multipart_upload(**names),
        lambda: root.upload_part(**names, PartNumber=1, UploadId=upload, Body=b"x"),
        lambda: root.upload_part_copy(**names, PartNumber=1, UploadId=upload, CopySource=source),
        lambda: root.complete_multipart_upload(**names, UploadId=upload, MultipartUpload=parts),
        lambda: provider.client(provider.own).put_object(**names, Body=b"x"),
    ):
        with pytest.raises(root.exceptions.ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
    until(lambda: not provider.leaves(), "nothing of the project is left")
