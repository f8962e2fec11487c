"""A client of the API, for benchmarks."""

import http.client
import sys


class Api:
    """One connection to a server. The program ends with the answer if a request fails."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=600)

    def ask(self, method, path, token="", body=None, headers=None):
        headers = {"Authorization": token, "Content-Type": "application/json", **(headers or {})}
        self.connection.request(method, f"/api/v1{path}", body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {content[:500]}")
        return content

    def close(self):
        self.connection.close()
