"""Requests for the S3 endpoint that are signed here and may be changed afterwards."""

import contextlib
import hashlib
import http.client
import socket
import xml.etree.ElementTree as ET

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

EMPTY = hashlib.sha256(b"").hexdigest()


class Caller:
    """Signs requests, changes them as a test requires, and sends them without further changes."""

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def ask(
        self, method, path, body=b"", headers=(), sign=S3SigV4Auth, service="s3", secret=None, after=None,
        length=None, claimed=None,
    ):
        request = AWSRequest(method, self.endpoint.url + path, data=body, headers=dict(headers))
        request.headers["Host"] = self.endpoint.host
        if sign is not None:
            credentials = Credentials(self.endpoint.access_key, secret or self.endpoint.secret_key)
            signer = sign(credentials, service, "us-east-1")
            if claimed is not None:
                signer.payload = lambda _: claimed
            signer.add_auth(request)
        sent = dict(request.headers)
        sent.update(after or {})
        connection = http.client.HTTPConnection(self.endpoint.host, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            if "Content-Length" not in sent and (body or method in ("PUT", "POST")):
                connection.putheader("Content-Length", str(len(body) if length is None else length))
            connection.endheaders()
            if body:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before the end
                    connection.send(body)
            if length is not None and length > len(body):
                with contextlib.suppress(OSError):  # the server may have answered and disconnected
                    connection.sock.shutdown(socket.SHUT_WR)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def call(self, *arguments, **options):
        """Returns the status and the body of the response."""
        status, _, body = self.ask(*arguments, **options)
        return status, body

    def refused(self, status, code, *arguments, **options):
        found, body = self.call(*arguments, **options)
        assert (found, code_of(body)) == (status, code), (found, body)


def code_of(body):
    root = ET.fromstring(body)
    assert root.tag == "Error", body
    return root.findtext("Code")


def chunked(*chunks, trailer=b""):
    lines = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(lines) + b"0\r\n" + trailer + b"\r\n"
