"""Invalid requests are rejected with S3's error for them, and leave nothing behind."""

import base64
import hashlib
import time
import urllib.parse
import zlib
from datetime import datetime, timedelta, timezone

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from harness.signed import EMPTY, chunked, code_of


@pytest.fixture(autouse=True)
def alive_and_clean(server, s3, bucket):
    """Checks after every test that the server runs, that the bucket holds only what the test put, and that no panic was logged."""
    yield
    assert server.process.poll() is None
    assert "panicked" not in server.log.read_text()


def keys(s3, bucket):
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_signatures(caller, bucket, s3):
    path = f"/{bucket}/k"
    caller.refused(403, "SignatureDoesNotMatch", "PUT", path, b"x", secret="wrong")
    caller.refused(403, "AccessDenied", "PUT", path, b"x", sign=None)
    caller.refused(403, "SignatureDoesNotMatch", "PUT", path, b"x", after={"X-Amz-Date": "20200101T000000Z"})
    old = {"Authorization": "AWS key:c2lnbmF0dXJl", "Date": "Tue, 27 Mar 2007 19:36:42 +0000"}
    caller.refused(400, "InvalidRequest", "PUT", path, b"x", sign=None, after=old)
    caller.refused(400, "InvalidRequest", "GET", path + "?AWSAccessKeyId=a&Expires=9999999999&Signature=b", sign=None)
    caller.refused(400, "AuthorizationHeaderMalformed", "GET", path, sign=SigV4Auth, service="sts",
                   headers={"x-amz-content-sha256": EMPTY})
    caller.refused(403, "AccessDenied", "PUT", path, after={"x-amz-copy-source": f"{bucket}/other"})
    caller.refused(403, "AccessDenied", "PUT", path, b"x", after={"x-amz-security-token": "token"})
    assert keys(s3, bucket) == []


def test_clock_skew(caller, bucket, monkeypatch):
    for minutes in (-20, 20):
        moment = datetime.now(timezone.utc) + timedelta(minutes=minutes)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: moment.replace(tzinfo=None))
        caller.refused(403, "RequestTimeTooSkewed", "GET", f"/{bucket}?list-type=2")


def test_presigned_urls_expire(caller, bucket, endpoint, monkeypatch):
    def url(expires, moment):
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: moment)
        request = AWSRequest("GET", f"{endpoint.url}/{bucket}/k", headers={"Host": endpoint.host})
        credentials = Credentials(endpoint.access_key, endpoint.secret_key)
        S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=expires).add_auth(request)
        return request.url.removeprefix(endpoint.url)

    now = datetime.now(timezone.utc).replace(tzinfo=None)
    caller.refused(404, "NoSuchKey", "GET", url(60, now), sign=None)
    caller.refused(403, "AccessDenied", "GET", url(60, now - timedelta(seconds=90)), sign=None)
    caller.refused(400, "AuthorizationQueryParametersError", "GET", url(604_801, now), sign=None)


def test_bodies_that_contradict_their_headers(caller, bucket, s3):
    path = f"/{bucket}/k"
    wrong = base64.b64encode(bytes(16)).decode()
    caller.refused(400, "BadDigest", "PUT", path, b"x", headers={"Content-MD5": wrong})
    caller.refused(400, "InvalidDigest", "PUT", path, b"x", headers={"Content-MD5": "short"})
    caller.refused(400, "XAmzContentSHA256Mismatch", "PUT", path, b"x", claimed=EMPTY)
    large = bytes(300_000)
    caller.refused(400, "XAmzContentSHA256Mismatch", "PUT", path, large, claimed=EMPTY)
    caller.refused(400, "BadDigest", "PUT", path, large, headers={"Content-MD5": wrong})
    caller.refused(400, "BadDigest", "PUT", path, large, headers={"x-amz-checksum-crc32": "AAAAAA=="})
    delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
    caller.refused(400, "BadDigest", "POST", f"/{bucket}?delete", delete, headers={"Content-MD5": wrong})
    for size in (10, 300_000):
        status, body = caller.call("PUT", path, bytes(size), length=size + 5)
        assert (status, code_of(body)) == (400, "IncompleteBody")
    assert keys(s3, bucket) == []


def test_bodies_in_chunks(caller, bucket, s3):
    path, data = f"/{bucket}/k", bytes(range(256)) * 20_000
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    headers = {
        "x-amz-decoded-content-length": str(len(data)),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "Content-Encoding": "aws-chunked",
    }
    trailer = b"x-amz-checksum-crc32:" + crc + b"\r\n"
    how = {"headers": headers, "claimed": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
    # One chunk, far larger than the server would hold in memory.
    assert caller.call("PUT", path, chunked(data, trailer=trailer), **how)[0] == 200
    found = s3.get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == data and "ContentEncoding" not in found
    s3.delete_object(Bucket=bucket, Key="k")
    caller.refused(400, "BadDigest", "PUT", path, chunked(data, trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n"), **how)
    caller.refused(400, "InvalidRequest", "PUT", path, chunked(data), **how)
    for body in (chunked(data[:-1], trailer=trailer), chunked(data, b"x", trailer=trailer), b"zz\r\n" + data[:99]):
        caller.refused(400, "IncompleteBody", "PUT", path, body, **how)
    assert keys(s3, bucket) == []


class Streamed(S3SigV4Auth):
    """Signs the headers of a body whose chunks have signatures of their own, and keeps the seed signature of those."""

    def __init__(self, trailer, *arguments):
        super().__init__(*arguments)
        self.trailer = trailer

    def payload(self, _):
        return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if self.trailer else "")

    def sign_chunk(self, request, kind, *words):
        scope = self.credential_scope(request)
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", request.context["timestamp"], scope, self.last, *words])
        self.last = self.signature(text, request)
        return self.last.encode()


def put_signed(caller, path, chunks, trailer=b"", wrong=None, ends=True, spell=b"%x", length=None):
    """Puts signed chunks; chunk number `wrong` gets a wrong signature."""
    endpoint, empty = caller.endpoint, hashlib.sha256(b"").hexdigest()
    signer = Streamed(trailer, Credentials(endpoint.access_key, endpoint.secret_key), "s3", "us-east-1")
    size = sum(map(len, chunks)) if length is None else length
    headers = {"Host": endpoint.host, "x-amz-decoded-content-length": str(size), "Content-Encoding": "aws-chunked"}
    if trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    request = AWSRequest("PUT", endpoint.url + path, data=b"", headers=headers)
    signer.add_auth(request)
    signer.last = request.headers["Authorization"].rpartition("=")[2]
    body = b""
    for number, chunk in enumerate([*chunks, b""] if ends else chunks):
        signature = signer.sign_chunk(request, "PAYLOAD", empty, hashlib.sha256(chunk).hexdigest())
        signature = b"0" * 64 if number == wrong else signature
        body += (spell if chunk else b"%x") % len(chunk) + b";chunk-signature=" + signature + b"\r\n" + chunk
        body += b"" if trailer and not chunk else b"\r\n"
    if trailer:
        line = b"x-amz-checksum-crc32:" + trailer
        signature = signer.sign_chunk(request, "TRAILER", hashlib.sha256(line + b"\n").hexdigest())
        signature = b"0" * 64 if wrong == "trailer" else signature
        body += line + b"\r\nx-amz-trailer-signature:" + signature + b"\r\n\r\n"
    return caller.call("PUT", path, body, sign=None, after=dict(request.headers))


def test_signed_chunks(caller, bucket, s3):
    path, chunks = f"/{bucket}/k", [b"a" * 65_536, b"b" * 65_536, b"c" * 100]
    crc = base64.b64encode(zlib.crc32(b"".join(chunks)).to_bytes(4, "big"))
    for trailer in (b"", crc):
        assert put_signed(caller, path, chunks, trailer) == (200, b"")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"".join(chunks)
        s3.delete_object(Bucket=bucket, Key="k")

    def refused(status, code, **options):
        found, body = put_signed(caller, path, chunks, **options)
        assert (found, code_of(body)) == (status, code), (options, body)

    for number in range(4):
        refused(403, "SignatureDoesNotMatch", wrong=number)
    refused(403, "SignatureDoesNotMatch", trailer=crc, wrong="trailer")
    refused(400, "BadDigest", trailer=b"AAAAAA==")
    refused(400, "IncompleteBody", ends=False)
    for spell in (b"-%x", b"+%x", b"0x%x", b"%xz", b"%09x", b"%x\r"):
        refused(400, "IncompleteBody", spell=spell)
    for length in (10, 131_173):
        refused(400, "IncompleteBody", length=length)
    refused(400, "InvalidRequest", length=10**20)
    assert keys(s3, bucket) == []


def test_a_chunk_whose_size_cannot_be_parsed_is_not_buffered(caller, bucket, s3, server):
    headers = {"x-amz-decoded-content-length": str(100 << 20), "x-amz-trailer": "x-amz-checksum-crc32"}
    server.wait_until_idle(0.3)
    idle = server.reset_peak()
    for size in (b"200000000", b"8000000z"):
        caller.refused(400, "IncompleteBody", "PUT", f"/{bucket}/k", size + b"\r\n" + bytes(100 << 20),
                       headers=headers, claimed="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert server.peak() - idle < 64 << 20
    assert keys(s3, bucket) == []


def test_keys_are_not_paths(s3, bucket, server, endpoint, caller):
    names = ["..", "../../etc/passwd", "/", "//", "a", "A", "a/", "a/b", "a//b", "%2e%2e", "%00", "é", "e\u0301"]
    names += [".", "./x", "x" * 1024, "\u4e2d" * 341, "+ &=?#"]
    for name in names:
        status, body = caller.call("PUT", f"/{bucket}/{urllib.parse.quote(name)}", name.encode())
        assert status == 200, (name, body)
    assert keys(s3, bucket) == sorted(names, key=str.encode)
    for name in names:
        assert caller.call("GET", f"/{bucket}/{urllib.parse.quote(name)}")[1] == name.encode()
    for path in (f"/{bucket}/" + "x" * 1025, f"/{bucket}/" + urllib.parse.quote("\u4e2d" * 342)):
        caller.refused(400, "KeyTooLongError", "PUT", path, b"x")
    caller.refused(400, "InvalidURI", "PUT", f"/{bucket}/%ff", b"x")
    for name in ("..", "a.", "A-bucket", "x" * 64, "1.2.3.4", "b%2Fc%2Fd"):
        status, body = caller.call("PUT", f"/{name}")
        assert status == 400 and code_of(body) in ("InvalidBucketName", "InvalidURI"), (name, body)
    inside = {path.parent.parent.name for path in server.data.rglob("*") if path.is_file()}
    assert not any("passwd" in path for path in map(str, server.folder.rglob("*"))), inside


def test_documents(caller, bucket):
    delete = f"/{bucket}?delete"
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    caller.refused(400, "MalformedXML", "POST", delete, bomb)
    for document in (b"", b"<", b"<Delete>", b"<Delete><Object></Object></Delete>", b"\xff\xfe", b"<a>" * 200_000):
        status, body = caller.call("POST", delete, document)
        assert 400 <= status < 500 and code_of(body), (document[:20], status, body)
    many = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1_001 + b"</Delete>"
    caller.refused(400, "MalformedXML", "POST", delete, many)
    caller.refused(400, "MaxMessageLengthExceeded", "POST", delete, b" ", length=9_000_000)
    caller.refused(400, "MaxMessageLengthExceeded", "POST", delete, bytes(10_000_000))
    for text in (b"<!doctype x []>", b"<!--", b"<!ENTITY"):
        caller.refused(400, "MalformedXML", "POST", delete, text + b"<Delete><Object><Key>k</Key></Object></Delete>")
    caller.refused(400, "MalformedXML", "POST", delete, b"<Delete><Object><Key><![CDATA[k]]></Key></Object></Delete>")
    for key in (b"", b"k" * 1_025):
        document = b"<Delete><Object><Key>" + key + b"</Key></Object></Delete>"
        status, body = caller.call("POST", delete, document)
        assert status == 200 and b"<Code>KeyTooLongError</Code>" in body and b"<Deleted>" not in body
    caller.refused(400, "MalformedXML", "PUT", "/another", b"<CreateBucketConfiguration>" + b"<a>" * 100_000)


def test_unsupported_operations_are_refused(caller, bucket):
    path = f"/{bucket}/k"
    caller.refused(501, "NotImplemented", "PUT", path, b"x", headers={"x-amz-tagging": "a=b"})
    caller.refused(501, "NotImplemented", "PUT", path, b"x", headers={"x-amz-server-side-encryption": "AES256"})
    caller.refused(501, "NotImplemented", "GET", f"/{bucket}?policy")
    for query in ("partNumber=1", "uploadId=u"):
        caller.refused(400, "InvalidArgument", "PUT", f"{path}?{query}", b"x")
    caller.refused(400, "MetadataTooLarge", "PUT", path, b"x", headers={"x-amz-meta-a": "a" * 2_048})
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    caller.refused(405, "MethodNotAllowed", "POST", f"/{bucket}", b"--x--", headers=form, sign=None)


def test_interrupted_uploads_leave_nothing(server, bucket, caller):
    before = server.payload_files()
    caller.call("PUT", f"/{bucket}/k", bytes(5_000_000), length=6_000_000)
    deadline = time.monotonic() + 60
    while server.payload_files() != before:
        assert time.monotonic() < deadline, server.payload_files()
        time.sleep(0.05)
