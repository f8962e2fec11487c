"""The endpoint through `boto3`."""

import base64
import hashlib
import io
import random
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

MIB = 1 << 20


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value.response
    return error.value.response


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


def keys_of(s3, bucket, **query):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **query)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def test_an_object_is_returned_as_it_was_put(s3, bucket):
    body = data(100_000)
    put = s3.put_object(
        Bucket=bucket,
        Key="a key/ü",
        Body=body,
        ContentType="text/plain",
        CacheControl="no-store",
        Metadata={"hash-count": "3", "Mixed": "Case kept"},
    )
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    found = s3.get_object(Bucket=bucket, Key="a key/ü")
    assert found["Body"].read() == body
    assert found["Metadata"] == {"hash-count": "3", "mixed": "Case kept"}
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain", "no-store")
    assert s3.head_object(Bucket=bucket, Key="a key/ü")["ContentLength"] == len(body)
    s3.delete_object(Bucket=bucket, Key="a key/ü")
    s3.delete_object(Bucket=bucket, Key="a key/ü")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="a key/ü")


def test_ranges_and_conditions(s3, bucket):
    body = data(1_000_000)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=body)["ETag"]

    def part(asked):
        found = s3.get_object(Bucket=bucket, Key="k", Range=asked)
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
        return found["ContentRange"], found["Body"].read()

    assert part("bytes=0-0") == ("bytes 0-0/1000000", body[:1])
    assert part("bytes=999990-") == ("bytes 999990-999999/1000000", body[-10:])
    assert part("bytes=-7") == ("bytes 999993-999999/1000000", body[-7:])
    assert part("bytes=524280-524300")[1] == body[524_280:524_301]
    refused("InvalidRange", s3.get_object, Bucket=bucket, Key="k", Range="bytes=1000000-")
    s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read()
    refused("PreconditionFailed", s3.get_object, Bucket=bucket, Key="k", IfMatch='"0"')
    refused("304", s3.head_object, Bucket=bucket, Key="k", IfNoneMatch=etag)
    refused("304", s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag)
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"", IfNoneMatch="*")


def test_a_multipart_upload_of_200_mib_in_bounded_memory(s3, bucket, server):
    body = data(8 * MIB) * 25
    server.wait_until_idle(0.3)
    idle = server.reset_peak()
    config = TransferConfig(multipart_chunksize=8 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(body), bucket, "large", Config=config)
    found = s3.head_object(Bucket=bucket, Key="large")
    assert found["ContentLength"] == len(body) and found["ETag"].endswith('-25"')
    target = io.BytesIO()
    s3.download_fileobj(bucket, "large", target, Config=config)
    assert target.getvalue() == body
    assert server.peak() - idle < 64 * MIB
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "large"})
    assert copied["CopyObjectResult"]["ETag"] == found["ETag"]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "large"}, {"Key": "copy"}]})


def test_a_single_put_in_bounded_memory(s3, bucket, server):
    body = data(MIB) * 300
    server.wait_until_idle(0.3)
    idle = server.reset_peak()
    put = s3.put_object(Bucket=bucket, Key="single", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    for chunk in s3.get_object(Bucket=bucket, Key="single")["Body"].iter_chunks(MIB):
        assert chunk
    assert server.peak() - idle < 64 * MIB
    s3.delete_object(Bucket=bucket, Key="single")


def test_parts_in_any_order_copies_of_parts_and_listings_of_uploads(s3, bucket):
    source = data(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=source)
    upload = {"Bucket": bucket, "Key": "target"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, Metadata={"a": "b"})["UploadId"]
    last = s3.upload_part(**upload, PartNumber=7, Body=b"end")
    copied = s3.upload_part_copy(
        **upload, PartNumber=2, CopySource={"Bucket": bucket, "Key": "source"}, CopySourceRange="bytes=1-5242880"
    )
    s3.upload_part(**upload, PartNumber=5, Body=b"not used")
    listed = s3.list_parts(**upload, MaxParts=2)
    assert [part["PartNumber"] for part in listed["Parts"]] == [2, 5] and listed["IsTruncated"]
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in uploads] == [("target", upload["UploadId"])]
    parts = [
        {"PartNumber": 2, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 7, "ETag": last["ETag"]},
    ]
    refused("InvalidPartOrder", s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts[::-1]})
    wrong = [{**parts[0], "ETag": last["ETag"]}, parts[1]]
    refused("InvalidPart", s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": wrong})
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"] == done["ETag"]
    found = s3.get_object(Bucket=bucket, Key="target")
    assert found["Body"].read() == source[1:5_242_881] + b"end" and found["Metadata"] == {"a": "b"}
    assert s3.get_object(Bucket=bucket, Key="target", PartNumber=2)["Body"].read() == b"end"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_multipart_uploads_are_listed_with_a_delimiter(s3, bucket, size):
    keys = ["a", "a/1", "a/2", "a/2", "b/c/d", "b/e", "b/e/f", "c", "c/"]
    started = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in keys]

    def listed(**query):
        uploads, prefixes = [], []
        for page in s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}, **query
        ):
            found = page.get("Uploads", []) + page.get("CommonPrefixes", [])
            assert len(found) <= size and len(found) == size or not page["IsTruncated"]
            uploads += [(one["Key"], one["UploadId"]) for one in page.get("Uploads", [])]
            prefixes += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        return uploads, prefixes

    uploads, prefixes = listed(Delimiter="/")
    assert sorted(uploads) == sorted(one for one in started if "/" not in one[0])
    assert prefixes == ["a/", "b/", "c/"]
    uploads, prefixes = listed(Delimiter="/", Prefix="b/")
    assert uploads == [one for one in started if one[0] == "b/e"] and prefixes == ["b/c/", "b/e/"]
    uploads, prefixes = listed()
    assert sorted(uploads) == sorted(started) and prefixes == []
    for key, upload in started:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


def test_parts_that_are_too_small_and_uploads_that_are_aborted(s3, bucket):
    upload = {"Bucket": bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=b"x")["ETag"]}
        for number in (1, 2)
    ]
    refused("EntityTooSmall", s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})
    refused("InvalidArgument", s3.upload_part, **upload, PartNumber=10_001, Body=b"x")
    s3.abort_multipart_upload(**upload)
    refused("NoSuchUpload", s3.upload_part, **upload, PartNumber=1, Body=b"x")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")


def test_ten_thousand_keys_in_pages(s3, bucket, endpoint):
    keys = [f"{number % 10}/{number:05}" for number in range(10_000)]
    client = endpoint.minio()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(bucket, key, io.BytesIO(b"x"), 1), keys))
    assert keys_of(s3, bucket) == sorted(keys)
    assert keys_of(s3, bucket, Prefix="3/0", PaginationConfig={"PageSize": 7}) == sorted(
        key for key in keys if key.startswith("3/0")
    )
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 3}
        )
    )
    assert [one["Prefix"] for page in pages for one in page["CommonPrefixes"]] == [f"{n}/" for n in range(10)]
    assert len(pages) == 4 and not any("Contents" in page for page in pages)
    first = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=4)
    rest = s3.list_objects(Bucket=bucket, Delimiter="/", Marker=first["NextMarker"])
    assert [one["Prefix"] for one in rest["CommonPrefixes"]] == [f"{n}/" for n in range(4, 10)]
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="9/09989")
    assert [one["Key"] for one in after["Contents"]] == ["9/09999"]
    for at in range(0, 10_000, 1_000):
        named = [{"Key": key} for key in keys[at : at + 1_000]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
    assert keys_of(s3, bucket) == []
    s3.delete_bucket(Bucket=bucket)
    refused("NoSuchBucket", s3.list_objects_v2, Bucket=bucket)


def test_presigned_urls(s3, bucket):
    where = {"Bucket": bucket, "Key": "a key"}
    url = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    assert requests.put(url, data=b"content", timeout=60).status_code == 200
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert requests.get(url, timeout=60).content == b"content"
    assert requests.get(url, headers={"Range": "bytes=1-3"}, timeout=60).content == b"ont"
    assert requests.put(url, data=b"other", timeout=60).status_code == 403
    changed = url.replace("a%20key", "another")
    assert "SignatureDoesNotMatch" in requests.get(changed, timeout=60).text


def test_checksums_are_kept_and_verified(s3, bucket):
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        put = s3.put_object(Bucket=bucket, Key=algorithm, Body=b"body", ChecksumAlgorithm=algorithm)
        found = s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert found["Body"].read() == b"body"
        assert found[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    refused("BadDigest", s3.put_object, Bucket=bucket, Key="k", Body=b"body", ChecksumCRC32="AAAAAA==")
    refused("InvalidRequest", s3.put_object, Bucket=bucket, Key="k", Body=b"body", ChecksumCRC32="AAAA")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")


def test_copies(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"body", Metadata={"a": "1"}, ContentType="text/x")
    source = {"Bucket": bucket, "Key": "from"}
    s3.copy_object(Bucket=bucket, Key="to", CopySource=source)
    assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"a": "1"}
    s3.copy_object(
        Bucket=bucket, Key="from", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE"
    )
    found = s3.get_object(Bucket=bucket, Key="from")
    assert (found["Metadata"], found["Body"].read()) == ({"b": "2"}, b"body")
    refused("InvalidRequest", s3.copy_object, Bucket=bucket, Key="from", CopySource=source)
    refused("NoSuchKey", s3.copy_object, Bucket=bucket, Key="to", CopySource={**source, "Key": "none"})
    refused(
        "PreconditionFailed", s3.copy_object, Bucket=bucket, Key="to", CopySource=source, CopySourceIfMatch='"0"'
    )


def test_a_copy_may_have_conditions(s3, bucket, endpoint):
    source = {"Bucket": bucket, "Key": "from"}
    etag = s3.put_object(**source, Body=b"new")["ETag"]
    s3.put_object(Bucket=bucket, Key="to", Body=b"old")

    def copy(**headers):
        def add(request, **_):
            for name, value in headers.items():
                request.headers[name.replace("_", "-")] = value

        client = endpoint.client()
        client.meta.events.register("before-sign.s3.CopyObject", add)
        return client.copy_object(Bucket=bucket, Key="to", CopySource=source, TaggingDirective="COPY")

    for headers in ({"If_None_Match": "*"}, {"If_Match": '"0"'}):
        refused("PreconditionFailed", copy, **headers)
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"old"
    copy(If_Match=s3.head_object(Bucket=bucket, Key="to")["ETag"])
    assert s3.head_object(Bucket=bucket, Key="to")["ETag"] == etag
    assert s3.get_object_tagging(Bucket=bucket, Key="to")["TagSet"] == []
    refused("NoSuchKey", s3.get_object_tagging, Bucket=bucket, Key="none")


def test_object_headers_are_returned(s3, bucket):
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    said = {
        "ContentType": "text/x",
        "CacheControl": "max-age=1",
        "ContentDisposition": 'attachment; filename="a b"',
        "ContentEncoding": "x-own",
        "ContentLanguage": "de, en",
    }
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where, **said, Expires=moment, Metadata={"name": "=?UTF-8?B?w7w=?="})
    part = s3.upload_part(**where, UploadId=upload["UploadId"], PartNumber=1, Body=b"body")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**where, UploadId=upload["UploadId"], MultipartUpload=parts)
    for found in (s3.head_object(**where), s3.get_object(**where)):
        assert {name: found[name] for name in said} == said
        assert found["Metadata"] == {"name": "=?UTF-8?B?w7w=?="}
        assert found["ResponseMetadata"]["HTTPHeaders"]["expires"] == "Wed, 02 Jan 2030 03:04:05 GMT"
    for modified, method in ((moment, "304"), (moment.replace(year=2020), None)):
        for call in (s3.get_object, s3.head_object):
            if method:
                refused(method, call, **where, IfModifiedSince=modified)
                call(**where, IfUnmodifiedSince=modified)
            else:
                call(**where, IfModifiedSince=modified)
                code = "PreconditionFailed" if call == s3.get_object else "412"
                refused(code, call, **where, IfUnmodifiedSince=modified)
    other = {"ResponseContentType": "a/b", "ResponseContentDisposition": "inline", "ResponseCacheControl": "no-store"}
    url = s3.generate_presigned_url("get_object", Params={**where, **other})
    headers = requests.get(url, timeout=60).headers
    assert (headers["Content-Type"], headers["Content-Disposition"]) == ("a/b", "inline")


# The checksums of 5 MiB of zeros, of "end", and of both together.
CHECKSUMS = {
    ("CRC32C", "FULL_OBJECT"): ("zqsFQg==", "r8FdIg==", "QSFoDg=="),
    ("CRC32C", "COMPOSITE"): ("zqsFQg==", "r8FdIg==", "NXbvPA==-2"),
    ("CRC64NVME", "FULL_OBJECT"): ("vqf3hRLTlJw=", "cV9X7acObTw=", "F3BhfK1HZ0E="),
}


def test_checksums_of_multipart_uploads(s3, bucket):
    zeros = bytes(5 * MIB)
    expected = dict(CHECKSUMS)
    for kind, full in (("COMPOSITE", None), ("FULL_OBJECT", zlib.crc32(zeros + b"end").to_bytes(4, "big"))):
        sums = [zlib.crc32(part).to_bytes(4, "big") for part in (zeros, b"end")]
        whole = full or zlib.crc32(b"".join(sums)).to_bytes(4, "big")
        texts = [base64.b64encode(one).decode() for one in (*sums, whole)]
        expected["CRC32", kind] = (*texts[:2], texts[2] + ("" if full else "-2"))
    sums = [hashlib.sha256(part).digest() for part in (zeros, b"end")]
    sums.append(hashlib.sha256(b"".join(sums)).digest())
    texts = [base64.b64encode(one).decode() for one in sums]
    expected["SHA256", "COMPOSITE"] = (*texts[:2], texts[2] + "-2")
    for (algorithm, kind), (first, last, whole) in expected.items():
        where, name = {"Bucket": bucket, "Key": algorithm}, f"Checksum{algorithm}"
        started = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm, ChecksumType=kind)
        where["UploadId"] = started["UploadId"]
        parts = []
        for number, body, checksum in ((2, b"end", last), (1, zeros, first)):
            put = s3.upload_part(**where, PartNumber=number, Body=body, **{name: checksum})
            assert put[name] == checksum
            parts.insert(0, {"PartNumber": number, "ETag": put["ETag"], name: checksum})
        refused("BadDigest", s3.upload_part, **where, PartNumber=1, Body=b"other", **{name: first})
        done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        assert (done[name], done["ChecksumType"]) == (whole, kind)
        found = s3.head_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert (found[name], found["ChecksumType"]) == (whole, kind)


def test_buckets(s3, bucket):
    assert bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=bucket)
    refused("404", s3.head_bucket, Bucket="no-such-bucket")
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
