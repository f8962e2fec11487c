"""The dashboard in a real browser: each role's whole workflow, on a real server with its own data."""

import base64
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from edge.test_nginx import nginx
from harness import arrow
from harness import people as known_people
from harness.api import Api, texts_of
from harness.cutting_proxy import CuttingProxy
from harness.oracle import Answer, as_sets
from harness.server import REPOSITORY, Server
from harness.wait import until

HERE = Path(__file__).parent
MODULES = Path(os.environ.get("BROWSER_MODULES", REPOSITORY / "target" / "browser"))
CHROMIUM = shutil.which("chromium")
SCREENSHOTS = os.environ.get("SCREENSHOTS")
PEOPLE, SHARED, BYTES = 400, 300, 128


def people(chance):
    """Encodings of two parties: some people are in both, with a few bits changed."""

    def encoding():
        row = bytearray(BYTES)
        for bit in chance.sample(range(8 * BYTES), 300):
            row[bit // 8] |= 1 << bit % 8
        return row

    def changed(row):
        row = bytearray(row)
        for bit in chance.sample(range(8 * BYTES), chance.randrange(0, 60)):
            row[bit // 8] ^= 1 << bit % 8
        return row

    left = [encoding() for _ in range(PEOPLE)]
    right = [changed(row) for row in left[:SHARED]] + [encoding() for _ in range(PEOPLE - SHARED)]
    chance.shuffle(right)
    return left, right


@pytest.fixture
def files(tmp_path):
    """The files that people choose, valid and invalid ones."""
    chance = random.Random(int(os.environ.get("TESTS_SEED", "1")))
    left, right = people(chance)
    text = [base64.b64encode(row).decode() for row in left]
    whole = json.dumps({"clks": text})
    contents = {
        "left.json": whole,
        "cut.json": whole[:-100],
        "blocked.json": json.dumps({"clknblocks": [[row, "a", 1] for row in text]}),
        "odd.json": json.dumps({"clks": [text[0], base64.b64encode(left[1][:64]).decode()]}),
        "people.csv": "name,born\r\n" + "Ada,1815-12-10\r\n" * 30,
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "right.bin").write_bytes(b"".join(right))
    path = lambda name: str(tmp_path / name)
    return {
        "parties": [path("left.json"), path("right.bin")],
        "cut": path("cut.json"),
        "blocked": path("blocked.json"),
        "odd": path("odd.json"),
        "table": path("people.csv"),
        "result": path("result.json"),
        "arrow": path("result.arrows"),
    }


def environment(scene):
    """The environment of a scene."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ENTITYD_")},
        "BROWSER_MODULES": str(MODULES),
        "CHROMIUM": CHROMIUM,
        "SCENE": json.dumps(scene),
        **({"SCREENSHOTS": SCREENSHOTS} if SCREENSHOTS else {}),
    }


def play(script, scene):
    """Runs a scene in the browser."""
    command = ["node", HERE / script]
    done = subprocess.run(command, env=environment(scene), capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-6_000:]


def test_files_are_checked_as_the_server_will_check_them():
    script = REPOSITORY / "assets" / "dashboard" / "scan.js"
    command = ["node", "--experimental-default-type=module", HERE / "scanning.mjs"]
    environment = {**os.environ, "SCAN": str(script)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


@pytest.mark.parametrize(
    ("kind", "width", "dark"), [("groups", 1280, False), ("similarity_scores", 320, True), ("permutations", 1280, True)]
)
def test_a_linkage_from_the_first_page_to_the_result(server, files, kind, width, dark):
    scene = {"root": f"{server.origin}/", "files": files, "kind": kind, "width": width, "dark": dark}
    play("linkage.mjs", scene)
    [elements] = json.loads(Path(files["result"]).read_text()).values()
    rows = arrow.rows_of(elements, "mask" if kind == "permutations" else kind)
    assert arrow.read(Path(files["arrow"]).read_bytes())[1] == rows and rows
    # No token reaches the log: identifiers, which are as long, are cut after eight digits.
    assert not re.search(r"[0-9a-f]{48}[^0-9a-f]*(?:token|authorization)", server.log.read_text(errors="replace"))


def test_an_upload_continues_after_a_cut_and_after_a_reload(server, tmp_path):
    chance = random.Random(int(os.environ.get("TESTS_SEED", "1")))
    size = 12 << 20
    (tmp_path / "left.bin").write_bytes(chance.randbytes(size))
    new = {"schema": {}, "result_type": "groups"}
    made = requests.post(f"{server.url}/projects", json=new, timeout=60).json()
    with CuttingProxy(server.port, [3 << 20, 4 << 20]) as proxy:
        scene = {"root": f"http://127.0.0.1:{proxy.port}/", "project": made["project_id"], "file": str(tmp_path / "left.bin")}
        play("resuming.mjs", {**scene, "token": made["update_tokens"][0], "width": 1280, "dark": False})
        # The server refuses a part that the browser repeats by itself, possibly before it would be cut.
        assert proxy.cuts in (1, 2)
    [matrix] = (server.data / "objects" / "projects" / made["project_id"]).rglob("matrix")
    assert matrix.read_bytes() == (tmp_path / "left.bin").read_bytes()


def test_febrl4_in_the_browser_gives_the_answer_of_the_library(server, tmp_path):
    tables, _ = known_people.tables()
    # All 5,000 take a minute in the library's encoder.
    count = 5_000 if os.environ.get("TESTS_LONG") == "1" else 800
    datasets = [known_people.encode(rows[:count]) for rows in tables]
    made = requests.post(f"{server.url}/projects", json={"schema": {}, "result_type": "groups"}, timeout=60).json()
    parties = []
    for party, (dataset, secret) in enumerate(zip(datasets, made["update_tokens"])):
        path = tmp_path / f"{party}.json"
        path.write_text(json.dumps({"clks": texts_of(dataset)}))
        parties.append({"file": str(path), "secret": secret})
    scene = {"root": f"{server.origin}/", "project": made["project_id"], "token": made["result_token"], "parties": parties}
    play("febrl4.mjs", {**scene, "threshold": "0.65", "result": str(tmp_path / "result.json")})
    found = as_sets(json.loads((tmp_path / "result.json").read_text())["groups"])
    assert found == Answer(datasets, 0.65).groups()


def test_tokens_that_grant_nothing(server, api):
    project, other = api.project("permutations"), api.project("permutations")
    encodings = [bytes(range(BYTES)), bytes(range(1, BYTES + 1))]
    replaced = project.upload_binary(0, encodings)
    project.post_binary(0, b"".join(encodings), 2, BYTES, headers={"Receipt-Again": "true"})
    tokens = {"foreign": other.token, "replaced": replaced, "owner": project.token, "used": project.update_tokens[0]}
    play("tokens.mjs", {"root": f"{server.origin}/", "project": project.id, "tokens": tokens})


@pytest.mark.parametrize("told", ["left by the proxy", "X-Forwarded-Prefix"])
def test_behind_nginx_under_a_prefix(tmp_path, files, told):
    flags = ["--trusted-proxies", "127.0.0.1"]
    flags += ["--base-path", "/pprl"] if "left" in told else []
    setting = "" if "left" in told else "proxy_set_header X-Forwarded-Prefix /pprl;"
    (tmp_path / "entityd").mkdir()
    with Server(tmp_path / "entityd", *flags) as server:
        origin = server.origin + ("" if "left" in told else "/")
        with nginx(tmp_path / "nginx", origin, setting + " client_max_body_size 0;", path="/pprl/") as url:
            scene = {"root": f"{url}/pprl/", "files": files, "kind": "groups", "width": 1280, "dark": False}
            play("linkage.mjs", scene)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (320, True)])
def test_the_operator(tmp_path, admin, width, dark):
    with Server(tmp_path, *admin.flags) as server:
        new = {"schema": {}, "result_type": "groups", "name": "<b>bold</b>"}
        project = requests.post(f"{server.url}/projects", json=new, timeout=60).json()["project_id"]
        root = f"http://127.0.0.1:{server.ops_port}/"
        play("operating.mjs", {"root": root, "token": admin.token, "project": project, "width": width, "dark": dark})
        assert admin.token not in server.log.read_text(errors="replace")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (320, True)])
def test_dead_jobs_are_retried_and_discarded(tmp_path, admin, width, dark):
    dead = 4
    # A retried job is dead again after three attempts, but not before the page was looked at.
    moments = {"ENTITYD_BREAKPOINT": "ingest#", "ENTITYD_SLOW_MS": "ingest=2000"}
    flags = (*admin.flags, "--comparisons-per-job", "1000000")
    with Server(tmp_path, *flags, environment=moments) as server, Api(server.url) as api:
        for _ in range(dead):
            api.project("groups").upload_binary(0, [bytes(range(BYTES))])
        address = f"http://127.0.0.1:{server.ops_port}/"
        queues = lambda: requests.get(f"{address}admin/queue", headers=admin.headers, timeout=60).json()["queues"]
        until(lambda: queues()["ingest"]["dead"] == dead, "all jobs are dead", 180)
        play("dead.mjs", {"root": address, "token": admin.token, "dead": dead, "width": width, "dark": dark})


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (320, False)])
def test_a_failed_run_says_why_and_is_run_again(tmp_path, admin, width, dark):
    limits = {"ENTITYD_BREAKPOINT": "compare#"}
    with Server(tmp_path, *admin.flags, environment=limits) as server, Api(server.url) as api:
        project = api.project("groups", name="<b>bold</b>")
        for party in (0, 1):
            project.upload_binary(party, [bytes(range(BYTES))])
        failed = project.run(0.75, name="nightly", scores=True)
        until(lambda: failed.get_status().json()["state"] == "error", "the run has failed", 120)
        scene = {"ops": f"http://127.0.0.1:{server.ops_port}/", "token": admin.token, "width": width, "dark": dark}
        scene |= {"root": f"{server.origin}/", "project": project.id, "run": failed.id, "owner": project.token}
        play("failed.mjs", scene)
        posted = [project.api.get(f"/projects/{project.id}/runs/{run['run_id']}", project.token).json() for run in project.runs()]
        assert [(run["name"], run["threshold"], run["scores"]) for run in posted] == [("nightly", 0.75, True)] * 3
        headers, path = admin.headers, f"http://127.0.0.1:{server.ops_port}/admin/projects/{project.id}/runs"
        again = lambda run: requests.post(f"{path}/{run}/again", headers=headers, timeout=60)
        assert again("0" * 48).status_code == again("x").status_code == 404
        waiting = api.project("groups").run(0.75)
        path = path.replace(project.id, waiting.project.id)
        assert again(waiting.id).status_code == 409


def test_a_party_is_told_why_its_data_cannot_be_used(server, api):
    project = api.project("groups")
    view = lambda token: requests.get(f"{server.origin}/dashboard/view{project.path}", headers={"Authorization": token}, timeout=60).text
    assert 'data-bytes=""' in view(project.update_tokens[1])
    project.upload_binary(0, [bytes(range(BYTES))])
    until(lambda: 'data-bytes="128"' in view(project.update_tokens[1]), "the page knows the size of the other party's encodings")
    receipt = project.upload_binary(1, [bytes(range(BYTES // 2))])
    until(lambda: "Your data cannot be used." in view(receipt), "the data was checked")
    assert "the encodings of party 1 have 64 bytes" in view(receipt)


def test_a_page_with_a_slash_at_its_end_is_that_page(server):
    for path, there in [("dashboard/", ""), ("dashboard", ""), ("docs/", "docs"), ("docs/security/", "docs/security")]:
        assert requests.get(f"{server.origin}/{path}", timeout=60).url == f"{server.origin}/{there}", path
    for page in ("new", "project", "run"):
        answer = requests.get(f"{server.origin}/dashboard/{page}/?id=1", timeout=60)
        assert (answer.status_code, answer.url) == (200, f"{server.origin}/dashboard/{page}?id=1")


def test_programs_get_events_and_a_forecast(server):
    chance = random.Random(2)
    left, right = people(chance)
    api = f"{server.url}/projects"
    made = requests.post(api, json={"schema": {}, "result_type": "similarity_scores"}, timeout=60).json()
    path, owner = f"{api}/{made['project_id']}", {"Authorization": made["result_token"]}
    forecast = lambda thresholds: requests.post(
        f"{path}/forecast", json={"thresholds": thresholds}, headers=owner, timeout=120
    )
    assert forecast([0.8]).status_code == 409
    run = requests.post(f"{path}/runs", json={"threshold": 0.9}, headers=owner, timeout=60).json()["run_id"]
    events = requests.get(
        f"{path}/runs/{run}/status", headers={**owner, "Accept": "text/event-stream"}, stream=True, timeout=120
    )
    assert events.headers["Content-Type"] == "text/event-stream"
    for token, rows in zip(made["update_tokens"], (left, right)):
        headers = {"Authorization": token, "Hash-Count": str(PEOPLE), "Hash-Size": str(BYTES)}
        headers["Content-Type"] = "application/octet-stream"
        sent = requests.post(f"{path}/binaryclks", data=b"".join(rows), headers=headers, timeout=60)
        assert sent.status_code == 201
    states = [json.loads(line[6:])["state"] for line in events.iter_lines(decode_unicode=True) if line[:6] == "data: "]
    assert states[0] == "created" and states[-1] == "completed"
    assert states[-1] == requests.get(f"{path}/runs/{run}/status", headers=owner, timeout=60).json()["state"]
    result = requests.get(f"{path}/runs/{run}/result", headers=owner, timeout=60)
    csv = requests.get(f"{path}/runs/{run}/result", headers={**owner, "Accept": "text/csv"}, timeout=60)
    assert result.headers["Content-Type"] == "application/json"
    pairs = result.json()["similarity_scores"]
    assert csv.text.splitlines()[1:] == [f"{a},{b},{c},{d},{score!r}" for (a, b), (c, d), score in pairs]
    for wrong in ([], [0], [2], ["x"], None):
        assert forecast(wrong).status_code == 400, wrong
    answer = forecast([0.9, 0.5]).json()
    assert (answer["comparisons"], answer["exact"]) == (PEOPLE * PEOPLE, True)
    first = answer["thresholds"][0]
    assert first["pairs"] == first["pairs_low"] == first["pairs_high"] == len(pairs)
    assert answer["thresholds"][1]["pairs"] >= len(pairs)


def test_pages_are_small_have_a_strict_policy_and_are_cached(server):
    style = requests.get(f"{server.origin}/dashboard/style.css", timeout=60)
    assert len(style.content) <= 20 << 10
    names = sorted(path.name for path in (REPOSITORY / "assets" / "dashboard").glob("*.js"))
    scripts = {name: requests.get(f"{server.origin}/dashboard/{name}", timeout=60) for name in names}
    assert sum(len(script.content) for script in scripts.values()) <= 40 << 10
    pages = [requests.get(f"{server.origin}{path}", timeout=60) for path in ("/", "/dashboard/new", "/docs")]
    for answer in [style, *scripts.values(), *pages]:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        again = requests.get(answer.url, headers={"If-None-Match": answer.headers["ETag"]}, timeout=60)
        assert (again.status_code, again.content) == (304, b"")
    for page in pages:
        assert not re.search(r"(?:href|src)=\"/", page.text) and "style=" not in page.text


def test_the_dashboard_can_be_switched_off(tmp_path):
    with Server(tmp_path, "--dashboard", "false") as server:
        assert "API reference" in requests.get(server.origin, timeout=60).text
        for path in ("dashboard/new", "dashboard/app.js", f"dashboard/view/projects/{'0' * 48}"):
            assert requests.get(f"{server.origin}/{path}", timeout=60).status_code == 404
