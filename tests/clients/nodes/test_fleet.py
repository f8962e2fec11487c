"""Two API nodes and two workers on shared engines: each answers any request, and the loss of one changes no answer."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
import requests
from harness.api import Api
from harness.fleet import Engines, SpreadApi, fleet
from harness.nodes import LIBFAKETIME, changed, clock
from harness.redis import needs_redis
from harness.server import Server
from harness.wait import until

from harness import linkages

pytestmark = needs_redis
BIG_ROWS = 1_500


@pytest.fixture(scope="module")
def seed():
    return int(os.environ["TESTS_SEED"])


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with fleet(tmp_path_factory.mktemp("fleet"), flags=("--comparisons-per-job", "50000", "--body-rate-min", "0")) as parts:
        yield parts


@pytest.fixture(scope="module")
def spread(running):
    with SpreadApi(running[1]) as api:
        yield api


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("whole")) as server, Api(server.url) as api:
        yield api


def test_requests_spread_over_the_nodes_get_the_answers_of_one_process(spread, whole, seed):
    cases = list(linkages.cases(seed))
    runs = [[linkages.start(api, case) for case in cases] for api in (spread, whole)]
    for case, far, near in zip(cases, *runs):
        assert linkages.outcome(far, case) == linkages.outcome(near, case), case[0]


def test_each_node_knows_all_nodes_and_one_set_of_tokens(running):
    _, nodes, workers = running
    for node in nodes:
        known = lambda node=node: sorted((found["role"], found["state"]) for found in node.admin("GET", "nodes")["nodes"])
        wanted = [("api", "joined")] * len(nodes) + [("worker", "joined")] * len(workers)
        # A node that was late with its heartbeat is listed as silent for a moment.
        until(lambda: known() == wanted, f"all nodes are listed as joined: {known()}")
    log = nodes[1].log.read_text(errors="replace")
    assert "admin token" not in log, "the first node's token is that of all"


def test_each_engine_is_described(running):
    _, nodes, _ = running
    wanted = ("metadata: ok (PostgreSQL ", "primary, replicas: 0", "queue: ok (Redis ", "replicas: 1, the slowest ",
              "named queue by 3 of 3 Sentinels", "objects: ok (s3://internal/fleet)", "serving nodes: 2")
    for node in nodes:
        said = lambda node=node: requests.get(f"{node.scheme}://127.0.0.1:{node.ops_port}/readyz?verbose", timeout=60).text
        # A dependency that answers late is described as not ready for a moment.
        until(lambda: (text := said()) and all(words in text for words in wanted), f"each engine is described: {said()}")


def test_any_api_node_can_drain_a_worker(running):
    _, nodes, workers = running
    before = {found["node"] for found in nodes[0].workers()}
    known = nodes[0].workers()[0]["node"]
    nodes[1].admin("POST", "nodes/drain", json={"node": known})
    state = lambda node: next(found["state"] for found in node.workers() if found["node"] == known)
    for node in nodes:
        until(lambda: state(node) == "drained", "it drains")
    for worker in workers:
        worker.kill()
        worker.start()
    fresh = lambda: {found["node"] for found in nodes[0].workers()} - before
    until(lambda: len(fresh()) == len(workers), "they join again")
    for node in before:
        nodes[1].admin("POST", "nodes/forget", json={"node": node})
        # An API node that has heard from the worker within seconds may list it again.
        until(lambda: node not in {found["node"] for found in nodes[0].workers()} or forgotten(nodes[1], node), "it is forgotten")
    until(lambda: fresh() == {found["node"] for found in nodes[0].workers()}, "only the new workers are listed")


def forgotten(api, node):
    """Forgets a worker again, if it is still known; returns None, so that the wait continues."""
    with contextlib.suppress(AssertionError):
        api.admin("POST", "nodes/forget", json={"node": node})


def test_an_upload_in_several_requests_belongs_to_the_node_that_began_it(running):
    with running[1][0].client() as near, running[1][1].client() as far:
        project = near.project("groups")
        encodings = [bytes(range(at, at + 128)) for at in range(2)]
        kind = {"Content-Type": "application/octet-stream", "Hash-Count": "2", "Hash-Size": "128"}
        token = project.update_tokens[0]
        begun = near.post(f"{project.path}/binaryclks", token, headers={**kind, "Upload-Complete": "?0"})
        place = begun.headers["Location"].removeprefix("/api/v1")
        part = {"Content-Type": "application/partial-upload", "Upload-Offset": "0", "Upload-Complete": "?1"}
        assert far.call("HEAD", place, token).status_code == 421
        answer = far.call("PATCH", place, token, headers=part, data=b"".join(encodings))
        assert answer.status_code == 421 and "another node keeps this upload" in answer.text
        assert near.call("HEAD", place, token).headers["Upload-Offset"] == "0"
        assert near.call("PATCH", place, token, headers=part, data=b"".join(encodings)).status_code == 201


def test_a_join_token_is_rotated_and_revoked_on_all_nodes(running, spread, seed):
    _, nodes, workers = running

    def opens(token):
        headers = {"Authorization": f"Bearer {token}"}
        asked = [requests.post(f"{node.join_url}/worker/v1/claim", headers=headers, json={}, timeout=60) for node in nodes]
        return [answer.status_code != 401 for answer in asked]

    first = nodes[0].join_token()
    until(lambda: opens(first) == [True, True], "both nodes accept a token that one has made")
    second = nodes[1].join_token(keep_s=0)
    until(lambda: opens(second) == [True, True], "both nodes accept the next one")
    until(lambda: opens(first) == [False, False], "both nodes reject the revoked one")
    # The clock of one node is a day ahead of the database's.
    nodes[1].kill()
    with changed(nodes[1], **(clock("+1d") if LIBFAKETIME.exists() else {})):
        nodes[1].__enter__()
    third = nodes[0].join_token(keep_s=3_600)
    until(lambda: opens(third) == [True, True], "both nodes accept the third one")
    assert opens(second) == [True, True], "the second one is valid for an hour"
    fourth = nodes[1].join_token(keep_s=2)
    until(lambda: opens(fourth) == [True, True], "both nodes accept the fourth one")
    until(lambda: opens(second) == opens(third) == [False, False], "the earlier ones expire")
    nodes[1].kill()
    nodes[1].__enter__()
    # Workers read their files again.
    for worker in workers:
        worker.token.write_text(fourth)
    case = next(iter(linkages.cases(seed)))
    linkages.outcome(linkages.start(spread, case), case)


@contextlib.contextmanager
def arriving(engines, node, project, rest=None):
    """An upload that a node receives until the block ends, and that `rest` then completes; yields its responses."""
    begun, go_on, answers = threading.Event(), threading.Event(), []

    def body():
        yield b'{"clks": ["'
        begun.set()
        go_on.wait(120)
        if rest:
            yield rest

    def send():
        headers = {"Content-Type": "application/json"}
        # The node may die meanwhile.
        with node.client() as api, contextlib.suppress(OSError):
            answers.append(api.post(f"/projects/{project.id}/clks", project.update_tokens[0], data=body(), headers=headers))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert begun.wait(60)
        uploads = f"SELECT party FROM entityd.entityd_parties WHERE project_id = '{project.id}' AND state = 'uploading'"
        until(lambda: engines.postgres.sql("fleet", uploads) == ["0"], "the node receives the upload")
        yield answers
    finally:
        go_on.set()
        sender.join()


def test_a_token_is_locked_on_all_nodes_while_one_receives_its_upload(running):
    engines, nodes, _ = running
    with nodes[1].client() as second:
        project = second.project()
        with arriving(engines, nodes[0], project, rest=b'AAAAAAAAAAA="]}') as answers:
            body = {"clks": ["AAAAAAAAAAA="]}
            refused = second.post(f"/projects/{project.id}/clks", project.update_tokens[0], json=body)
            assert refused.status_code == 503, refused.text
        assert answers[0].status_code == 201, answers[0].text


def test_an_upload_of_a_node_that_dies_is_released(running):
    engines, nodes, _ = running
    with nodes[1].client() as second:
        project = second.project()
        with arriving(engines, nodes[0], project):
            nodes[0].kill()
        path, body = f"/projects/{project.id}/clks", {"clks": ["AAAAAAAAAAA="]}
        accepted = lambda: second.post(path, project.update_tokens[0], json=body).status_code == 201
        until(accepted, "the other node releases the token", timeout_s=120)
        nodes[0].__enter__()


def test_an_upload_of_a_node_that_was_paused_is_to_be_repeated(running):
    engines, nodes, _ = running
    with nodes[1].client() as second:
        project = second.project()
        with arriving(engines, nodes[0], project, rest=b'AAAAAAAAAAA="]}') as answers:
            nodes[0].process.send_signal(signal.SIGSTOP)
            try:
                missing = f"SELECT party FROM entityd.entityd_parties WHERE project_id = '{project.id}' AND state = 'missing'"
                released = lambda: "0" in engines.postgres.sql("fleet", missing)
                until(released, "the other node releases the token", timeout_s=120)
            finally:
                nodes[0].process.send_signal(signal.SIGCONT)
        assert answers[0].status_code == 503 and int(answers[0].headers["Retry-After"]) > 0, answers[0].text
        assert "abandoned" in answers[0].json()["detail"]
        again = second.post(f"/projects/{project.id}/clks", project.update_tokens[0], json={"clks": ["AAAAAAAAAAA="]})
        assert again.status_code == 201, again.text


@pytest.mark.parametrize("victim", ["api", "worker", "redis"])
def test_a_kill_during_runs_changes_no_answer(running, spread, whole, seed, victim):
    engines, nodes, workers = running
    rng = random.Random(f"{seed} {victim}")
    cases = [case for case in linkages.cases(seed, BIG_ROWS) if case[1] != "permutations"]
    case = rng.choice(cases)
    expected = linkages.outcome(linkages.start(whole, case), case)
    run = linkages.start(spread, case)
    time.sleep(rng.uniform(0.1, 1.0))
    if victim == "worker":
        workers[0].kill()
        workers[0].start()
    elif victim == "redis":
        engines.sentinels.master.kill()
    else:
        nodes[0].kill()
    with nodes[1].client() as api:
        run.api = run.project.api = api
        assert linkages.outcome(run, case, 180) == expected, case[0]
    if victim == "api":
        nodes[0].__enter__()


def test_a_second_node_with_an_engine_of_its_own_is_refused(running, tmp_path):
    engines, _, _ = running
    for without, named in ((("queue",), "its queue"), (("objects",), "its objects")):
        node = engines.api_node(tmp_path / named.split()[1], without=without)
        with pytest.raises(AssertionError, match="exited"):
            node.__enter__()
        said = node.log.read_text(errors="replace")
        assert "--database postgres://, --queue redis:// and --objects s3://" in said or "belongs to the data directory" in said
    node = engines.api_node(tmp_path / "other", "--run-pairs-max", "7")
    with pytest.raises(AssertionError, match="exited"):
        node.__enter__()
    assert 'run_pairs_max is "7" on this node' in node.log.read_text(errors="replace")


def test_eight_nodes_start_at_once_on_an_empty_database(tmp_path, seed):
    with Engines(tmp_path / "engines") as engines:
        nodes = [engines.api_node(tmp_path / f"node-{number}", role="all") for number in range(8)]
        threads = [threading.Thread(target=start, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            until(lambda: all("no telemetry" in node.log.read_text() for node in nodes), "each node has printed its banner")
            tokens = [token for node in nodes if (token := node.shown_token())]
            assert len(tokens) == 1, tokens
            identities = {(node.data / "identity").read_text().splitlines()[0] for node in nodes}
            assert len(identities) == 1
            nodes[0].admin_token = tokens[0]
            until(lambda: len(nodes[0].admin("GET", "nodes")["nodes"]) == 8, "each node knows the others")
            case = next(iter(linkages.cases(seed)))
            with SpreadApi(nodes) as api:
                assert linkages.outcome(linkages.start(api, case), case)
        finally:
            for node in nodes:
                node.process.send_signal(signal.SIGTERM)
            for node in nodes:
                node.process.wait(90)


def start(node):
    Server.__enter__(node)
