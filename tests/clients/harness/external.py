"""Uploads and downloads through the object store, like those of a data provider's program."""

import io
import json
import time

from anonlink.serialization import load_candidate_pairs
from minio import Minio


def authorize(project, party):
    """Requests authorize-external-upload, which must succeed; returns the parsed response."""
    response = project.api.get(f"{project.path}/authorize-external-upload", project.update_tokens[party])
    assert response.status_code == 201, response.text
    return response.json()


def client(place, credentials):
    """Returns a MinIO client with temporary credentials."""
    return Minio(
        place["endpoint"],
        access_key=credentials["AccessKeyId"],
        secret_key=credentials["SecretAccessKey"],
        session_token=credentials["SessionToken"],
        region="us-east-1",
        secure=place["secure"],
    )


def put(store, place, name, data, metadata=None):
    """Stores a file below the path of the party; returns the reference to it."""
    path = f"{place['path']}/{name}"
    store.put_object(place["bucket"], path, io.BytesIO(data), len(data), metadata=metadata)
    return {"file": {"bucket": place["bucket"], "path": path}}


def counted(encodings):
    return {"hash-count": str(len(encodings)), "hash-size": str(len(encodings[0]))}


def upload(project, party, encodings, blocks=None, name="encodings.bin", data=None):
    """Uploads encodings, and blocks if given, through the store; returns the response of /clks."""
    given = authorize(project, party)
    place, credentials = given["upload"], given["credentials"]
    store = client(place, credentials)
    data = b"".join(encodings) if data is None else data
    body = {"encodings": {**put(store, place, name, data, counted(encodings)), "credentials": credentials}}
    if blocks is not None:
        text = json.dumps({"blocks": blocks, "meta": {"ignored": True}}).encode()
        body["blocks"] = put(store, place, "blocks.json", text)
    return project.post_clks(party, body)


def scores(run):
    """Returns the pairs of a finished run, downloaded from the store."""
    run.complete()
    response = run.get_result(headers={"RETURN-OBJECT-STORE-ADDRESS": "1"})
    assert response.status_code == 200, response.text
    place, credentials = response.json()["object"], response.json()["credentials"]
    answer = client(place, credentials).get_object(place["bucket"], place["path"])
    try:
        return place, credentials, load_candidate_pairs(io.BytesIO(answer.read()))
    finally:
        answer.close()
        answer.release_conn()


def wait_for_error(project, timeout_s=60):
    """Waits until a party's files are reported as unusable; returns the message."""
    deadline = time.monotonic() + timeout_s
    while not project.describe().json()["error"]:
        assert time.monotonic() < deadline, "the project is not in error"
        time.sleep(0.02)
    assert project.api.get(f"{project.path}/runs", project.token).status_code == 200
    return project.post_run(0.9).json()["detail"]
