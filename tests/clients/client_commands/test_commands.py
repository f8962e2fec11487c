"""`entityd project`, `upload`, `run`, `result` and `forecast` against a real server."""

import base64
import csv
import gzip
import io
import json
import os
import stat

import pytest

from harness import arrow, people
from harness.api import is_token, text_of
from harness.commands import Commands, private
from harness.oracle import Answer, as_sets, bit_patterns
from harness.samples import encodings
from harness.server import Server
from harness.wait import until

ROWS = 200
THRESHOLD = 0.75


@pytest.fixture(scope="module")
def tables():
    """Three parties of people: rows, and their encodings."""
    rows = people.small_tables(ROWS)
    return rows, [people.encode(table) for table in rows]


@pytest.fixture
def folder(tmp_path, tables):
    for party, (rows, encoded) in enumerate(zip(*tables)):
        people.write_csv(tmp_path / f"{party}.csv", rows)
        (tmp_path / f"{party}.json").write_text(json.dumps({"clks": [text_of(one) for one in encoded]}))
        (tmp_path / f"{party}.bin").write_bytes(b"".join(encoded))
    return tmp_path


@pytest.fixture
def commands(folder, server):
    return Commands(folder, ENTITYD_SERVER=server.origin)


def lines(text):
    return list(csv.reader(io.StringIO(text)))


def arrow_of(commands, *words):
    """The columns and rows of a result as Arrow."""
    assert commands.done(*words, "--format", "arrow", "-o", "out.arrows") == ""
    return arrow.read((commands.folder / "out.arrows").read_bytes())


def study(commands, *words, parties=2, files=None, flags=()):
    """A project with profiles in `study`, to which the parties have uploaded."""
    commands.done("project", "create", "--save", "study", "--parties", parties, *words)
    for party in range(parties):
        name = (files or [f"{number}.json" for number in range(parties)])[party]
        said = commands.done("upload", name, "--profile", f"study/party-{party}.toml", *flags)
        assert "receipt token is in" in said
    return ["--profile", "study/analyst.toml"]


def test_groups_from_the_creation_to_the_ids(commands, folder, tables):
    rows, encoded = tables
    analyst = study(commands, "--name", "A study", parties=3, files=["0.json", "1.bin", "2.json"], flags=["--encoding-bytes", 128])
    shown = json.loads(commands.done("project", "show", "--json", *analyst))
    assert shown["name"] == "A study" and shown["parties_contributed"] == 3
    assert shown["project_id"] in commands.done("project", "list")
    run = commands.done("run", "create", "--threshold", THRESHOLD, *analyst).strip()
    assert is_token(run)
    assert "completed after" in commands.done("run", "watch", *analyst)
    seen = [json.loads(line) for line in commands.done("run", "watch", run, "--json", *analyst).splitlines()]
    assert seen[-1]["state"] == "completed"
    assert [run, "completed"] == commands.done("run", "list", *analyst).splitlines()[1].split()[:2]

    expected = Answer(encoded, THRESHOLD).groups()
    plain = commands.done("result", "get", *analyst)
    assert as_sets(json.loads(plain)["groups"]) == expected
    ndjson = commands.done("result", "get", run, "--format", "ndjson", *analyst)
    assert as_sets([json.loads(line) for line in ndjson.splitlines()]) == expected
    joined = commands.done("result", "get", *analyst, "--with", "0=0.csv", "--with", "2=2.csv", "--id", "rec_id", "-o", "ids.csv")
    assert joined == ""
    head, *body = lines((folder / "ids.csv").read_text())
    assert head == ["group", "dataset", "record", "id"]
    for _, dataset, record, found in body:
        assert found == ("" if dataset == "1" else rows[int(dataset)][int(record)][0])
    groups = {}
    for group, dataset, record, _ in body:
        groups.setdefault(group, []).append((int(dataset), int(record)))
    assert as_sets(groups.values()) == expected

    columns, found = arrow_of(commands, "result", "get", *analyst)
    assert columns == arrow.COLUMNS["groups"] and found == arrow.rows_of(json.loads(plain)["groups"], "groups")
    columns, found = arrow_of(commands, "result", "get", *analyst, "--with", "0=0.csv", "--with", "2=2.csv", "--id", "rec_id")
    assert list(columns) == head and columns["id"] == "string"
    assert [["" if value is None else str(value) for value in row] for row in found] == body
    assert [row[3] is None for row in found] == [row[1] == 1 for row in found]

    commands.done("run", "delete", run, *analyst)
    assert "no run yet" in commands.refused(3, "result", "get", *analyst)
    commands.done("project", "delete", *analyst)
    assert "no access" in commands.refused(3, "project", "show", *analyst)


def test_scores_equal_the_csv_of_the_server(commands, api, tables):
    analyst = study(commands, "--result-type", "similarity_scores")
    commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    ours = commands.done("result", "get", *analyst)
    assert bit_patterns(json.loads(ours)["similarity_scores"]) == bit_patterns(Answer(tables[1][:2], THRESHOLD).scores())
    profile = dict(line.split(" = ") for line in (commands.folder / "study/analyst.toml").read_text().splitlines())
    project, token = json.loads(profile["project_id"]), json.loads(profile["result_token"])
    run = commands.done("run", "list", *analyst).splitlines()[1].split()[0]
    for form, kind in [("csv", "text/csv"), ("json", "application/json")]:
        theirs = api.get(f"/projects/{project}/runs/{run}/result", token, headers={"Accept": kind})
        commands.done("result", "get", *analyst, "--format", form, "-o", "out")
        assert (commands.folder / "out").read_bytes() == theirs.content, form
    theirs = api.get(f"/projects/{project}/runs/{run}/result", token, headers={"Accept": arrow.MEDIA_TYPE})
    assert arrow_of(commands, "result", "get", *analyst) == arrow.read(theirs.content)
    with_ids = lines(commands.done("result", "get", *analyst, "--with", "1=1.csv", "--with", "0=0.csv", "--id", "rec_id", "--id", "surname"))
    assert with_ids[0] == ["dataset_a", "record_a", "id_a", "dataset_b", "record_b", "id_b", "score"]
    for _, left, id_a, _, right, id_b, _ in with_ids[1:]:
        assert id_a == tables[0][0][int(left)][2] and id_b == tables[0][1][int(right)][0]


def test_the_scores_within_groups(commands, folder, tables):
    rows, encoded = tables
    analyst = study(commands, parties=3, files=["0.json", "1.bin", "2.json"], flags=["--encoding-bytes", 128])
    commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    get = ["result", "get", "--scores", *analyst]
    assert "without `scores`" in commands.refused(3, *get)
    run = json.loads(commands.done("run", "create", "--threshold", THRESHOLD, "--scores", "--json", *analyst))
    assert run["scores"] is True
    commands.done("result", "get", "--wait", *analyst)
    answer = json.loads(commands.done(*get))
    wanted = Answer(encoded, THRESHOLD).group_scores(answer["groups"])
    assert answer["scores"] == wanted and any(len(pairs) == 3 for pairs in wanted)
    ndjson = commands.done(*get, "--format", "ndjson")
    assert [json.loads(line) for line in ndjson.splitlines()] == wanted
    flat = [[str(at), *map(str, [*a, *b]), repr(score)] for at, pairs in enumerate(wanted) for a, b, score in pairs]
    head, *body = lines(commands.done(*get, "--format", "csv"))
    assert head == ["group", "dataset_a", "record_a", "dataset_b", "record_b", "score"] and body == flat
    joined = commands.done(*get, "--with", "0=0.csv", "--with", "2=2.csv", "--id", "rec_id")
    head, *body = lines(joined)
    assert head == ["group", "dataset_a", "record_a", "id_a", "dataset_b", "record_b", "id_b", "score"]

    def identity(dataset, record):
        return "" if dataset == "1" else rows[int(dataset)][int(record)][0]

    assert body == [[g, d, r, identity(d, r), e, s, identity(e, s), score] for g, d, r, e, s, score in flat]
    columns, found = arrow_of(commands, *get)
    assert columns == arrow.COLUMNS["scores"] and found == arrow.rows_of(wanted, "scores")
    columns, found = arrow_of(commands, *get, "--with", "0=0.csv", "--with", "2=2.csv", "--id", "rec_id")
    assert list(columns) == head
    assert [["" if value is None else str(value) for value in row] for row in found] == body
    assert "cannot be used with" in commands.run(*get, "--mask", "mask.json", "--with", "0=0.csv").stderr
    commands.done("project", "create", "--save", "other", "--result-type", "similarity_scores")
    create = ["run", "create", "--threshold", THRESHOLD, "--scores", "--profile", "other/analyst.toml"]
    assert "`scores`" in commands.refused(3, *create)


def test_a_permutation_is_applied_with_the_mask(commands, folder, tables):
    (folder / "0.bin").write_bytes((folder / "0.bin").read_bytes()[: 128 * 150])
    rows = [tables[0][0][:150], tables[0][1]]
    people.write_csv(folder / "0.csv", rows[0])
    analyst = study(commands, "--result-type", "permutations", files=["0.bin", "1.bin"], flags=["--encoding-bytes", 128])
    run = commands.done("run", "create", "--threshold", THRESHOLD, *analyst).strip()
    commands.done("result", "get", run, "--wait", "-o", "mask.json", *analyst)
    expected = Answer([tables[1][0][:150], tables[1][1]], THRESHOLD).groups()
    mask = json.loads((folder / "mask.json").read_text())["mask"]
    assert arrow_of(commands, "result", "get", run, *analyst) == (arrow.COLUMNS["mask"], arrow.rows_of(mask, "mask"))
    matched, ids = [], []
    for party in (0, 1):
        own = ["result", "get", run, "--profile", f"study/party-{party}.toml"]
        assert "RUN" in commands.refused(2, *own[:2], *own[3:])
        whole = lines(commands.done(*own, "--with", f"{party}.csv"))
        assert whole[0] == people.COLUMNS and sorted(whole[1:]) == sorted(rows[party])
        matched.append(lines(commands.done(*own, "--with", f"{party}.csv", "--mask", "mask.json"))[1:])
        ids.append(lines(commands.done(*own, "--with", f"{party}.csv", "--mask", "mask.json", "--id", "rec_id"))[1:])
        permutation = json.loads(commands.done(*own))
        assert permutation["rows"] == 150
        columns, found = arrow_of(commands, *own)
        assert columns == arrow.COLUMNS["permutation"] and found == arrow.rows_of(permutation["permutation"], "permutation")
        said = commands.refused(2, *own, "--with", f"{party}.csv", "--format", "arrow")
        assert "only as csv" in said
        said = commands.refused(3, *own, "--with", f"{1 - party}.csv")
        assert "is it the right file" in said
    number = [{row[0]: at for at, row in enumerate(table)} for table in rows]
    pairs = {frozenset(((0, number[0][left[0]]), (1, number[1][right[0]]))) for left, right in zip(*matched, strict=True)}
    assert pairs == expected and len(expected) > 50
    assert [line[0] for line in ids[0]] == [line[0] for line in ids[1]]
    assert [line[2] for line in ids[0]] == [row[0] for row in matched[0]]


@pytest.mark.parametrize("route", ["api", "store"])
def test_blocks_are_uploaded_by_both_routes(commands, folder, tables, route):
    rows, encoded = tables
    names = [[[row[8]] if row[8] else [] for row in table] for table in rows]
    for party in (0, 1):
        listed = {str(record): blocks for record, blocks in enumerate(names[party]) if blocks}
        (folder / f"blocks-{party}.json").write_text(json.dumps({"blocks": listed, "meta": {}}))
    commands.done("project", "create", "--save", "study", "--blocks")
    for party in (0, 1):
        commands.done("upload", f"{party}.json", "--blocks", f"blocks-{party}.json", "--route", route, "--profile", f"study/party-{party}.toml")
    analyst = ["--profile", "study/analyst.toml"]
    commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    groups = as_sets(json.loads(commands.done("result", "get", *analyst))["groups"])
    assert groups == Answer(encoded[:2], THRESHOLD, names[:2]).groups()


def test_every_form_and_route_of_an_upload(commands, folder, tables):
    expected = Answer(tables[1][:2], THRESHOLD).groups()
    (folder / "0.json.gz").write_bytes(gzip.compress((folder / "0.json").read_bytes()))
    forms = [(["0.json.gz"], "auto"), (["0.bin", "--encoding-bytes", "128"], "json"), (["0.json"], "store"), (["0.json"], "json")]
    for number, (words, route) in enumerate(forms):
        saved = f"study-{number}"
        commands.done("project", "create", "--save", saved)
        for party, file in enumerate([words, ["1.json"]]):
            commands.done("upload", *file, "--route", route, "--profile", f"{saved}/party-{party}.toml")
        analyst = ["--profile", f"{saved}/analyst.toml"]
        commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
        assert as_sets(json.loads(commands.done("result", "get", *analyst))["groups"]) == expected, words


def test_a_large_file_is_uploaded_as_multipart(commands, folder):
    rows = encodings(40_000, 1024, 3)
    (folder / "large.bin").write_bytes(b"".join(rows))
    (folder / "small.bin").write_bytes(b"".join(rows[:3]))
    commands.done("project", "create", "--save", "study")
    for party, name in enumerate(["large.bin", "small.bin"]):
        ended = commands.run("upload", name, "--encoding-bytes", 1024, "--route", "store", "--profile", f"study/party-{party}.toml")
        assert ended.returncode == 0 and "to the object store" in ended.stderr, ended.stderr
    commands.done("run", "create", "--threshold", 1, "--watch", "--profile", "study/analyst.toml")
    groups = json.loads(commands.done("result", "get", "--profile", "study/analyst.toml"))["groups"]
    assert as_sets(groups) == {frozenset(((0, row), (1, row))) for row in range(3)}


def test_a_lost_receipt_is_replaced(commands, folder):
    study(commands, "--result-type", "permutations")
    first = (folder / "study/party-0.toml").read_text()
    assert "has been used" in commands.refused(3, "upload", "0.json", "--profile", "study/party-0.toml")
    commands.done("upload", "0.json", "--again", "--profile", "study/party-0.toml")
    second = (folder / "study/party-0.toml").read_text()
    assert first != second and second.count("receipt_token") == 1
    said = commands.refused(3, "upload", "1.json", "--again", "--profile", "study/party-0.toml")
    assert "has been used, and the encodings differ" in said and "--again" not in said
    assert said.index("has been used") < said.index("check that"), "the reason comes before the advice"


def test_a_forecast(commands, tables):
    commands.done("project", "create", "--save", "empty")
    assert "409" in commands.refused(3, "forecast", "--profile", "empty/analyst.toml")
    analyst = study(commands)

    def forecast():
        # Until the uploads are processed there is no forecast.
        ended = commands.run("forecast", "--threshold", "0.9,0.75", "--json", *analyst)
        assert ended.returncode == 0 or "409" in ended.stderr, ended.stderr
        return ended.stdout

    answer = json.loads(until(forecast, "the data is ready"))
    pairs = [len(Answer(tables[1][:2], threshold).scores()) for threshold in (0.9, 0.75)]
    assert answer["exact"] and [one["pairs"] for one in answer["thresholds"]] == pairs
    printed = commands.done("forecast", "--threshold", "0.75", *analyst)
    assert printed.splitlines()[2].split()[:2] == ["0.75", str(pairs[1])]


def test_tokens_come_from_files_and_variables(commands, folder):
    created = json.loads(commands.done("project", "create", "--json"))
    project, token = created["project_id"], created["result_token"]
    key = ["project", "show", "--project", project]
    assert "token is missing" in commands.refused(2, *key)
    for ending in ["", "\n", "\r\n", " \n\n"]:
        private(folder / "token", token + ending)
        assert "parties_contributed" in commands.done(*key, "--token-file", "token")
        assert "parties_contributed" in commands.done(*key, ENTITYD_TOKEN=token + ending)
    # The response to the creation is a profile as well, for each of its parties.
    private(folder / "created.json", json.dumps(created))
    assert "parties_contributed" in commands.done("project", "show", "--profile", "created.json")
    assert "--party" in commands.refused(2, "upload", "0.json", "--profile", "created.json")
    said = commands.done("upload", "0.json", "--party", 1, "--profile", "created.json")
    assert is_token(said.split()[-1])
    os.chmod(folder / "created.json", 0o640)
    assert "chmod 600" in commands.refused(2, "project", "show", "--profile", "created.json")
    assert "unexpected argument" in commands.refused(2, *key, "--token", token)


def test_profiles_are_private_to_their_owner(commands, folder):
    commands.done("project", "create", "--save", "study")
    for path in (folder / "study").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in (folder / "study").iterdir()) == ["analyst.toml", "party-0.toml", "party-1.toml"]
    before = commands.done("project", "list")
    assert "not empty" in commands.refused(2, "project", "create", "--save", "study")
    assert commands.done("project", "list") == before, "no project without its profiles"


def test_each_fault_is_named(commands, folder):
    analyst = study(commands)
    for code, words, said in [
        (2, ["project", "show"], "--profile"),
        (2, ["project", "show", "--profile", "none.toml"], "--profile none.toml"),
        (2, ["project", "show", *analyst, "--ca", "none.pem"], "--ca none.pem"),
        (2, ["project", "show", *analyst, "--token-file", "none"], "none"),
        (2, ["project", "show", *analyst, "--token-file", "/dev/null"], "/dev/null is empty"),
        (2, ["project", "show", "--project", "../x"], "48 characters"),
        (2, ["run", "create", *analyst], "--threshold"),
        (2, ["run", "create", "--threshold", "1.5", *analyst], "threshold"),
        (3, ["run", "watch", "f" * 48, *analyst], "403"),
        (3, ["result", "get", *analyst], "no run yet"),
        (2, ["upload", "0.bin", "--profile", "study/party-0.toml"], "--encoding-bytes"),
        (1, ["upload", "none.json", "--profile", "study/party-0.toml"], "none.json"),
        (3, ["project", "create", "--parties", "3", "--result-type", "permutations"], "400"),
    ]:
        assert said in commands.refused(code, *words), words
    (folder / "bad.json").write_text('{"clks": ["!!"]}')
    assert "bad.json" in commands.refused(3, "upload", "bad.json", "--profile", "study/party-0.toml")
    # The server would accept them, and a party uploads once.
    commands.done("project", "create", "--save", "another")
    odd = ["upload", "0.bin", "--encoding-bytes", 4, "--profile", "another/party-0.toml"]
    assert "multiple of 8 bytes" in commands.refused(3, *odd)
    commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    assert "result token of the project" in commands.refused(3, "result", "get", "f" * 48, "--profile", "study/party-0.toml")
    get = ["result", "get", *analyst]
    for code, words, said in [
        (2, ["--with", "0.csv", "--id", "rec_id"], "--with 0=0.csv"),
        (2, ["--with", "0=0.csv"], "--id"),
        (2, ["--with", "2=0.csv", "--id", "rec_id"], "no dataset 2"),
        (3, ["--with", "0=0.csv", "--id", "nothing"], "no such column"),
        (2, ["--with", "0=0.csv", "--id", "rec_id", "--format", "json"], "ndjson or arrow"),
        (2, ["--with", "0=0.csv", "--with", "0=1.csv", "--id", "rec_id"], "two files"),
    ]:
        assert said in commands.refused(code, *get, *words), words
    people.write_csv(folder / "short.csv", people.small_tables(4)[0])
    assert "is it the right file" in commands.refused(3, *get, "--with", "0=short.csv", "--id", "rec_id", "-o", "out")
    assert not (folder / "out").exists()


def test_a_run_that_fails(commands, folder):
    for size in (16, 24):
        (folder / f"{size}.json").write_text(json.dumps({"clks": [base64.b64encode(bytes(size)).decode()]}))
    commands.done("project", "create", "--save", "study")
    analyst = ["--profile", "study/analyst.toml"]
    run = commands.done("run", "create", "--threshold", THRESHOLD, *analyst).strip()
    for party, size in enumerate((16, 24)):
        commands.done("upload", f"{size}.json", "--profile", f"study/party-{party}.toml")
    assert "the run failed" in commands.refused(1, "run", "watch", run, *analyst)
    assert "fetching the result" in commands.refused(1, "result", "get", run, *analyst)


def test_a_run_that_does_not_end_in_time(commands):
    commands.done("project", "create", "--save", "study")
    analyst = ["--profile", "study/analyst.toml"]
    run = commands.done("run", "create", "--threshold", THRESHOLD, *analyst).strip()
    ended = commands.run("run", "watch", run, "--timeout", "2s", *analyst)
    assert ended.returncode == 1 and ended.stdout == "", ended
    assert ended.stderr.splitlines()[0] == "the run waits for 2 of 2 parties to upload"
    assert "not ended within 2 s (--timeout)" in ended.stderr
    commands.done("upload", "0.json", "--profile", "study/party-0.toml")
    ended = commands.run("run", "create", "--threshold", THRESHOLD, "--watch", "--timeout", 1, *analyst)
    assert ended.returncode == 1 and "the run waits for 1 of 2 parties to upload" in ended.stderr
    assert len(ended.stdout.splitlines()) == 1 and len(ended.stdout.strip()) == 48, "only the id of the run"
    ended = commands.run("result", "get", run, "--wait", "--timeout", 1, *analyst)
    assert ended.returncode == 1 and ended.stdout == "" and "1 of 2 parties" in ended.stderr
    assert "--watch" in commands.refused(2, "run", "create", "--threshold", THRESHOLD, "--timeout", 1, *analyst)
    assert "no result yet" in commands.refused(3, "result", "get", run, *analyst)


def test_a_server_that_requires_the_admin_token(folder, tmp_path_factory):
    token = "an admin token of this test".replace(" ", "-")
    private(folder / "admin", token + "\n")
    flags = ["--require-admin-token", "true", "--admin-token-file", folder / "admin", "--tls", "self-signed"]
    with Server(tmp_path_factory.mktemp("guarded"), *map(str, flags)) as guarded:
        commands = Commands(folder, ENTITYD_SERVER=guarded.origin)
        # It is not tried again: the command ends at once.
        refusal = commands.refused(1, "project", "list", "--retry", 60)
        assert "--ca names its certificate" in refusal and "retrying" not in refusal
        trusting = ["--ca", guarded.certificate]
        assert "--admin-token-file" in commands.refused(2, "project", "create", *trusting)
        commands.done("project", "create", "--admin-token-file", "admin", "--save", "study", *trusting)
        # The profile names the certificate as well.
        assert "parties" in commands.done("project", "show", "--profile", "study/analyst.toml")
        assert "created" in commands.done("project", "list", *trusting, ENTITYD_ADMIN_TOKEN=token + "\n")


def test_no_token_and_no_value_is_printed_or_logged(commands, server, folder, tables):
    analyst = study(commands, "--result-type", "similarity_scores")
    commands.done("run", "create", "--threshold", THRESHOLD, "--watch", *analyst)
    tokens = [line.split('"')[1] for path in (folder / "study").iterdir() for line in path.read_text().splitlines() if "token" in line]
    assert len(tokens) == 5
    said = []
    for words in [
        ["result", "get", *analyst, "--with", "0=0.csv", "--id", "surnam"],
        ["run", "delete", "f" * 48, *analyst],
        ["upload", "0.json", "--profile", "study/party-0.toml"],
        ["project", "show", *analyst],
    ]:
        ended = commands.run(*words)
        said.append(ended.stdout + ended.stderr)
    everything = "".join(said) + server.log.read_text()
    assert not any(token in everything for token in tokens)
    assert not any(row[2] in "".join(said).split() for row in tables[0][0] if len(row[2]) > 4)
