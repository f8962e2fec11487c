"""Bodies in chunks (`aws-chunked`) are decoded, whatever header announces them; the framing of a chunk is never stored."""

import base64
import hashlib
import zlib

import pytest
from harness.signed import chunked

DATA = bytes(range(256)) * 400
UNSIGNED = "UNSIGNED-PAYLOAD"
LENGTH = {"x-amz-decoded-content-length": str(len(DATA))}
SIGNED = b"%x;chunk-signature=%b\r\n%b\r\n0;chunk-signature=%b\r\n\r\n" % (len(DATA), b"0" * 64, DATA, b"0" * 64)


def crc_of(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))


@pytest.mark.parametrize("coding", ["aws-chunked", "AWS-CHUNKED", "Aws-Chunked ,gzip", "gzip, br,aws-chunked", None])
@pytest.mark.parametrize("claimed", [UNSIGNED, "hash"])
def test_announced_chunks_are_decoded(caller, bucket, s3, coding, claimed):
    headers = {**LENGTH, **({"Content-Encoding": coding} if coding else {})}
    for body in (chunked(DATA), chunked(DATA[:5], DATA[5:]), SIGNED):
        how = {"headers": headers, "claimed": hashlib.sha256(body).hexdigest() if claimed == "hash" else claimed}
        status, answer = caller.call("PUT", f"/{bucket}/k", body, **how)
        assert status == 200, answer
        found = s3.get_object(Bucket=bucket, Key="k")
        assert found["Body"].read() == DATA and found["ETag"] == f'"{hashlib.md5(DATA).hexdigest()}"'
        rest = (coding or "").lower().replace("aws-chunked", "").strip(" ,")
        assert found.get("ContentEncoding", "") == rest


def test_a_part_in_chunks_is_decoded(caller, bucket, s3):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    headers = {**LENGTH, "Content-Encoding": "aws-chunked"}
    path = f"/{bucket}/k?partNumber=1&uploadId={upload}"
    assert caller.call("PUT", path, chunked(DATA), headers=headers, claimed=UNSIGNED)[0] == 200
    parts = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]
    assert [(part["Size"], part["ETag"]) for part in parts] == [(len(DATA), f'"{hashlib.md5(DATA).hexdigest()}"')]


def test_a_checksum_after_the_chunks_is_verified(caller, bucket):
    headers = {**LENGTH, "Content-Encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32"}
    how = {"headers": headers, "claimed": UNSIGNED}
    path = f"/{bucket}/k"
    good = chunked(DATA, trailer=b"x-amz-checksum-crc32:" + crc_of(DATA) + b"\r\n")
    assert caller.call("PUT", path, good, **how)[0] == 200
    bad = chunked(DATA, trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n")
    caller.refused(400, "BadDigest", "PUT", path, bad, **how)
    caller.refused(400, "InvalidRequest", "PUT", path, chunked(DATA), **how)


def test_chunks_that_are_not_as_announced_are_refused(caller, bucket, s3):
    path, coding = f"/{bucket}/k", {"Content-Encoding": "aws-chunked"}
    for length in (len(DATA) - 1, len(DATA) + 1, 0):
        headers = {**coding, "x-amz-decoded-content-length": str(length)}
        caller.refused(400, "IncompleteBody", "PUT", path, chunked(DATA), headers=headers, claimed=UNSIGNED)
    for body in (DATA, chunked(DATA)[:-6], b"zz\r\n" + DATA):
        caller.refused(400, "IncompleteBody", "PUT", path, body, headers={**coding, **LENGTH}, claimed=UNSIGNED)
    for length in ("+5", "5x", ""):
        headers = {**coding, "x-amz-decoded-content-length": length}
        caller.refused(400, "InvalidRequest", "PUT", path, chunked(b"12345"), headers=headers, claimed=UNSIGNED)
    caller.refused(411, "MissingContentLength", "PUT", path, chunked(DATA), headers=coding, claimed=UNSIGNED)
    wrong = hashlib.sha256(DATA).hexdigest()
    caller.refused(400, "XAmzContentSHA256Mismatch", "PUT", path, chunked(DATA), headers={**coding, **LENGTH}, claimed=wrong)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

@pytest.mark.parametrize("claimed", [UNSIGNED, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_checksum_behind_the_chunks_is_there_once_and_announced(caller, bucket, s3, claimed):
    coding = {**LENGTH, "Content-Encoding": "aws-chunked"}
    announced = {**coding, "x-amz-trailer": "x-amz-checksum-crc32"}
    good = b"x-amz-checksum-crc32:" + crc_of(DATA) + b"\r\n"
    other = b"x-amz-checksum-sha1:" + base64.b64encode(hashlib.sha1(DATA).digest()) + b"\r\n"
    for headers, trailer in ((announced, good + good), (announced, good + b"X-Amz-Checksum-CRC32:AAAAAA==\r\n"),
                             (announced, good + other), (announced, other), (coding, good)):
        body = chunked(DATA, trailer=trailer)
        status, answer = caller.call("PUT", f"/{bucket}/k", body, headers=headers, claimed=claimed)
        assert status == 400, (trailer, answer)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert caller.call("PUT", f"/{bucket}/k", chunked(DATA, trailer=good), headers=announced, claimed=claimed)[0] == 200
