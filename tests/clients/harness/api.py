"""A plain client of the REST API. It makes only the checks that its docstrings name."""

import base64
import contextlib
import time

import requests

TIMEOUT_S = 120
HEX = set("0123456789abcdef")


def text_of(encoding):
    """Returns the text of an encoding in JSON."""
    return base64.b64encode(encoding).decode()


def texts_of(encodings):
    return [text_of(encoding) for encoding in encodings]


def is_token(value):
    return isinstance(value, str) and len(value) == 48 and set(value) <= HEX


def assert_problem(response, status, *words):
    """Asserts that the response is a problem document with this status whose text has each of the words."""
    assert response.status_code == status, (response.status_code, response.text[:500])
    assert response.headers["Content-Type"].split(";")[0] == "application/problem+json", response.headers
    problem = response.json()
    # The request id differs in every response.
    assert problem.pop("request_id", None), problem
    assert set(problem) == {"type", "title", "status", "detail"}, problem
    assert problem["type"] == "about:blank" and problem["status"] == status, problem
    said = f"{problem['title']} {problem['detail']}".lower()
    for word in words:
        assert word.lower() in said, f"{word!r} is not named in {problem}"
    return problem


class Api(contextlib.AbstractContextManager):
    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def __exit__(self, *_):
        self.session.close()

    def call(self, method, path, token=None, headers=None, **rest):
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = token
        rest.setdefault("timeout", TIMEOUT_S)
        return self.session.request(method, self.url + path, headers=headers, **rest)

    def get(self, path, token=None, **rest):
        return self.call("GET", path, token, **rest)

    def post(self, path, token=None, **rest):
        return self.call("POST", path, token, **rest)

    def delete(self, path, token=None, **rest):
        return self.call("DELETE", path, token, **rest)

    def project(self, result_type="groups", **fields):
        """Creates a project; `parties` and `blocking` are short for `number_parties` and `uses_blocking`."""
        body = {"schema": {}, "result_type": result_type}
        if "parties" in fields:
            body["number_parties"] = fields.pop("parties")
        if "blocking" in fields:
            body["uses_blocking"] = fields.pop("blocking")
        response = self.post("/projects", json={**body, **fields})
        assert response.status_code == 201, response.text
        return Project(self, response.json())


class Project:
    def __init__(self, api, created):
        self.api = api
        self.id = created["project_id"]
        self.token = created["result_token"]
        self.update_tokens = created["update_tokens"]
        self.path = f"/projects/{self.id}"

    def describe(self, token=None):
        return self.api.get(self.path, token or self.token)

    def delete(self, token=None):
        return self.api.delete(self.path, token or self.token)

    def post_clks(self, party, body, **rest):
        """Uploads a JSON body for a party (a number or a token) and returns the response."""
        return self.api.post(f"{self.path}/clks", self._token(party), json=body, **rest)

    def post_binary(self, party, data, count, size, headers=None, **rest):
        headers = {
            "Content-Type": "application/octet-stream",
            "Hash-Count": str(count),
            "Hash-Size": str(size),
            **(headers or {}),
        }
        return self.api.post(
            f"{self.path}/binaryclks", self._token(party), headers=headers, data=data, **rest
        )

    def upload(self, party, body):
        """Uploads a JSON body, which must succeed; returns the receipt token."""
        return receipt(self.post_clks(party, body))

    def upload_encodings(self, party, encodings):
        return self.upload(party, {"clks": texts_of(encodings)})

    def upload_binary(self, party, encodings):
        size = len(encodings[0])
        return receipt(self.post_binary(party, b"".join(encodings), len(encodings), size))

    def post_run(self, threshold, token=None, **fields):
        return self.api.post(
            f"{self.path}/runs", token or self.token, json={"threshold": threshold, **fields}
        )

    def run(self, threshold=0.8, **fields):
        response = self.post_run(threshold, **fields)
        assert response.status_code == 201, response.text
        return Run(self, response.json()["run_id"])

    def runs(self):
        response = self.api.get(f"{self.path}/runs", self.token)
        assert response.status_code == 200, response.text
        return response.json()

    def _token(self, party):
        return self.update_tokens[party] if isinstance(party, int) else party


class Run:
    def __init__(self, project, run_id):
        self.project = project
        self.api = project.api
        self.id = run_id
        self.path = f"{project.path}/runs/{run_id}"

    def describe(self, token=None):
        return self.api.get(self.path, token or self.project.token)

    def delete(self, token=None):
        return self.api.delete(self.path, token or self.project.token)

    def get_status(self, token=None):
        return self.api.get(f"{self.path}/status", token or self.project.token)

    def get_result(self, token=None, **rest):
        return self.api.get(f"{self.path}/result", token or self.project.token, **rest)

    def wait(self, timeout_s=120):
        """Polls until the run has ended; returns every distinct status in order."""
        deadline = time.monotonic() + timeout_s
        seen, pause_s = [], 0.005
        while True:
            response = self.get_status()
            assert response.status_code == 200, response.text
            status = response.json()
            if not seen or seen[-1] != status:
                seen.append(status)
            if status["state"] in ("completed", "error"):
                return seen
            assert time.monotonic() < deadline, f"not done after {timeout_s} s: {status}"
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.2)

    def complete(self, timeout_s=120):
        """Waits for the run, which must succeed; returns its last status."""
        status = self.wait(timeout_s)[-1]
        assert status["state"] == "completed", status
        return status

    def result(self, token=None, timeout_s=120):
        """Waits for the run, and returns its parsed result."""
        self.complete(timeout_s)
        response = self.get_result(token)
        assert response.status_code == 200, response.text
        return response.json()


def receipt(response):
    assert response.status_code == 201, (response.status_code, response.text[:500])
    body = response.json()
    assert set(body) == {"message", "receipt_token"} and is_token(body["receipt_token"]), body
    return body["receipt_token"]
