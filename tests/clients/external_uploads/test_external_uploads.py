"""Uploads and downloads through the server's own S3 endpoint: the formats and tolerances, the paths, and the
limits of the temporary credentials."""

import base64
import datetime
import io
import json
import os
import re
import time
from types import SimpleNamespace
from urllib.parse import urlencode

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from minio import Minio
from minio.credentials import AssumeRoleProvider
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from harness import external
from harness.api import assert_problem, is_token, texts_of
from harness.server import Server

ours = pytest.mark.one_process("the objects of several nodes are in an external store; this is about our S3 endpoint")
ENCODINGS = [[os.urandom(64) for _ in range(200)] for _ in range(2)]
ENCODINGS[1][:50] = ENCODINGS[0][:50]


def test_the_response_has_the_fields_that_clients_read(api, upload_store):
    project = api.project()
    given = external.authorize(project, 1)
    assert set(given) == {"credentials", "upload"}
    assert set(given["credentials"]) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert given["upload"] == {
        "endpoint": upload_store.host,
        "secure": False,
        "bucket": "uploads",
        "path": f"{project.id}/1",
    }
    ends = datetime.datetime.fromisoformat(given["credentials"]["Expiration"])
    left = ends - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert datetime.timedelta(hours=11, minutes=59) < left <= datetime.timedelta(hours=12)
    assert_problem(api.get(f"{project.path}/authorize-external-upload"), 400, "Authorization")
    assert_problem(api.get(f"{project.path}/authorize-external-upload", project.token), 403)


@pytest.mark.parametrize("name", ["encodings.bin", "encodings.json"])
@pytest.mark.parametrize("blocking", [False, True])
def test_files_are_linked_with_direct_uploads(api, name, blocking):
    project = api.project(blocking=blocking)
    blocks = {str(record): ["a", 7] for record in range(200)} if blocking else None
    data = json.dumps({"clks": texts_of(ENCODINGS[0])}).encode() if name.endswith(".json") else None
    response = external.upload(project, 0, ENCODINGS[0], blocks, name, data)
    assert response.status_code == 201 and is_token(response.json()["receipt_token"])
    if blocking:
        project.upload(1, {"clknblocks": [[text, "a"] for text in texts_of(ENCODINGS[1])]})
    else:
        project.upload_encodings(1, ENCODINGS[1])
    groups = project.run(0.95).result()["groups"]
    assert sorted(sorted(group) for group in groups) == [[[0, i], [1, i]] for i in range(50)]


def test_large_files_are_uploaded_in_parts(api):
    project = api.project()
    people = [os.urandom(128) for _ in range(100_000)]
    assert external.upload(project, 0, people).status_code == 201
    project.upload_binary(1, people[:100])
    assert len(project.run(0.95).result(timeout_s=300)["groups"]) == 100


def test_the_tolerances_of_the_reference_service(api):
    project = api.project(blocking=True)
    given = external.authorize(project, 0)
    place, store = given["upload"], external.client(given["upload"], given["credentials"])
    longer = external.put(store, place, "e.bin", os.urandom(128_000), {"hash-count": "1000", "hash-size": "8"})
    blocks = json.dumps({"blocks": {str(record): ["1"] for record in range(1000)}}).encode()
    body = {"encodings": longer, "blocks": external.put(store, place, "blocks.json", blocks)}
    assert project.post_clks(0, body).status_code == 201
    short = json.dumps({"clks": ["ssssssss"] * 1000}).encode()
    given = external.authorize(project, 1)
    place, store = given["upload"], external.client(given["upload"], given["credentials"])
    padded = external.put(store, place, "e.json", short, {"hash-count": "1000", "hash-size": "8"})
    body = {"encodings": padded, "blocks": external.put(store, place, "blocks.json", blocks)}
    assert project.post_clks(1, body).status_code == 201
    project.run(0.9).complete()


@pytest.mark.parametrize(
    "name, data, metadata",
    [
        ("e.bin", bytes(15), {"hash-count": "2", "hash-size": "8"}),
        ("e.bin", bytes(16), {}),
        ("e.bin", bytes(16), {"hash-count": "0", "hash-size": "8"}),
        ("e.json", b'{"clk": []}', {"hash-count": "2", "hash-size": "8"}),
        ("e.json", b"not json", {"hash-count": "2", "hash-size": "8"}),
    ],
)
def test_a_file_that_cannot_be_used_is_a_project_error_that_another_upload_clears(api, name, data, metadata):
    project = api.project()
    given = external.authorize(project, 0)
    store = external.client(given["upload"], given["credentials"])
    bad = external.put(store, given["upload"], name, data, metadata)
    assert project.post_clks(0, {"encodings": bad}).status_code == 201
    external.wait_for_error(project)
    assert_problem(project.post_run(0.9), 500, name)
    project.upload_encodings(0, ENCODINGS[0])
    assert project.describe().json()["error"] is False


def test_a_missing_file_is_a_project_error(api):
    project = api.project()
    place = external.authorize(project, 0)["upload"]
    missing = {"file": {"bucket": place["bucket"], "path": f"{place['path']}/nothing.bin"}}
    assert project.post_clks(0, {"encodings": missing}).status_code == 201
    external.wait_for_error(project)


def test_other_paths_are_refused_and_the_token_stays_usable(api):
    project = api.project()
    own, other = (external.authorize(project, party)["upload"] for party in range(2))
    for bucket, path in [
        (own["bucket"], f"{other['path']}/encodings.bin"),
        ("anonlink", f"{own['path']}/encodings.bin"),
        (own["bucket"], f"{own['path']}2/encodings.bin"),
        (own["bucket"], f"{own['path']}/../1/encodings.bin"),
        (own["bucket"], own["path"]),
    ]:
        body = {"encodings": {"file": {"bucket": bucket, "path": path}}}
        assert_problem(project.post_clks(0, body), 403)
    elsewhere = {"bucket": own["bucket"], "path": f"{own['path']}/e.bin", "endpoint": "169.254.169.254"}
    assert_problem(project.post_clks(0, {"encodings": {"file": elsewhere}}), 400, "endpoint")
    ours = {**elsewhere, "endpoint": own["endpoint"]}
    both = {"encodings": {"file": ours}, "blocks": {"0": ["a"]}}
    assert project.post_clks(0, both).status_code in (400, 403)
    project.upload_encodings(0, ENCODINGS[0])


@ours
def test_the_credentials_for_downloading_scores_allow_nothing_else(api, server):
    project = api.project("similarity_scores")
    for party in range(2):
        assert external.upload(project, party, ENCODINGS[party]).status_code == 201
    run = project.run(0.95)
    place, credentials, (pairs, _, _) = external.scores(run)
    assert len(pairs) == len(run.result()["similarity_scores"]) == 50
    store = external.client(place, credentials)
    assert store.stat_object(place["bucket"], place["path"]).size == 4 + 24 * 50
    part = store.get_object(place["bucket"], place["path"], offset=4, length=24)
    assert len(part.read()) == 24
    for act in [
        lambda: store.list_buckets(),
        lambda: list(store.list_objects(place["bucket"], recursive=True)),
        lambda: store.put_object(place["bucket"], place["path"], io.BytesIO(b"x"), 1),
        lambda: store.remove_object(place["bucket"], place["path"]),
        lambda: store.get_object("uploads", f"{project.id}/0/encodings.bin"),
    ]:
        refused(act)
    assert project.delete().status_code == 204
    refused(lambda: store.get_object(place["bucket"], place["path"]))


def refused(act, *codes):
    with pytest.raises(S3Error) as caught:
        act()
    assert caught.value.code in (codes or ("AccessDenied",)), caught.value


@ours
def test_the_credentials_for_uploads_allow_only_puts_below_their_path(api):
    project = api.project()
    given = external.authorize(project, 0)
    place, store = given["upload"], external.client(given["upload"], given["credentials"])
    bucket, path = place["bucket"], place["path"]
    for name in ["blocks.json", "encodings.bin"]:
        external.put(store, place, name, b"bytes")

    def put(bucket, key):
        return lambda: store.put_object(bucket, key, io.BytesIO(b"x"), 1)

    forbidden = {
        "list buckets": lambda: store.list_buckets(),
        "list": lambda: list(store.list_objects(bucket)),
        "list below the path": lambda: list(store.list_objects(bucket, prefix=f"{path}/")),
        "ask for the bucket": lambda: store.bucket_exists(bucket),
        "make a bucket": lambda: store.make_bucket("another"),
        "remove the bucket": lambda: store.remove_bucket(bucket),
        "get": lambda: store.get_object(bucket, f"{path}/encodings.bin"),
        "stat": lambda: store.stat_object(bucket, f"{path}/encodings.bin"),
        "remove": lambda: store.remove_object(bucket, f"{path}/encodings.bin"),
        "put for another party": put(bucket, f"{project.id}/1/encodings.bin"),
        "put beside the path": put(bucket, f"{path}2/encodings.bin"),
        "put at the top": put(bucket, "encodings.bin"),
        "put into the other bucket": put("anonlink", f"{path}/encodings.bin"),
        "put into no bucket": put("nowhere", f"{path}/encodings.bin"),
    }
    for act in forbidden.values():
        refused(act)
    several = [DeleteObject(f"{path}/encodings.bin"), DeleteObject("other")]
    assert {error.code for error in store.remove_objects(bucket, several)} == {"AccessDenied"}
    # A copy reads its source, too.
    from minio.commonconfig import CopySource

    refused(lambda: store.copy_object(bucket, f"{path}/copy", CopySource(bucket, f"{path}/encodings.bin")))
    url = store.presigned_put_object(bucket, f"{path}/presigned", datetime.timedelta(minutes=5))
    assert requests.put(url, data=b"bytes", timeout=60).status_code == 200
    url = store.presigned_get_object(bucket, f"{path}/presigned", datetime.timedelta(minutes=5))
    assert requests.get(url, timeout=60).status_code == 403
    project.upload_encodings(0, ENCODINGS[0])


@ours
def test_credentials_work_only_together_and_end_with_their_project(api):
    project = api.project()
    one, other = (external.authorize(project, party) for party in range(2))
    mixed = {**one["credentials"], "SessionToken": other["credentials"]["SessionToken"]}
    without = {**one["credentials"], "SessionToken": None}
    for credentials, code in [
        (mixed, "InvalidToken"),
        (without, "AccessDenied"),
        ({**one["credentials"], "SecretAccessKey": "guess"}, "SignatureDoesNotMatch"),
        ({**one["credentials"], "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}, "InvalidAccessKeyId"),
    ]:
        store = external.client(one["upload"], credentials)
        refused(lambda store=store: external.put(store, one["upload"], "x", b"x"), code)
    store = external.client(one["upload"], one["credentials"])
    external.put(store, one["upload"], "x", b"x")
    assert project.delete().status_code == 204
    refused(lambda: external.put(store, one["upload"], "x", b"x"))


def everything(upload_store):
    return Minio(upload_store.host, *upload_store.keys, region="us-east-1", secure=False)


def test_files_are_removed_once_they_were_read_or_their_project_is_deleted(api, upload_store):
    store = everything(upload_store)

    def left(project):
        return {entry.object_name for entry in store.list_objects("uploads", f"{project.id}/", recursive=True)}

    def until(project, names):
        deadline = time.monotonic() + 60
        while left(project) != names:
            assert time.monotonic() < deadline, left(project)
            time.sleep(0.05)

    project = api.project()
    given = external.authorize(project, 0)
    bucket = external.client(given["upload"], given["credentials"])
    external.put(bucket, given["upload"], "upload-test", b"something")
    external.put(bucket, given["upload"], "forgotten", b"something")
    assert external.upload(project, 0, ENCODINGS[0]).status_code == 201
    until(project, {f"{project.id}/0/forgotten"})
    keys = [f"{given['upload']['path']}/{name}" for name in ("a//b", "../c", "parts")]
    signed = raw_client(upload_store, given["credentials"])
    for key in keys[:2]:
        signed.put_object(Bucket="uploads", Key=key, Body=b"x")
    part = {"Bucket": "uploads", "Key": keys[2]}
    part["UploadId"] = signed.create_multipart_upload(**part)["UploadId"]
    signed.upload_part(**part, PartNumber=1, Body=b"x")
    assert project.delete().status_code == 204
    until(project, set())

    def is_refused():
        with pytest.raises(ClientError, match=upload_store.refusal):
            signed.upload_part(**part, PartNumber=2, Body=b"x")

    if upload_store.refusal:
        # Our endpoint revokes the credentials; another store takes parts until the upload is aborted.
        is_refused()
    access_key, secret_key = upload_store.keys
    root = raw_client(upload_store, {"AccessKeyId": access_key, "SecretAccessKey": secret_key})
    deadline = time.monotonic() + 60
    while root.list_multipart_uploads(Bucket="uploads", Prefix=str(project.id)).get("Uploads"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    is_refused()


def raw_client(upload_store, keys):
    return boto3.client(
        "s3",
        endpoint_url=f"http://{upload_store.host}",
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


@ours
def test_assume_role_as_the_minio_client_calls_it(upload_store):
    access_key, secret_key = upload_store.keys
    endpoint = f"http://{upload_store.host}"
    store = everything(upload_store)
    store.put_object("uploads", "sts/a", io.BytesIO(b"a"), 1)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::uploads/sts/*"]},
            {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::uploads/sts/secret*"},
        ],
    }
    role = AssumeRoleProvider(
        sts_endpoint=endpoint,
        access_key=access_key,
        secret_key=secret_key,
        duration_seconds=3600,
        policy=json.dumps(policy),
        region="us-east-1",
    )
    limited = Minio(endpoint.removeprefix("http://"), credentials=role, region="us-east-1", secure=False)
    assert limited.get_object("uploads", "sts/a").read() == b"a"
    refused(lambda: limited.get_object("uploads", "sts/secret"))
    refused(lambda: limited.put_object("uploads", "sts/a", io.BytesIO(b"b"), 1))
    given = role.retrieve()
    for keys, seconds in [((given.access_key, given.secret_key), 3600), ((access_key, secret_key), 50_000)]:
        refusing = AssumeRoleProvider(
            sts_endpoint=endpoint,
            access_key=keys[0],
            secret_key=keys[1],
            duration_seconds=seconds,
            region="us-east-1",
        )
        with pytest.raises(ValueError, match="HTTP status"):
            refusing.retrieve()
    store.remove_object("uploads", "sts/a")


@ours
def test_a_request_for_credentials_must_be_fully_signed_and_valid(upload_store):
    access_key, secret_key = upload_store.keys
    host = upload_store.host

    def call(sign=SigV4Auth, keys=(access_key, secret_key), headers=(), after=None, query="", **parameters):
        form = {"Action": "AssumeRole", "Version": "2011-06-15", **parameters}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": host, **dict(headers)}
        request = AWSRequest("POST", f"http://{host}/{query}", data=urlencode(form), headers=headers)
        sign(Credentials(*keys), "sts", "us-east-1").add_auth(request)
        # A signature in the query does not cover the form.
        body = urlencode(form) if after is None else after
        answer = requests.post(request.url, data=body, headers=dict(request.headers), timeout=60)
        return answer.status_code, re.search("<Code>(.*)</Code>", answer.text)

    def refused(status, code, **options):
        found, said = call(**options)
        assert (found, said and said[1]) == (status, code), options

    assert call() == (200, None)
    refused(403, "SignatureDoesNotMatch", after="Action=AssumeRole&Version=2011-06-15&DurationSeconds=900")
    for hash in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        headers = {"x-amz-content-sha256": hash, "x-amz-decoded-content-length": "9", "x-amz-trailer": "x-amz-checksum-crc32"}
        refused(403, "AccessDenied", headers=headers)
    signed = "?X-Amz-Credential=k%2Fd%2Fr%2Fsts%2Faws4_request&X-Amz-SignedHeaders=host&X-Amz-Signature=0&X-Amz-Expires=9"
    refused(400, "AuthorizationQueryParametersError", sign=lambda *_: SimpleNamespace(add_auth=lambda _: None), query=signed)
    refused(400, "ValidationError", **{"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"})
    refused(400, "ValidationError", DurationSeconds="899")
    for policy in ("", "{}", "[]", '{"Statement": ["sid", "Allow", "s3:*", "*"]}'):
        refused(400, "MalformedPolicyDocument", Policy=policy)
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    for member in ("Condition", "Principal", "NotAction", "NotResource"):
        document = json.dumps({"Statement": {**statement, member: {}}})
        refused(400, "MalformedPolicyDocument", Policy=document)


def test_credentials_survive_a_restart(tmp_path):
    from harness.api import Api

    server = Server(tmp_path)
    with server, Api(server.url) as api:
        project = api.project()
        given = external.authorize(project, 0)
    with server:
        store = external.client(given["upload"], given["credentials"])
        external.put(store, given["upload"], "x", b"x")


def test_switched_off_external_uploads_are_reported_and_direct_uploads_work(tmp_path):
    from harness.api import Api

    environment = {"UPLOAD_OBJECT_STORE_ENABLED": "false"}
    with Server(tmp_path, environment=environment) as server, Api(server.url) as api:
        project = api.project("similarity_scores")
        answer = api.get(f"{project.path}/authorize-external-upload", project.update_tokens[0])
        assert assert_problem(answer, 500)["title"] == "Feature Disabled"
        named = {"file": {"bucket": "uploads", "path": f"{project.id}/0/e.bin"}}
        answer = project.post_clks(0, {"encodings": named})
        assert assert_problem(answer, 500)["title"] == "Feature Disabled"
        for party in range(2):
            project.upload_encodings(party, ENCODINGS[party])
        run = project.run(0.95)
        run.complete()
        scores = run.get_result(headers={"RETURN-OBJECT-STORE-ADDRESS": ""}).json()
        assert len(scores["similarity_scores"]) == 50


def test_published_keys_are_refused_at_the_start(tmp_path):
    environment = {"MINIO_ACCESS_KEY": "minioadmin", "MINIO_SECRET_KEY": "minioadmin"}
    with pytest.raises(AssertionError, match="published in examples"), Server(tmp_path, environment=environment):
        pass


def test_settings_under_the_reference_names_reach_clients(tmp_path):
    from harness.api import Api

    environment = {
        "UPLOAD_OBJECT_STORE_SERVER": "Store.example:9000",
        "UPLOAD_OBJECT_STORE_SECURE": "true",
        "UPLOAD_OBJECT_STORE_BUCKET": "incoming",
        "UPLOAD_OBJECT_STORE_STS_DURATION": "900",
        "MINIO_ACCESS_KEY": "the-owner",
        "MINIO_SECRET_KEY": base64.b64encode(os.urandom(20)).decode(),
    }
    with Server(tmp_path, environment=environment) as server, Api(server.url) as api:
        given = external.authorize(api.project(), 0)
        assert not (server.data / "s3-credentials").exists()
        place = {name: given["upload"][name] for name in ("endpoint", "secure", "bucket")}
        assert place == {"endpoint": "store.example:9000", "secure": True, "bucket": "incoming"}
        ends = datetime.datetime.fromisoformat(given["credentials"]["Expiration"])
        left = ends - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        assert left <= datetime.timedelta(minutes=15)
