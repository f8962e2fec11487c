"""Requests that real S3 clients and proxies send, each with Amazon's response."""

import http.client
import socket
import xml.etree.ElementTree as ET

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from harness.server import Server
from harness.signed import code_of

MIB = 1 << 20


def refused(status, code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code), response


def listed(caller, bucket, query):
    """Returns the fields of a listing's document, each with its last text."""
    status, body = caller.call("GET", f"/{bucket}?{query}")
    assert status == 200, body
    return {field.tag.rpartition("}")[2]: field.text or "" for field in ET.fromstring(body)}


def test_a_condition_on_a_key_that_is_missing(s3, bucket):
    for match in ('"d41d8cd98f00b204e9800998ecf8427e"', "*"):
        refused(404, "NoSuchKey", s3.put_object, Bucket=bucket, Key="k", Body=b"", IfMatch=match)
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key="k", PartNumber=1, UploadId=upload, Body=b"x")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        refused(404, "NoSuchKey", s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload,
                MultipartUpload=parts, IfMatch=match)
        assert s3.delete_object(Bucket=bucket, Key="k", IfMatch=match)["ResponseMetadata"]["HTTPStatusCode"] == 204
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"a")["ETag"]
    refused(412, "PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"", IfMatch='"0"')
    refused(412, "PreconditionFailed", s3.delete_object, Bucket=bucket, Key="k", IfMatch='"0"')
    s3.put_object(Bucket=bucket, Key="k", Body=b"b", IfMatch=etag)


def test_an_empty_condition_is_refused(caller, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    for name in ("If-None-Match", "If-Match"):
        caller.refused(400, "InvalidArgument", "PUT", f"/{bucket}/k", b"new", after={name: ""})
        caller.refused(400, "InvalidArgument", "GET", f"/{bucket}/k", after={name: " "})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


FEATURES = ("acl", "attributes", "legal-hold", "policy", "restore", "retention", "torrent", "uploads", "versioning")


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_request_does_not_act_on_the_object(caller, bucket, s3, feature):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    for method, path, body in (
        ("DELETE", f"/{bucket}/k?{feature}", b""),
        ("PUT", f"/{bucket}/k?{feature}", b"<x/>"),
        ("DELETE", f"/{bucket}?{feature}", b""),
    ):
        status, answer = caller.call(method, path, body)
        assert status in (400, 405, 501), answer
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    s3.delete_object(Bucket=bucket, Key="k")
    status, answer = caller.call("DELETE", f"/{bucket}?{feature}")
    assert status in (400, 405, 501), answer
    s3.head_bucket(Bucket=bucket)


def test_what_would_open_an_object_to_others_is_refused(caller, bucket, s3):
    grants = ({"x-amz-acl": "public-read"}, {"x-amz-acl": "authenticated-read"}, {"x-amz-grant-read": 'id="1"'},
              {"x-amz-grant-full-control": 'id="1"'})
    for headers in grants:
        caller.refused(400, "AccessControlListNotSupported", "PUT", f"/{bucket}/k", b"x", headers=headers)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    for acl in ("private", "bucket-owner-full-control"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=acl)


def test_an_unknown_condition_protects_the_object(caller, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    for name, value in (
        ("If-None-Match", "*"),
        ("If-Unmodified-Since", past),
        ("x-amz-if-match-size", "999"),
        ("x-amz-if-match-last-modified-time", past),
    ):
        caller.refused(501, "NotImplemented", "DELETE", f"/{bucket}/k", headers={name: value})
    for name, value in (("If-Unmodified-Since", past), ("Content-Range", "bytes 0-0/4")):
        caller.refused(501, "NotImplemented", "PUT", f"/{bucket}/k", b"x", headers={name: value})
    for condition in ({"Size": 999}, {"LastModifiedTime": past}):
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", **condition}]})
        assert [error["Code"] for error in answer["Errors"]] == ["NotImplemented"], answer
    refused(403, "AccessDenied", s3.delete_object, Bucket=bucket, Key="k", ExpectedBucketOwner="123456789012")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


def test_the_bucket_for_uploads_of_data_providers_cannot_be_deleted(s3):
    refused(403, "AccessDenied", s3.delete_bucket, Bucket="uploads")
    s3.head_bucket(Bucket="uploads")


def test_an_unsigned_request_is_denied(caller, bucket):
    for after in ({}, {"Authorization": ""}, {"Authorization": " "}):
        caller.refused(403, "AccessDenied", "PUT", f"/{bucket}/k", b"x", sign=None, after=after)
        caller.refused(403, "AccessDenied", "GET", f"/{bucket}", sign=None, after=after)


def test_a_region_that_is_none_is_corrected(caller, bucket):
    """s3cmd signs for `US` without `--region`, and reads the region from the refusal."""
    class Elsewhere(S3SigV4Auth):
        def __init__(self, credentials, service, region):
            super().__init__(credentials, service, "US")

    status, body = caller.call("GET", f"/{bucket}", sign=Elsewhere)
    root = ET.fromstring(body)
    assert (status, root.findtext("Code"), root.findtext("Region")) == (400, "AuthorizationHeaderMalformed", "us-east-1")
    assert "Region" not in caller.call("GET", f"/{bucket}", secret="wrong")[1].decode().split("</Message>")[1]


def test_s3cmd_needs_no_region(run, endpoint, bucket, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    s3cmd = ("s3cmd", f"--access_key={endpoint.access_key}", f"--secret_key={endpoint.secret_key}", "--no-ssl",
             f"--host={endpoint.host}", f"--host-bucket={endpoint.host}")
    run(*s3cmd, "put", "file", f"s3://{bucket}/k")
    assert f"s3://{bucket}/k" in run(*s3cmd, "ls", f"s3://{bucket}")


def test_a_date_stands_in_for_x_amz_date(caller, bucket):
    how = {"headers": {"Date": "now"}}  # botocore writes the date of signing where one is
    status, body = caller.call("PUT", f"/{bucket}/k", b"x", **how)
    assert status == 200, body
    caller.refused(403, "SignatureDoesNotMatch", "GET", f"/{bucket}/k", secret="wrong", **how)
    caller.refused(403, "AccessDenied", "GET", f"/{bucket}/k", **how, after={"Date": "yesterday"})


def first_line(endpoint, request, body_length):
    """Returns the first line of the response to a request head with Expect: 100-continue."""
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {body_length}", "Expect: 100-continue"]
    path = request.url.removeprefix(endpoint.url)
    head = "\r\n".join([f"{request.method} {path} HTTP/1.1", *lines, "", ""])
    with socket.create_connection((endpoint.server.host, endpoint.server.s3_port), timeout=60) as talk:
        talk.sendall(head.encode())
        return talk.makefile("rb").readline()


@pytest.mark.parametrize("size", [5, 1_000_000])
@pytest.mark.parametrize("method, path", [("PUT", "/k"), ("POST", "?delete")])
def test_no_100_continue_for_a_body_that_will_be_refused(endpoint, bucket, size, method, path):
    def asked(secret):
        request = AWSRequest(method, f"{endpoint.url}/{bucket}{path}", data=b"", headers={"Host": endpoint.host})
        signer = S3SigV4Auth(Credentials(endpoint.access_key, secret), "s3", "us-east-1")
        signer.payload = lambda _: "UNSIGNED-PAYLOAD"
        signer.add_auth(request)
        return first_line(endpoint, request, size)

    assert asked("wrong").startswith(b"HTTP/1.1 403 ")
    assert asked(endpoint.secret_key).startswith(b"HTTP/1.1 100 ")


def test_a_listing_repeats_its_parameters(caller, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a b/c", Body=b"")
    for kind in ("list-type=2&", "", "versions&"):
        assert "Delimiter" not in listed(caller, bucket, kind + "delimiter=")
        found = listed(caller, bucket, kind + "encoding-type=url&prefix=a%20&delimiter=%2B&marker=%20&key-marker=%20&start-after=%20")
        assert (found["Prefix"], found["Delimiter"], found["EncodingType"]) == ("a%20", "%2B", "url")
        marker = {"list-type=2&": "StartAfter", "": "Marker", "versions&": "KeyMarker"}[kind]
        assert found[marker] == "%20"
        caller.refused(400, "InvalidArgument", "GET", f"/{bucket}?{kind}encoding-type=xml")
    found = listed(caller, bucket, "list-type=2&continuation-token=")
    assert found["KeyCount"] == "1" and found["ContinuationToken"] == ""
    caller.refused(400, "InvalidArgument", "GET", f"/{bucket}?list-type=2&continuation-token=x")


def test_buckets_are_listed_in_pages(s3, bucket, caller):
    every = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    for number in range(3):
        s3.create_bucket(Bucket=f"paged-{bucket}-{number}")
    pages = s3.get_paginator("list_buckets").paginate(Prefix=f"paged-{bucket}", PaginationConfig={"PageSize": 2})
    assert [len(page["Buckets"]) for page in pages] == [2, 1]
    found = [one["Name"] for page in s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
             for one in page["Buckets"]]
    assert found == sorted(every + [f"paged-{bucket}-{number}" for number in range(3)])
    for wrong in (0, -1, 10_001):
        caller.refused(400, "InvalidArgument", "GET", f"/?max-buckets={wrong}")


def test_headers_that_proxies_add_do_no_harm(caller, bucket):
    added = {"X-Amz-Cf-Id": "abc", "X-Amzn-Trace-Id": "Root=1", "Via": "1.1 x", "X-Forwarded-Host": "elsewhere"}
    assert caller.call("PUT", f"/{bucket}/k", b"x", after=added)[0] == 200
    assert caller.call("GET", f"/{bucket}/k", after=added) == (200, b"x")


def test_a_signature_is_checked_for_the_host_that_a_trusted_proxy_names(tmp_path):
    with Server(tmp_path, "--trusted-proxies", "127.0.0.0/8") as server:
        keys = Credentials(*(server.data / "s3-credentials").read_text().split())

        def call(host, **headers):
            request = AWSRequest("GET", f"http://{host}/", headers={"Host": host})
            S3SigV4Auth(keys, "s3", "eu-north-1").add_auth(request)
            connection = http.client.HTTPConnection(server.host, server.s3_port, timeout=60)
            sent = {**request.headers, "Host": "10.0.0.7:8852"}
            sent.update({name.replace("_", "-"): value for name, value in headers.items()})
            connection.request("GET", "/", headers=sent)
            answer = connection.getresponse()
            found = answer.status, answer.read()
            connection.close()
            return found

        assert call("s3.example", X_Forwarded_Host="s3.example")[0] == 200
        assert call("s3.example:8443", X_Forwarded_Host="s3.example", X_Forwarded_Port="8443")[0] == 200
        assert call("s3.example", X_Forwarded_Host="s3.example", X_Forwarded_Port="443")[0] == 200
        status, body = call("s3.example", X_Forwarded_Host="<other>")
        assert status == 403 and code_of(body) == "SignatureDoesNotMatch"
        said = ET.fromstring(body).findtext("Message")
        assert "<other>" in said and "eu-north-1" in said
        said = ET.fromstring(call("s3.example")[1]).findtext("Message")
        assert "10.0.0.7:8852" in said


def test_only_trusted_proxies_name_the_host(caller, bucket):
    status, body = caller.call("GET", f"/{bucket}", after={"Host": "elsewhere"})
    assert status == 403 and "elsewhere" in ET.fromstring(body).findtext("Message")
    caller.refused(403, "SignatureDoesNotMatch", "GET", f"/{bucket}",
                   after={"Host": "elsewhere", "X-Forwarded-Host": caller.endpoint.host})


def test_completing_a_multipart_upload_again(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    put = [s3.upload_part(**names, PartNumber=number, Body=bytes([number]) * (5 * MIB)) for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in zip((1, 2), put)]

    def complete(parts, **more):
        return s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts}, **more)["ETag"]

    etag = complete(parts)
    assert complete(parts) == etag
    refused(400, "InvalidPart", complete, parts=parts[:1])
    refused(400, "InvalidPart", complete, parts=[parts[0], {"PartNumber": 2, "ETag": '"0"'}])
    refused(400, "InvalidPart", complete, parts=[*parts, {"PartNumber": 3, "ETag": '"0"'}])
    refused(400, "InvalidPartOrder", complete, parts=parts[::-1])
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == etag
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    refused(404, "NoSuchUpload", complete, parts=parts)


def presigned(endpoint, method, path, **headers):
    request = AWSRequest(method, endpoint.url + path, headers={"Host": endpoint.host, **headers})
    credentials = Credentials(endpoint.access_key, endpoint.secret_key)
    S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=60).add_auth(request)
    return request.url.removeprefix(endpoint.url)


WHOLE = b"0123456789"


def test_ranges_follow_http(caller, endpoint, bucket, s3):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=WHOLE, Metadata={"a": "b"})["ETag"]
    path = f"/{bucket}/k"

    def ask(method, range, **headers):
        signed = {"Range": range, **headers}
        status, found, body = caller.ask(method, path, headers=signed)
        link = presigned(endpoint, method, path)
        assert caller.ask(method, link, sign=None, after=signed)[0] == status
        assert found["x-amz-meta-a"] == "b" or status == 416
        return status, found["Content-Range"], found["Content-Length"], body

    for range, span in (("bytes=0-3", (0, 4)), ("bytes=7-", (7, 10)), ("bytes=-2", (8, 10)), ("bytes=3-99", (3, 10)),
                        ("Bytes=0-3", (0, 4)), ("bytes=3-99999999999999999999", (3, 10))):
        said = (206, f"bytes {span[0]}-{span[1] - 1}/10", str(span[1] - span[0]))
        assert ask("GET", range) == (*said, WHOLE[slice(*span)]), range
        assert ask("HEAD", range) == (*said, b""), range
    for range in ("bytes=0-1,3-4", "items=0-3", "bytes=5-2", "bytes=x", "bytes", "-", "bytes=0-1,", "bytes=--1",
                  "bytes=-", "bytes="):
        assert ask("GET", range) == (200, None, "10", WHOLE), range
        assert ask("HEAD", range)[:3] == (200, None, "10"), range
    for range in ("bytes=10-", "bytes=-0", "bytes=99-100"):
        status, said, _, body = ask("GET", range)
        assert (status, said, code_of(body)) == (416, "bytes */10", "InvalidRange"), range
        assert ask("HEAD", range)[0] == 416
    same = s3.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]["last-modified"]
    for known in (etag, same):
        assert ask("GET", "bytes=1-2", **{"If-Range": known})[3] == WHOLE[1:3]
    for known in ('"0"', f"W/{etag}", "Fri, 01 Jan 2021 00:00:00 GMT"):
        assert ask("GET", "bytes=1-2", **{"If-Range": known}) == (200, None, "10", WHOLE), known
        assert ask("GET", "bytes=99-", **{"If-Range": known})[0] == 200


def test_an_empty_object_has_no_range(caller, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    for range in ("bytes=-1", "bytes=0-", "bytes=0-0"):
        caller.refused(416, "InvalidRange", "GET", f"/{bucket}/k", headers={"Range": range})
    assert caller.call("GET", f"/{bucket}/k", headers={"Range": "bytes=x"}) == (200, b"")


def test_a_read_with_an_odd_range_needs_a_valid_signature(caller, endpoint, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=WHOLE)
    path, odd = f"/{bucket}/k", {"Range": "bytes=0-1,3-4"}
    caller.refused(403, "AccessDenied", "GET", path, sign=None, after=odd)
    caller.refused(403, "SignatureDoesNotMatch", "GET", path, headers=odd, secret="wrong")
    caller.refused(404, "NoSuchKey", "GET", f"/{bucket}/other", headers=odd)
    assert caller.call("GET", presigned(endpoint, "GET", path), sign=None, after=odd) == (200, WHOLE)
    caller.refused(403, "SignatureDoesNotMatch", "GET", presigned(endpoint, "GET", path)[:-4] + "0000", sign=None, after=odd)
