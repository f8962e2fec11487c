"""Keys and parameters with characters that XML cannot hold, or that its parsers would change."""

import urllib.parse
import xml.etree.ElementTree as ET

import pytest
from harness.signed import code_of

IMPOSSIBLE = ["\x01", "a\x1fb", "\x00", "\ufffe", "x\uffff"]
ODD = ["a\rb", "a\r\nb", "tab\t", "\x7f", "\ufffd", "\U0001f600", "é"]
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def quoted(key):
    return urllib.parse.quote(key)


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_a_key_that_no_listing_could_show_is_refused(caller, bucket, s3, key):
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    path = f"/{bucket}/{quoted(key)}"
    caller.refused(400, "InvalidArgument", "PUT", path, b"x")
    caller.refused(400, "InvalidArgument", "POST", path + "?uploads")
    caller.refused(400, "InvalidArgument", "PUT", path, headers={"x-amz-copy-source": f"{bucket}/source"})
    for method in ("GET", "HEAD"):
        assert caller.call(method, path)[0] == 404
    assert caller.call("DELETE", path)[0] == 204


@pytest.mark.parametrize("text", IMPOSSIBLE + ODD)
def test_every_document_can_be_read(caller, bucket, text):
    odd = quoted(text)
    for query in (
        f"list-type=2&prefix={odd}&delimiter={odd}&start-after={odd}",
        f"prefix={odd}&delimiter={odd}&marker={odd}",
        f"versions&prefix={odd}&delimiter={odd}&key-marker={odd}",
        f"uploads&prefix={odd}&key-marker={odd}",
    ):
        for kind in ("", "&encoding-type=url"):
            status, body = caller.call("GET", f"/{bucket}?{query}{kind}")
            assert status == 200
            prefix = ET.fromstring(body).findtext(f"{NAMESPACE}Prefix") or ""
            assert prefix == odd or text not in IMPOSSIBLE and prefix == text or "\ufffd" in prefix
    key = "".join(f"&#{ord(character)};" for character in text if character != "\0")
    delete = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    ET.fromstring(caller.call("POST", f"/{bucket}?delete", delete)[1])
    ET.fromstring(caller.call("GET", f"/?prefix={odd}")[1])


def test_other_keys_are_returned_unchanged(caller, bucket, s3):
    for key in ODD:
        assert caller.call("PUT", f"/{bucket}/{quoted(key)}", b"x")[0] == 200
    status, body = caller.call("GET", f"/{bucket}?list-type=2")
    assert status == 200
    assert [key.text for key in ET.fromstring(body).iter(f"{NAMESPACE}Key")] == sorted(ODD, key=str.encode)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(ODD, key=str.encode)


def test_s3cmd_lists_them(run, endpoint, bucket, caller, tmp_path):
    keys = ["a\x7fb", "\U0001f600", "é", "plain"]
    for key in keys:
        assert caller.call("PUT", f"/{bucket}/{quoted(key)}", b"x")[0] == 200
    found = run("s3cmd", "--no-ssl", f"--host={endpoint.host}", f"--host-bucket={endpoint.host}",
                f"--access_key={endpoint.access_key}", f"--secret_key={endpoint.secret_key}", "ls", f"s3://{bucket}")
    assert [line.partition(f"s3://{bucket}/")[2] for line in found.splitlines()] == sorted(keys, key=str.encode)


def test_an_error_about_one_is_a_document(caller, bucket):
    status, body = caller.call("GET", f"/{bucket}/{quoted(chr(1))}")
    assert status == 404 and code_of(body) == "NoSuchKey"
