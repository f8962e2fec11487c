"""`entityd migrate copy`: everything from a data directory to PostgreSQL, Redis and S3, and back."""

import json
import random
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from harness.api import Api, Run
from harness.postgres import PASSWORD
from harness.redis import Redis
from harness.server import BINARY, Server, clean_environment, free_ports
from harness.stores import INTERNAL, Moto
from harness.wait import until

RECORDS = 200
SCORES = {"scores": "true"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def engines(postgres, database, store, tmp_path):
    """The settings of external engines, as lines of a settings file."""
    secrets = {"database-password": PASSWORD, "s3-secret-key": store.keys[1]}
    for name, secret in secrets.items():
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(secret)
    with Redis(tmp_path / "redis") as redis:
        yield {
            "database": postgres.url(database, "sslmode=disable"),
            "database_password_file": str(tmp_path / "database-password"),
            "queue": f"redis://127.0.0.1:{redis.port}/0",
            "objects": f"s3://{INTERNAL}/{database}",
            "objects_endpoint": store.url,
            "s3_access_key": store.keys[0],
            "s3_secret_key_file": str(tmp_path / "s3-secret-key"),
        }


def settings_file(folder, **settings):
    """Writes a settings file for the data directory of a server in `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / "entityd.toml"
    lines = {**settings, "data_dir": str(folder / "data")}
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def copy(source, target, *words):
    """Copies from the data directory of the settings file `source` to the settings of `target`."""
    command = [BINARY, "migrate", "copy", "--config", source, "--to", target, "--json", *words]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=300)


class Scene:
    """Projects of each kind: linked, waiting for a party, with names that databases treat in their own ways, and deleted."""

    def __init__(self, api, seed):
        rng = random.Random(seed)
        encodings = [[rng.randbytes(64) for _ in range(RECORDS)] for _ in range(2)]
        encodings[1][::3] = encodings[0][::3]
        self.projects, self.results = [], []
        for result_type in ("groups", "similarity_scores", "permutations"):
            project = api.project(result_type, name="näme \0 ␀", notes="it's \\ a note")
            receipts = [project.upload_binary(party, encodings[party]) for party in range(2)]
            run = project.run(0.9)
            run.complete()
            tokens = receipts + [project.token] if result_type == "permutations" else [project.token]
            answers = [(token, run.get_result(token).content) for token in tokens]
            self.projects.append(project)
            self.results.append((project, run.id, answers))
        # The scores within groups are another object of the run.
        scored = self.projects[0].run(0.9, scores=True)
        scored.complete()
        self.scored = (self.projects[0], scored.id, scored.get_result(params=SCORES).content)
        assert json.loads(self.scored[2])["scores"]
        self.waiting = api.project(name="waiting")
        self.waiting.upload_binary(0, encodings[0])
        self.last = encodings[1]
        gone = api.project(name="gone")
        assert gone.delete().status_code == 204
        self.described = [project.describe().json() for project in (*self.projects, self.waiting)]

    def check(self, api, completes=True):
        """Asserts that a server knows everything, and continues where the other one has ended."""
        for project in (*self.projects, self.waiting):
            project.api = api
        assert [project.describe().json() for project in (*self.projects, self.waiting)] == self.described
        for project, run_id, answers in self.results:
            for token, answer in answers:
                assert Run(project, run_id).get_result(token).content == answer
        project, run_id, scores = self.scored
        assert Run(project, run_id).get_result(params=SCORES).content == scores
        again = Run(self.projects[0], self.projects[0].run(0.9).id)
        assert again.result() == Run(self.projects[0], self.results[0][1]).result()
        again.delete()
        if completes:
            self.waiting.upload_binary(1, self.last)
            assert self.waiting.run(0.9).result()["groups"]


def files_of(folder):
    """The content of each file, except of the lock and of the empty log of a database that was read."""
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    is_log = lambda name, content: name.endswith("-shm") or name.endswith("-wal") and not content
    return {name: content for name, content in contents.items() if name != "lock" and not is_log(name, content)}


def test_everything_is_copied_to_engines_and_back(engines, tmp_path):
    source = settings_file(tmp_path / "source")
    with Server(tmp_path / "source") as server, Api(server.url) as api:
        scene = Scene(api, 1)
    before = files_of(tmp_path / "source/data")
    target = settings_file(tmp_path / "target", **engines)
    done = copy(source, target)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    assert counted["projects"] == 4 and counted["objects"] > 8 and counted["present"] == 0
    assert files_of(tmp_path / "source/data") == before, "the source is left as it was"
    assert PASSWORD not in done.stdout + done.stderr
    with Server(tmp_path / "target", "--config", str(target)) as server, Api(server.url) as api:
        scene.check(api, completes=False)
        scene.described = [project.describe().json() for project in (*scene.projects, scene.waiting)]
    back = settings_file(tmp_path / "back")
    done = copy(target, back)
    assert done.returncode == 0, done.stderr
    with Server(tmp_path / "back") as server, Api(server.url) as api:
        scene.check(api)


def test_the_admin_token_stays(engines, tmp_path):
    source = settings_file(tmp_path / "source")
    with Server(tmp_path / "source") as server:
        until(lambda: "admin token" in server.log.read_text(), "the banner shows the token")
        token = re.search(r"admin token +(\S+)", server.log.read_text())[1]
    target = settings_file(tmp_path / "target", **engines)
    assert copy(source, target).returncode == 0
    with Server(tmp_path / "target", "--config", str(target)) as server:
        answer = Api(f"http://127.0.0.1:{server.ops_port}/admin").get("/nodes", f"Bearer {token}")
        assert answer.status_code == 200, answer.text


def test_a_copy_that_was_killed_is_refused_and_continued(engines, tmp_path):
    source = settings_file(tmp_path / "source")
    with Server(tmp_path / "source") as server, Api(server.url) as api:
        scene = Scene(api, 2)
    target = settings_file(tmp_path / "target", **engines)
    command = [BINARY, "migrate", "copy", "--config", source, "--to", target]
    for number in range(6):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=clean_environment())
        time.sleep(0.05 * (number + 1))
        running.send_signal(signal.SIGKILL)
        running.wait()
        if running.returncode == 0 or not (tmp_path / "target/data/transferring").exists():
            continue
        words = [BINARY, "serve", "--config", target, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        refused = subprocess.run(words, capture_output=True, text=True, env=clean_environment(), timeout=120)
        assert refused.returncode == 1 and "entityd migrate copy" in refused.stderr, refused.stderr
    deadline = time.monotonic() + 120
    while (done := copy(source, target)).returncode and "holds a complete copy" not in done.stderr:
        # A killed process may have entered the list of nodes.
        assert "stop all nodes" in done.stderr and time.monotonic() < deadline, done.stderr
        time.sleep(1)
    again = copy(source, target)
    assert again.returncode == 1 and "holds a complete copy of the source already" in again.stderr, again.stderr
    with Server(tmp_path / "target", "--config", str(target)) as server, Api(server.url) as api:
        scene.check(api)


def test_a_copy_of_nothing_to_a_bucket_that_is_unavailable_fails(tmp_path):
    source = settings_file(tmp_path / "source")
    with Server(tmp_path / "source"):
        pass
    (port,) = free_ports(1)
    (tmp_path / "key").write_text("a-secret-key")
    (tmp_path / "key").chmod(0o600)
    access = {"s3_access_key": "an-access-key", "s3_secret_key_file": str(tmp_path / "key")}
    place = {"objects": "s3://objects/new", "objects_endpoint": f"http://127.0.0.1:{port}"}
    done = copy(source, settings_file(tmp_path / "target", **place, **access))
    assert done.returncode == 1 and done.stdout == "", done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("entityd: ") and f"127.0.0.1:{port}" in said, said
    assert (tmp_path / "target/data/transferring").exists(), "the same command continues"


def test_what_cannot_be_copied_is_said_in_one_line(engines, postgres, tmp_path):
    source = settings_file(tmp_path / "source")
    target = settings_file(tmp_path / "target", **engines)

    def refused(source, target, words, code=1):
        done = copy(source, target)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == code and len(lines) == 1, done.stderr
        assert words in lines[0] and PASSWORD not in done.stderr, done.stderr

    refused(source, target, "is not a data directory")
    with Server(tmp_path / "source") as server, Api(server.url) as api:
        api.project(name="one")
        refused(source, target, "in use")
    refused(source, source, "give it a new one")
    inside = tmp_path / "inside.toml"
    inside.write_text(f'data_dir = "{tmp_path / "source/data/inner"}"\n')
    refused(source, inside, "is in the data directory of the source")
    other = settings_file(tmp_path / "other")
    with Server(tmp_path / "other"):
        pass
    refused(source, other, "holds the data of another server")
    missing = tmp_path / "missing.toml"
    refused(source, missing, "missing.toml", code=2)
    wrong = settings_file(tmp_path / "wrong", **engines, nonsense=1)
    refused(source, wrong, "nonsense", code=2)
    nowhere = settings_file(tmp_path / "nowhere", **{**engines, "database": postgres.url("nowhere", "sslmode=disable")})
    refused(source, nowhere, "CREATE DATABASE")
    # The operator must convert a database of an older version first.
    database = sqlite3.connect(tmp_path / "source/data/metadata.db")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    database.execute(f"PRAGMA user_version = {version - 1}")
    database.commit()
    database.close()
    refused(source, settings_file(tmp_path / "late", **engines), "entityd migrate apply")
