"""ListObjectVersions, GetObjectAttributes, parts by number, and checksums, as current SDKs use them."""

import base64
import hashlib
import zlib

import boto3
import pytest
from botocore.exceptions import ClientError

MIB = 1 << 20
DATA = bytes(range(256)) * 100
SUMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
# The published check values: the checksums of the text 123456789.
CHECKS = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}
CHECKS = {name: base64.b64encode(bytes.fromhex(sum)).decode() for name, sum in CHECKS.items()}
COMPOSITE = ["CRC32", "CRC32C", "SHA1", "SHA256"]
FULL = ["CRC32", "CRC32C", "CRC64NVME"]


def refused(status, code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code), response


def field(algorithm):
    return f"Checksum{algorithm}"


def wrong(algorithm):
    size = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}[algorithm]
    return base64.b64encode(b"\x07" * size).decode()


def test_versions_of_a_bucket_without_them(s3, bucket):
    for key in ("a/1", "a/2", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    found = s3.list_object_versions(Bucket=bucket)
    assert [one["Key"] for one in found["Versions"]] == ["a/1", "a/2", "b", "c"]
    for one in found["Versions"]:
        assert (one["VersionId"], one["IsLatest"], one["StorageClass"]) == ("null", True, "STANDARD")
        assert one["ETag"] == f'"{hashlib.md5(one["Key"].encode()).hexdigest()}"' and one["Size"] == len(one["Key"])
    assert "DeleteMarkers" not in found and not found["IsTruncated"]
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}))
    assert [one["Key"] for page in pages for one in page["Versions"]] == ["a/1", "a/2", "b", "c"]
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
    names = [one.get("Key") or one["Prefix"] for page in pages
             for one in page.get("Versions", []) + page.get("CommonPrefixes", [])]
    assert names == ["a/", "b", "c"]
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    refused(400, "InvalidArgument", s3.list_object_versions, Bucket=bucket, VersionIdMarker="null")


def test_a_bucket_is_emptied_by_its_versions(endpoint, s3, bucket):
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=str(number), Body=b"")
    resource = boto3.resource("s3", endpoint_url=endpoint.url, region_name="us-east-1",
                              aws_access_key_id=endpoint.access_key, aws_secret_access_key=endpoint.secret_key)
    deleted = resource.Bucket(bucket).object_versions.delete()
    assert {(one["Key"], one["VersionId"]) for one in deleted[0]["Deleted"]} == {(str(n), "null") for n in range(5)}
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("algorithm", SUMS)
def test_a_checksum_that_does_not_match_is_a_bad_digest(s3, bucket, algorithm):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"123456789", **{field(algorithm): CHECKS[algorithm]})
    assert put["ChecksumType"] == "FULL_OBJECT"
    refused(400, "BadDigest", s3.put_object, Bucket=bucket, Key="k", Body=b"x", **{field(algorithm): wrong(algorithm)})
    refused(400, "InvalidRequest", s3.put_object, Bucket=bucket, Key="k", Body=b"x", **{field(algorithm): "AAAA"})
    found = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (found[field(algorithm)], found["ChecksumType"]) == (put[field(algorithm)], "FULL_OBJECT")


def test_an_unknown_checksum_algorithm_is_refused(caller, bucket, s3):
    for name in ("x-amz-checksum-md6", "x-amz-checksum-xxhash128", "x-amz-checksum-"):
        caller.refused(400, "InvalidRequest", "PUT", f"/{bucket}/k", b"x", headers={name: "AAAAAA=="})
    headers = {"x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-checksum-md6"}
    body = b"1\r\nx\r\n0\r\nx-amz-checksum-md6:AA==\r\n\r\n"
    caller.refused(400, "InvalidRequest", "PUT", f"/{bucket}/k", body, headers=headers,
                   claimed="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


class Parts:
    """A multipart upload with checksums."""

    def __init__(self, s3, bucket, algorithm=None, kind=None):
        self.s3, self.names = s3, {"Bucket": bucket, "Key": "k"}
        asked = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
        self.begun = s3.create_multipart_upload(**self.names, **{name: one for name, one in asked.items() if one})
        self.names["UploadId"] = self.begun["UploadId"]
        self.parts = []

    def put(self, number, body, **more):
        part = self.s3.upload_part(**self.names, PartNumber=number, Body=body, **more)
        kept = {name: one for name, one in part.items() if name == "ETag" or name.startswith("Checksum")}
        self.parts.append({"PartNumber": number, **kept})
        return part

    def complete(self, **more):
        return self.s3.complete_multipart_upload(**self.names, MultipartUpload={"Parts": self.parts}, **more)


@pytest.mark.parametrize("algorithm, kind", [(a, "COMPOSITE") for a in COMPOSITE] + [(a, "FULL_OBJECT") for a in FULL])
def test_checksums_of_multipart_uploads(s3, bucket, algorithm, kind):
    upload = Parts(s3, bucket, algorithm, kind)
    assert (upload.begun["ChecksumAlgorithm"], upload.begun["ChecksumType"]) == (algorithm, kind)
    bodies = [bytes(5 * MIB), b"the end"]
    name = field(algorithm)
    refused(400, "BadDigest", upload.put, number=1, body=bodies[0], **{name: wrong(algorithm)})
    for number, body in enumerate(bodies, 1):
        upload.put(number, body)
    suffix = "-2" if kind == "COMPOSITE" else ""
    refused(400, "BadDigest", upload.complete, **{name: wrong(algorithm) + suffix})
    other = "FULL_OBJECT" if kind == "COMPOSITE" else "COMPOSITE"
    refused(400, "InvalidRequest", upload.complete, ChecksumType=other)
    done = upload.complete(ChecksumType=kind)
    assert done["ChecksumType"] == kind
    assert done[name].endswith(suffix) and ("-" in done[name]) == (kind == "COMPOSITE")
    if (algorithm, kind) == ("CRC32", "FULL_OBJECT"):
        assert done[name] == base64.b64encode(zlib.crc32(b"".join(bodies)).to_bytes(4, "big")).decode()
    # Completed again with the checksum: it is accepted, but one with another number of parts is rejected.
    assert upload.complete(**{name: done[name]})["ETag"] == done["ETag"]
    if kind == "COMPOSITE":
        refused(400, "BadDigest", upload.complete, **{name: done[name].replace("-2", "-3")})
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts"])
    assert found["Checksum"] == {name: done[name], "ChecksumType": kind}
    assert [part[name] for part in found["ObjectParts"]["Parts"]] == [part[name] for part in upload.parts]


def test_types_that_an_algorithm_does_not_allow_are_refused(s3, bucket):
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        refused(400, "InvalidRequest", Parts, s3=s3, bucket=bucket, algorithm=algorithm, kind=kind)


def test_attributes_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA, ChecksumAlgorithm="SHA256")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=every)
    sha256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert found["ETag"] == hashlib.md5(DATA).hexdigest()
    assert found["Checksum"] == {"ChecksumSHA256": sha256, "ChecksumType": "FULL_OBJECT"}
    assert (found["ObjectSize"], found["StorageClass"]) == (len(DATA), "STANDARD") and "ObjectParts" not in found
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"])
    assert "ETag" not in found and "Checksum" not in found and found["ObjectSize"] == len(DATA)
    refused(404, "NoSuchKey", s3.get_object_attributes, Bucket=bucket, Key="none", ObjectAttributes=every)
    refused(400, "InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["Colour"])


def test_parts_by_number(s3, bucket):
    upload = Parts(s3, bucket, "CRC32")
    bodies = [b"a" * (5 * MIB), b"b" * (5 * MIB), b"the end"]
    for number, body in enumerate(bodies, 1):
        upload.put(number, body)
    upload.complete()
    start = 0
    for number, body in enumerate(bodies, 1):
        found = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert found["Body"].read() == body and found["PartsCount"] == 3
        span = f"bytes {start}-{start + len(body) - 1}/{sum(map(len, bodies))}"
        assert (found["ContentRange"], found["ResponseMetadata"]["HTTPStatusCode"]) == (span, 206)
        head = s3.head_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (head["ContentRange"], head["PartsCount"], head["ContentLength"]) == (span, 3, len(body))
        assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
        start += len(body)
    refused(416, "InvalidPartNumber", s3.get_object, Bucket=bucket, Key="k", PartNumber=4)
    refused(400, "InvalidArgument", s3.get_object, Bucket=bucket, Key="k", PartNumber=0)
    names = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["ObjectParts"], "MaxParts": 2}
    first = s3.get_object_attributes(**names)["ObjectParts"]
    assert (first["TotalPartsCount"], first["IsTruncated"], first["NextPartNumberMarker"]) == (3, True, 2)
    rest = s3.get_object_attributes(**names, PartNumberMarker=2)["ObjectParts"]
    assert [(part["PartNumber"], part["Size"]) for part in rest["Parts"]] == [(3, 7)] and not rest["IsTruncated"]


def test_a_whole_object_is_its_first_part(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    found = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert found["Body"].read() == DATA and "PartsCount" not in found
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
    refused(416, "InvalidPartNumber", s3.get_object, Bucket=bucket, Key="k", PartNumber=2)
