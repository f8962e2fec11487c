"""PostgreSQL that is restarted, stopped, killed, read-only or cut off during linkages: nothing is lost, and no answer changes."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest
import requests

from harness.api import Api
from harness.oracle import Answer, as_sets
from harness.postgres import Cutter, Postgres, Standby, with_password
from harness.server import BINARY, Server, clean_environment
from harness.wait import until

SEED = os.environ.get("TESTS_SEED", "20261129")
RECORDS = 400
# Many small parts, so that reports arrive throughout.
FLAGS = ["--comparisons-per-job", "4000", "--database-timeout-ms", "2000"]


def datasets(parties):
    rows = [[os.urandom(64) for _ in range(RECORDS)] for _ in range(parties)]
    for party in rows[1:]:
        party[::4] = rows[0][::4]
    return rows


def begin(api, parties):
    rows = datasets(parties)
    project = api.project(parties=parties)
    for party, encodings in enumerate(rows):
        project.upload_binary(party, encodings)
    expected = Answer(rows, 0.9).groups()
    return project, project.run(0.9), expected


def complete(run):
    """Waits until a run is complete. A request while the database connection is broken gets 503: it is repeated."""
    until(lambda: run.get_status().json().get("state") == "completed", "the run is completed", 180)


def ops(server, path):
    return requests.get(f"http://127.0.0.1:{server.ops_port}{path}", timeout=60)


def ready(server, *words, status=200):
    """Waits until /readyz has this status and these words."""

    def is_so():
        answer = ops(server, "/readyz?verbose")
        return answer.status_code == status and all(word in answer.text for word in words)

    until(is_so, f"/readyz has the status {status} and {words}")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server that these tests may break."""
    with Postgres(tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.mark.parametrize("how", ["restarted", "stopped for a while", "killed"])
def test_an_outage_during_linkages_only_delays_them(own, tmp_path, how):
    name = own.create("outage_" + how.split()[0])
    flags = [*FLAGS, "--database", own.url(name)]
    slow = with_password(ENTITYD_SLOW_MS="compare=60")
    with Server(tmp_path, *flags, environment=slow) as server, Api(server.url) as api:
        linkages = [begin(api, 2), begin(api, 3)]
        stage = lambda run: run.get_status().json().get("current_stage", {})
        has_begun = lambda run: 0 < stage(run).get("progress", {}).get("relative", 0) < 1
        until(lambda: any(has_begun(run) for _, run, _ in linkages), "some parts are compared")
        own.stop(signal.SIGKILL if how == "killed" else signal.SIGINT)
        if how == "stopped for a while":
            refused = api.post("/projects", json={"schema": {}, "result_type": "groups"})
            assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0, refused.text
            assert ops(server, "/healthz").status_code == 200
            ready(server, "[-] metadata: ", f":{own.port}", status=503)
            time.sleep(3)
        own.start()
        for _, run, expected in linkages:
            complete(run)
            assert as_sets(run.result()["groups"]) == expected
        ready(server)
        for project, _, _ in linkages:
            assert project.delete().status_code == 204
        # No work is left for the deleted projects.
        until(lambda: own.sql(name, "SELECT count(*) FROM entityd.outbox") == ["0"], "the outbox is empty")


def test_a_commit_whose_answer_is_lost_is_detected(own, tmp_path):
    name = own.create("cut")
    print(f"TESTS_SEED={SEED}")
    with Cutter(own.port, SEED, 0) as cutter:
        flags = [*FLAGS, "--database", own.url(name, port=cutter.port)]
        with Server(tmp_path, *flags, environment=with_password()) as server, Api(server.url) as api:
            detected = lambda: "although its answer was lost" in server.log.read_text()
            rounds = 0
            # Chance decides which commits are cut, and how many parts are counted in one.
            while min(cutter.cuts.values()) <= 3 or not detected():
                rounds += 1
                assert rounds <= 20, cutter.cuts
                linkages = [begin(api, 2), begin(api, 3)]
                cutter.share = 0.2
                for _, run, _ in linkages:
                    complete(run)
                cutter.behave()
                for _, run, expected in linkages:
                    assert as_sets(run.result()["groups"]) == expected
                for project, run, _ in linkages:
                    progress = own.sql(name, f"SELECT comparisons = comparisons_total FROM entityd.runs WHERE id = '\\x{run.id}'")
                    assert progress == ["t"], "no part counts twice, and none is missing"
                assert own.sql(name, "SELECT count(*) FROM entityd.projects") == [str(2 * rounds)]
        print(cutter.cuts, rounds)


def test_a_read_only_database_is_reported_and_recovers(own, tmp_path):
    name = own.create("read_only")
    with Server(tmp_path, "--database", own.url(name), environment=with_password()) as server, Api(server.url) as api:
        own.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
        own.sql("postgres", "SELECT pg_reload_conf()")
        try:
            until(lambda: "read-only" in ops(server, "/readyz?verbose").text, "it is noticed")
            refused = api.post("/projects", json={"schema": {}, "result_type": "groups"})
            assert refused.status_code == 503, refused.text
            assert ops(server, "/healthz").status_code == 200
        finally:
            own.sql("postgres", "ALTER SYSTEM RESET default_transaction_read_only")
            own.sql("postgres", "SELECT pg_reload_conf()")
        ready(server)
        api.project()


def test_a_start_waits_for_a_database_that_is_starting(own, tmp_path):
    name = own.create("late")
    own.stop()
    server = Server(tmp_path, "--database", own.url(name), environment=with_password())
    waits = lambda: server.log.exists() and "waiting for the database" in server.log.read_text()

    def start():
        with contextlib.suppress(AssertionError):
            until(waits, "the server waits")
        time.sleep(1)
        own.start()

    starter = threading.Thread(target=start)
    starter.start()
    with server:
        starter.join()
        assert waits()


def test_the_operators_page_shows_the_rest_while_the_database_is_silent_or_stopped(own, tmp_path):
    own.create("operated")
    token = "an-admin-token-of-forty-eight-characters-0123456"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    flags = ["--database", own.url("operated"), "--admin-token-file", tmp_path / "token"]
    with Server(tmp_path, *flags, environment=with_password()) as server:

        def page():
            url = f"http://127.0.0.1:{server.ops_port}/admin/dashboard/view/operator"
            begun = time.monotonic()
            answer = requests.get(url, headers={"Authorization": token}, timeout=60)
            # Each dependency has two seconds for its check, and one for its description; the rest is for a loaded machine.
            assert answer.status_code == 200 and time.monotonic() - begun < 20
            return answer.text

        assert "No run is under way." in page()
        backends = own.sql("operated", "select pid from pg_stat_activity where datname = 'operated' and pid <> pg_backend_pid()")
        backends.append(own.process.pid)
        for backend in backends:
            # A connection may have been closed meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(backend), signal.SIGSTOP)
        try:
            silent = page()
            described = ops(server, "/readyz?verbose").text
        finally:
            for backend in backends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(backend), signal.SIGCONT)
        own.stop()
        stopped = page()
        own.start()
        assert f"[-] metadata: PostgreSQL at 127.0.0.1:{own.port}: no answer for " in described, described
        for text in (silent, stopped):
            assert "The list of runs is unavailable." in text and "Table of queues" in text, text
            assert "Arriving uploads" in text and ">metadata</th>" in text
        until(lambda: "No run is under way." in page(), "it is back")


def test_a_promoted_standby_that_missed_changes_is_refused(tmp_path):
    with Postgres(tmp_path) as primary, Standby(tmp_path, primary) as standby:
        name = primary.create("behind")
        url = primary.url(name).replace("127.0.0.1:", f"127.0.0.1:{standby.port},127.0.0.1:")
        flags = [*FLAGS, "--database", url]
        with Server(tmp_path, *flags, environment=with_password()) as server, Api(server.url) as api:
            known = api.project()
            count = "SELECT count(*) FROM entityd.entityd_projects"

            def has_it():
                # The standby may not have the database or the tables yet.
                with contextlib.suppress(AssertionError):
                    return standby.sql(name, count) == ["1"]

            until(has_it, "the standby has the first project")
            standby.stop(signal.SIGKILL)
            missed = [api.project() for _ in range(5)]
            primary.stop(signal.SIGKILL)
            standby.start()
            standby.promote()
            refusal = "has 1 of the 6 changes that were made to it: it is an older copy, or a standby that missed some"
            until(lambda: refusal in ops(server, "/readyz?verbose").text, "the loss is noticed")
            for project in [known, *missed]:
                answer = api.get(f"/projects/{project.id}", token=project.token)
                assert answer.status_code == 503, answer.text
            # The primary comes back with everything.
            standby.stop(signal.SIGKILL)
            primary.start()
            ready(server)
            assert all(api.get(f"/projects/{project.id}", token=project.token).status_code == 200 for project in [known, *missed])
            primary.stop(signal.SIGKILL)
            standby.start()
        with pytest.raises(AssertionError, match=refusal):
            Server(tmp_path, *flags, environment=with_password()).__enter__()


def test_a_promoted_standby_is_followed_and_nothing_is_lost(tmp_path):
    # The standby has everything that the primary has confirmed.
    with Postgres(tmp_path) as primary, Standby(tmp_path, primary) as standby:
        checked = subprocess.run([BINARY, "check", "--json", "--data-dir", tmp_path / "data", "--database", primary.url("postgres")],
                                 capture_output=True, text=True, env={**clean_environment(), **with_password()}, timeout=120, check=False)
        assert "a fail-over loses the changes that no standby has" in checked.stdout, checked.stdout
        primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.sql("postgres", "SELECT pg_reload_conf()")
        name = primary.create("replicated")
        # The standby is the first host, and refuses to write until it is promoted.
        url = primary.url(name).replace("127.0.0.1:", f"127.0.0.1:{standby.port},127.0.0.1:")
        environment = with_password(ENTITYD_SLOW_MS="compare=20")
        with Server(tmp_path, *FLAGS, "--database", url, environment=environment) as server, Api(server.url) as api:
            ready(server, "primary, replicas: 1, the slowest ", f" bytes behind at 127.0.0.1:{primary.port})")
            linkages = [begin(api, 2), begin(api, 3)]
            made = [project.id for project, _, _ in linkages]
            primary.stop(signal.SIGKILL)
            while (last := api.post("/projects", json={"schema": {}, "result_type": "groups"})).status_code == 201:
                made.append(last.json()["project_id"])
            assert last.status_code == 503 and int(last.headers["Retry-After"]) > 0, last.text
            ready(server, "only servers that refuse to write answer", status=503)
            standby.promote()
            ready(server)
            for _, run, expected in linkages:
                complete(run)
                assert as_sets(run.result()["groups"]) == expected
            stored = standby.sql(name, "SELECT project_id FROM entityd.entityd_projects")
            assert sorted(stored) == sorted(made)
            ready(server, f"primary, replicas: 0 at 127.0.0.1:{standby.port})")
