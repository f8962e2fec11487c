"""The metadata in PostgreSQL: directly, with TLS, through PgBouncer; its owner, and its schema versions."""

import concurrent.futures
import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import time

import pytest
import requests

from harness.api import Api, Project, Run
from harness.oracle import Answer, as_sets
from harness.postgres import PASSWORD, PgBouncer, StepCutter, with_password
from harness.server import BINARY, Server, clean_environment, free_ports

RECORDS = 300
VIEWS = {
    "entityd_projects": "project_id, name, notes, result_type, parties, encoding_bytes",
    "entityd_parties": "project_id, party, state, records, encoding_bytes, blocks, message",
    "entityd_runs": "project_id, run_id, name, notes, threshold, state, message, comparisons_total, comparisons, pairs, groups",
}


def people(seed=0):
    """Two datasets in which every third record has a twin."""
    datasets = [[os.urandom(64) for _ in range(RECORDS)] for _ in range(2)]
    datasets[1][::3] = datasets[0][::3]
    return datasets


def link(api, datasets):
    """Links the datasets; returns the project and the run, which is complete and right."""
    project = api.project(name="näme \0 ␀", notes="it's \\ a note")
    for party, encodings in enumerate(datasets):
        project.upload_binary(party, encodings)
    run = project.run(0.9)
    assert as_sets(run.result()["groups"]) == Answer(datasets, 0.9).groups()
    return project, run


def command(*words, environment=None):
    environment = {**clean_environment(), **(environment or {})}
    return subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, env=environment, timeout=120)


def fails(folder, url, environment=None, *flags):
    """Starts a server that must refuse to start; returns its error."""
    ports = free_ports(3)
    listen = [word for flag, port in zip(["--listen", "--s3-listen", "--ops-listen"], ports) for word in (flag, port)]
    done = command("serve", *listen, "--data-dir", folder / "data", "--database", url, *flags, environment=environment)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert PASSWORD not in done.stderr + done.stdout
    return done.stderr


@pytest.mark.parametrize("way", ["straight", "pgbouncer", "tls"])
def test_everything_works_and_survives_a_restart(postgres, database, tmp_path, way):
    with PgBouncer(tmp_path, postgres) as bouncer:
        ca = postgres.folder / "ca.pem"
        url, password = {
            "straight": (postgres.url(database), PASSWORD),
            "pgbouncer": (postgres.url(database, port=bouncer.port), PASSWORD),
            "tls": (postgres.url(database, f"sslmode=verify-full&sslrootcert={ca}", "localhost"), PASSWORD),
        }[way]
        file = tmp_path / "password"
        file.write_text(password + "\n")
        file.chmod(0o600)
        flags = ["--database", url, "--database-password-file", str(file)]
        with Server(tmp_path, *flags) as server, Api(server.url) as api:
            datasets = people()
            project, run = link(api, datasets)
            gone, _ = link(api, datasets)
            assert gone.delete().status_code == 204
            assert requests.get(f"http://127.0.0.1:{server.ops_port}/readyz?verbose").status_code == 200
        with Server(tmp_path, *flags) as server, Api(server.url) as api:
            again = Project(api, {"project_id": project.id, "result_token": project.token, "update_tokens": []})
            assert as_sets(Run(again, run.id).result()["groups"]) == Answer(datasets, 0.9).groups()
            assert again.describe().json()["name"] == "näme \0 ␀"
            link(api, datasets)
            log = server.log.read_text()
        assert PASSWORD not in log and not (tmp_path / "data/metadata.db").exists()
        assert f"entityd@{'localhost' if way == 'tls' else '127.0.0.1'}" in log, "the banner names the database"
        if way == "tls":
            tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND datname = '%s'"
            assert postgres.sql("postgres", tls % database) == ["0"]


def test_certificates_are_verified_as_far_as_sslmode_says(postgres, database, tmp_path):
    ca = f"sslrootcert={postgres.folder}/ca.pem"
    status = lambda query, host: command(
        "migrate", "status", "--database", postgres.url(database, query, host), environment=with_password()
    )
    for query, host, is_accepted in [
        (f"sslmode=verify-full&{ca}", "localhost", True),
        (f"sslmode=verify-full&{ca}", "127.0.0.1", False),
        (f"sslmode=verify-ca&{ca}", "127.0.0.1", True),
        ("sslmode=verify-ca", "localhost", False),
        ("sslmode=require", "127.0.0.1", True),
        ("sslmode=prefer", "127.0.0.1", True),
    ]:
        done = status(query, host)
        assert (done.returncode == 0) == is_accepted, (query, host, done.stderr)
        if not is_accepted:
            assert "certificate" in done.stderr and "--database-ca-file" in done.stderr, done.stderr
    hidden = status(f"sslmode=verify-full&sslrootcert={tmp_path}/none.pem", "localhost")
    assert hidden.returncode == 1 and "none.pem" in hidden.stderr


def test_an_operator_error_is_reported_in_one_sentence(postgres, database, tmp_path):
    url = postgres.url(database)
    assert "--database-password-file" in fails(tmp_path, url, with_password("wrong"))
    assert "--database-password-file" in fails(tmp_path, url)
    assert "CREATE DATABASE" in fails(tmp_path, postgres.url("nowhere"), with_password())
    latin = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres.sql("postgres", latin)
    assert "ENCODING 'UTF8'" in fails(tmp_path, postgres.url("latin"), with_password())
    postgres.sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = url.replace("entityd@", "guest@")
    assert "CREATE SCHEMA entityd AUTHORIZATION" in fails(tmp_path, guest, with_password("guest"))
    postgres.sql(database, "CREATE SCHEMA entityd AUTHORIZATION guest")
    with Server(tmp_path, "--database", guest, environment=with_password("guest")):
        pass


def test_a_password_is_never_shown_and_is_not_a_flag(postgres, tmp_path):
    url = "postgres://me:hush@db.example/linkage?sslmode=require"
    flag = command("config", "show", "--database", url)
    assert flag.returncode == 2 and "hush" not in flag.stderr and "--database-password-file" in flag.stderr
    assert command("config", "show", "--database-password", "hush").returncode == 2
    shown = command("config", "show", environment={"ENTITYD_DATABASE": url, "DATABASE_PASSWORD": "hush"})
    assert "postgres://me:***@db.example/linkage" in shown.stdout and "hush" not in shown.stdout
    wrong = command("config", "show", environment={"ENTITYD_DATABASE": url + "&what=1"})
    assert wrong.returncode == 2 and "hush" not in wrong.stderr
    nowhere = command("config", "show", "--database", "postgres:")
    assert nowhere.returncode == 2 and "the host" in nowhere.stderr


def test_the_variables_of_the_reference_service_name_the_database(postgres, database):
    variables = {
        "DATABASE_SERVER": f"127.0.0.1:{postgres.port}",
        "POSTGRES_DB": database,
        "DATABASE_USER": "entityd",
        "POSTGRES_PASSWORD": PASSWORD,
    }
    done = command("migrate", "apply", "--database", "postgres:", environment=variables)
    assert done.returncode == 0 and "from version 0 to 4" in done.stdout, done.stderr
    assert postgres.sql(database, "SELECT version FROM entityd.schema_version") == ["4"]
    # Without --database they have no effect.
    shown = command("config", "show", "--json", environment=variables)
    settings = {entry["key"]: entry["value"] for entry in json.loads(shown.stdout)}
    assert settings["database"] == "" and settings["database_user"] == "entityd"
    assert PASSWORD not in shown.stdout and settings["database_password"] == "***"


def test_servers_and_migrations_that_start_at_once(postgres, database, tmp_path):
    url = postgres.url(database)
    assert "entityd migrate apply" in fails(tmp_path, url, with_password(), "--migrate", "never")
    migrate = lambda _: command("migrate", "apply", "--database", url, environment=with_password())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(migrate, range(8)))
    assert all(one.returncode == 0 for one in done), [one.stderr for one in done]
    assert sum("from version 0 to 4" in one.stdout for one in done) == 1
    status = command("migrate", "status", "--database", url, environment=with_password())
    assert "up to date" in status.stdout
    # Servers with data directories of their own: the first one owns the database.
    fresh = postgres.create(database + "fresh")
    folders = [tmp_path / str(number) for number in range(8)]
    servers = []
    for folder in folders:
        folder.mkdir()
        ports = [str(port) for port in free_ports(3)]
        words = ["serve", "--listen", ports[0], "--s3-listen", ports[1], "--ops-listen", ports[2], "--data-dir", folder / "data"]
        words += ["--database", postgres.url(fresh)]
        with (folder / "log").open("wb") as log:
            environment = {**clean_environment(), **with_password()}
            servers.append(subprocess.Popen([BINARY, *words], stdout=log, stderr=log, env=environment))
    try:
        deadline = time.monotonic() + 120
        while sum(server.poll() is None for server in servers) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        logs = [folder.joinpath("log").read_text() for folder in folders]
        refused = ("belongs to the data directory", "another node uses the database")
        assert sum(any(words in log for words in refused) for log in logs) == 7, logs
        assert [server.poll() for server in servers].count(1) == 7
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=90)


def schema_of(postgres, database):
    """Returns the tables, columns, indexes and views, as text, and the version."""
    columns = "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
    queries = [
        f"{columns} WHERE table_schema = 'entityd' ORDER BY 1, 2, 3",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'entityd' ORDER BY 1",
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'entityd' ORDER BY 1",
    ]
    return [postgres.sql(database, query) for query in queries]


def test_a_migration_that_is_cut_at_any_message_leaves_all_or_nothing(postgres, database):
    apply = lambda url: command("migrate", "apply", "--database", url, environment=with_password())
    with StepCutter(postgres.port, 0, "before") as cutter:
        assert apply(postgres.url(database, port=cutter.port)).returncode == 0
    whole = schema_of(postgres, database)
    assert all(whole), whole
    cases = [(step, cut) for step in range(1, 1 - cutter.step) for cut in ("before", "after")]
    assert len(cases) > 10, cases
    random.Random(os.environ.get("TESTS_SEED")).shuffle(cases)
    wanted, made = len(cases) if os.environ.get("TESTS_LONG") == "1" else 3, 0
    for step, cut in cases:
        if made == wanted:
            break
        name = postgres.create(f"{database}_{step}_{cut}")
        with StepCutter(postgres.port, step, cut) as cutter:
            done = apply(postgres.url(name, port=cutter.port))
        # Messages that arrive together are one step: there may be fewer steps than those that were counted.
        assert cutter.cuts[cut] == 1 or done.returncode == 0, (step, cut, done.stderr)
        made += cutter.cuts[cut]
        found = schema_of(postgres, name)
        assert found in ([[], [], []], whole), (step, cut, found)
        said = [line for line in done.stderr.splitlines() if line.startswith("entityd: ")]
        assert len(said) == (0 if done.returncode == 0 else 1), done.stderr
        again = apply(postgres.url(name))
        assert again.returncode == 0 and schema_of(postgres, name) == whole, (step, cut, again.stderr)
        postgres.sql("postgres", f"DROP DATABASE {name}")
    print(f"cut {made} times")
    assert made >= 3, cases


def test_metadata_in_one_database_is_not_ignored_by_the_other(postgres, database, tmp_path):
    url = postgres.url(database)
    embedded, elsewhere = tmp_path / "embedded", tmp_path / "elsewhere"
    embedded.mkdir()
    elsewhere.mkdir()
    with Server(embedded):
        pass
    assert "metadata.db" in fails(embedded, url, with_password())
    with Server(elsewhere, "--database", url, environment=with_password()):
        pass
    assert "--database" in fails(elsewhere, "sqlite:")
    # No other store is made before the mistake is noticed.
    shutil.rmtree(elsewhere / "data" / "queue")
    assert "the queue is damaged" not in fails(elsewhere, "sqlite:")
    assert not (elsewhere / "data" / "queue").exists()


def test_a_backup_says_that_it_is_without_the_database(postgres, database, tmp_path):
    with Server(tmp_path, "--database", postgres.url(database), environment=with_password()):
        pass
    source = ["--data-dir", tmp_path / "data"]
    done = command("backup", *source, "--to", tmp_path / "backup", environment={**with_password(), "ENTITYD_DATABASE": postgres.url(database)})
    assert done.returncode == 0 and "in PostgreSQL: back those up there" in done.stdout + done.stderr, done
    said = command("backup", "inspect", tmp_path / "backup")
    assert "in PostgreSQL" in said.stdout, said


def test_the_views_show_the_same_from_both(postgres, database, tmp_path):
    datasets = people()
    folders = [tmp_path / "embedded", tmp_path / "postgres"]
    described = []
    for folder, flags in zip(folders, [[], ["--database", postgres.url(database)]]):
        folder.mkdir()
        with Server(folder, *flags, environment=with_password()) as server, Api(server.url) as api:
            project, run = link(api, datasets)
            waiting = api.project(parties=3)
            described.append({project.id: "P", run.id: "R", waiting.id: "W"})
    for view, columns in VIEWS.items():
        with contextlib.closing(sqlite3.connect(folders[0] / "data/metadata.db")) as embedded:
            listed = embedded.execute(f"SELECT {columns} FROM {view}").fetchall()
            added = embedded.execute("SELECT added FROM entityd_projects").fetchone()[0]
        assert added[10] == "T" and added.endswith("Z") and len(added) == 24
        rows = f"SELECT json_agg(json_build_array({columns})) FROM entityd.{view}"
        stored = json.loads("".join(postgres.sql(database, rows)))
        named = lambda rows, names: sorted(
            json.dumps([names.get(value, str(value).replace("\0", "␀")) for value in row]) for row in rows
        )
        assert named(listed, described[0]) == named(stored, described[1]), view


def test_check_describes_postgresql_and_warns_of_unsafe_settings(postgres, database, tmp_path):
    def checked(url, **variables):
        done = command("check", "--json", "--data-dir", tmp_path / "data", "--database", url, environment=variables)
        assert PASSWORD not in done.stdout + done.stderr
        findings = json.loads(done.stdout)["checks"]
        return [(finding["state"], finding["detail"]) for finding in findings if finding["check"] == "database"]

    (state, detail), *warnings = checked(postgres.url(database), ENTITYD_DATABASE_PASSWORD=PASSWORD)
    assert state == "ok" and "no tables yet" in detail and f":{postgres.port}" in detail, detail
    assert [state for state, _ in warnings] == ["warning"] and "fsync is off" in warnings[0][1], warnings
    ((state, detail),) = checked(postgres.url(database), ENTITYD_DATABASE_PASSWORD="wrong")
    assert state == "failed" and "password" in detail, detail
