"""A data directory with every kind of content, and the requests that must not get wrong answers after damage."""

import random
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from requests import RequestException

from harness.api import Api, Project, Run
from harness.samples import encodings
from harness.server import Server

RECORDS = 600
SMALL, LARGE = b"small" * 20, random.Random(7).randbytes(200_000)
# Slow steps leave time to kill the process in the middle of a run.
SLOW = {"ENTITYD_SLOW_MS": "compare=400"}
INTERRUPTED = {"ENTITYD_SLOW_MS": "compare=20000"}
SETTLED_S = 120


@dataclass
class Expected:
    """The tokens and the right answers for the data directory."""

    finished: dict
    waiting: dict
    running: dict
    run_ids: dict
    result: bytes
    result_of_running: bytes
    credentials: tuple
    files: dict = field(default_factory=dict)


def people(seed):
    """Encodings of 64 bytes in which every third record of one party has a near duplicate in the other."""
    mine = encodings(RECORDS, 64, seed)
    theirs = encodings(RECORDS, 64, seed + 1)
    for row in range(0, RECORDS, 3):
        theirs[row] = mine[row][:-1] + b"\x01"
    return mine, theirs


def upload(project, seed):
    for party, rows in enumerate(people(seed)):
        project.upload_binary(party, rows)


def s3_client(server, credentials):
    return boto3.client(
        "s3",
        endpoint_url=f"http://{server.host}:{server.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, read_timeout=60),
    )


def build(folder):
    """Makes a finished project, one that waits for a party, one whose run is interrupted by a kill, and a small and a
    large object in a bucket. Returns the expected answers; the data directory is `folder/data`."""
    with Server(folder) as server, Api(server.url) as api:
        reference = api.project()
        upload(reference, 20)
        run = reference.run(0.8)
        run.complete()
        of_running = run.get_result().content
        reference.delete()
        finished = api.project()
        upload(finished, 10)
        done = finished.run(0.8)
        done.complete()
        result = done.get_result().content
        waiting = api.project()
        waiting.upload_binary(0, people(10)[0])
        credentials = tuple((server.data / "s3-credentials").read_text().split())
        s3 = s3_client(server, credentials)
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="small", Body=SMALL)
        s3.put_object(Bucket="kept", Key="large", Body=LARGE)
        s3.close()
        server.wait_until_idle(0.3)
    running, running_id = interrupt(folder)
    expected = Expected(
        finished=described(finished),
        waiting=described(waiting),
        running=running,
        run_ids={"finished": done.id, "running": running_id},
        result=result,
        result_of_running=of_running,
        credentials=credentials,
    )
    expected.files = payload(Path(folder) / "data")
    return expected


def interrupt(folder):
    """Starts a run of several jobs, and kills the server while it is running."""
    server = Server(folder, environment=INTERRUPTED)
    server.__enter__()
    try:
        with Api(server.url) as api:
            project = api.project()
            upload(project, 20)
            run = project.run(0.8)
            deadline = time.monotonic() + SETTLED_S
            while run.get_status().json()["state"] != "running":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.2)
            return described(project), run.id
    finally:
        server.process.kill()
        server.process.wait()


def described(project):
    return {"project_id": project.id, "result_token": project.token, "update_tokens": project.update_tokens}


def payload(data):
    """Returns the content of every stored file with users' data, by path in the data directory."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in (data / "objects").rglob("*")
        if path.is_file() and "/pairs/" not in str(path) and path.name not in ("plan", "owner", "mark", "metadata.mark")
    }


def copy(source, target):
    """Copies a data directory; sparse files stay sparse."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/data", f"{target}/"], check=True)


def questions(server, expected):
    """Requests everything that `build` has made from a server. Returns the outcome of each request: `right`, or an
    error. A wrong answer fails the test."""
    with Api(server.url) as api:
        answers = {
            "finished": ask(lambda: result_of(api, expected, "finished", expected.result)),
            "running": ask(lambda: result_of(api, expected, "running", expected.result_of_running)),
            "waiting": ask(lambda: waiting_of(api, expected)),
        }
    s3 = s3_client(server, expected.credentials)
    for key, body in (("small", SMALL), ("large", LARGE)):
        answers[key] = ask(lambda key=key, body=body: object_of(s3, key, body))
    s3.close()
    return answers


def ask(question):
    """Returns the outcome of a request. Error responses and broken connections are outcomes too; a wrong answer fails."""
    try:
        return question()
    except (RequestException, ClientError, BotoCoreError) as error:
        return f"refused: {type(error).__name__} {str(error)[:120]}"


def result_of(api, expected, name, right):
    run = Run(Project(api, getattr(expected, name)), expected.run_ids[name])
    deadline = time.monotonic() + SETTLED_S
    while True:
        status = run.get_status()
        if status.status_code != 200:
            return f"refused: status {status.status_code} {status.text[:160]}"
        status = status.json()
        if status["state"] == "error":
            return f"error: {status.get('message', '')[:160]}"
        if status["state"] == "completed":
            break
        if status.get("waiting_for"):
            return f"waits for {status['waiting_for']}"
        if time.monotonic() > deadline:
            raise AssertionError(f"the run of {name} has not settled after {SETTLED_S} s: {status}")
        time.sleep(0.02)
    result = run.get_result()
    if result.status_code != 200:
        return f"refused: result {result.status_code} {result.text[:160]}"
    assert result.content == right, f"a wrong result of {name} was sent"
    return "right"


def waiting_of(api, expected):
    """Uploads the missing party's data, and checks that a run has the known result."""
    project = Project(api, expected.waiting)
    answer = project.post_binary(1, b"".join(people(10)[1]), RECORDS, 64)
    if answer.status_code != 201:
        return f"refused: upload {answer.status_code} {answer.text[:160]}"
    run = project.post_run(0.8)
    if run.status_code != 201:
        return f"refused: run {run.status_code} {run.text[:160]}"
    status = Run(project, run.json()["run_id"]).wait(SETTLED_S)[-1]
    if status["state"] == "error":
        return f"error: {status.get('message', '')[:160]}"
    result = Run(project, run.json()["run_id"]).get_result()
    if result.status_code != 200:
        return f"refused: result {result.status_code} {result.text[:160]}"
    assert result.content == expected.result, "a wrong result of the waiting project was sent"
    return "right"


def object_of(s3, key, right):
    body = s3.get_object(Bucket="kept", Key=key)["Body"].read()
    assert body == right, f"a wrong object {key} was sent"
    return "right"
