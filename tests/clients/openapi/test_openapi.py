"""The server against its own OpenAPI document: `schemathesis` generates valid and invalid requests.

Every status that it sees must be documented, every body must fit its schema, and a status of 500 or more must be
one that the contract allows.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckContext
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from harness.samples import EIGHT_BYTES

EXAMPLES = 60

# Operations whose contract has a 500: a feature that is switched off, a project in error, a failed run.
KNOWN_FAILURES = {
    ("GET", "/projects/{project_id}/authorize-external-upload"),
    ("POST", "/projects/{project_id}/clks"),
    ("POST", "/projects/{project_id}/runs"),
    ("GET", "/projects/{project_id}/runs/{run_id}/result"),
}


schemathesis.serializer.alias("application/partial-upload", "application/octet-stream")


@schemathesis.check
def only_known_failures(context: CheckContext, response, case):
    """A crash must not hide behind a documented 500."""
    if response.status_code >= 500:
        path = case.operation.path.removeprefix("/api/v1")
        assert (case.method.upper(), path) in KNOWN_FAILURES, f"{response.status_code} at {path}"
        assert response.status_code == 500 and "internal" not in response.text.lower(), response.text


CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance, only_known_failures]


@pytest.fixture(scope="module")
def document(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@thorough
def test_requests_without_a_project(case, server):
    case.call_and_validate(base_url=base_url(case, server), checks=CHECKS, timeout=120)


@schema.parametrize()
@thorough
def test_requests_with_a_project_and_its_token(case, server, api):
    """Sends the same requests, with the identifiers and the token of an existing project."""
    project = api.project("groups")
    names = {"project_id": project.id}
    if "{run_id}" in case.operation.path:
        project.upload(0, {"clks": [EIGHT_BYTES]})
        project.upload(1, {"clks": [EIGHT_BYTES]})
        names["run_id"] = project.run(0.5).id
    case.path_parameters = {**(case.path_parameters or {}), **names} if "{" in case.operation.path else None
    uploading = case.operation.path.endswith(("clks", "upload", "{upload_id}"))
    token = project.update_tokens[0] if uploading else project.token
    case.headers = {**(case.headers or {}), "Authorization": token}
    case.call_and_validate(base_url=base_url(case, server), checks=CHECKS, timeout=120)


def base_url(case, server):
    """Returns the base URL; the document's paths may include the base path."""
    return server.origin if case.operation.path.startswith("/api/") else server.url
