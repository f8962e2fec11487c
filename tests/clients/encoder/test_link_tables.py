"""`entityd link` on CSVs: encoded and linked in one command, with ids, scores, truth, cascades and duplicates."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest

from harness import linkage_schemas as schemas
from harness import people
from harness.oracle import Answer, as_sets

ROWS = 250
THRESHOLD = "0.75"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "schema.json").write_text(json.dumps(people.SCHEMA))
    (folder / "secret").write_text(people.SECRET)
    for party, rows in enumerate(people.small_tables(ROWS)):
        people.write_csv(folder / f"{party}.csv", rows)
    return folder


@pytest.fixture(scope="module")
def tables():
    rows = people.small_tables(ROWS)
    return rows, [people.encode(table) for table in rows]


def link(folder, *words, code=0):
    ended = schemas.run("link", *words, "--schema", folder / "schema.json")
    assert ended.returncode == code, ended.stderr
    return ended


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


def grouped(found):
    groups = {}
    for line in found:
        groups.setdefault(line["group"], []).append((int(line["dataset"]), int(line["record"])))
    return as_sets(groups.values())


@pytest.mark.parametrize("parties", [2, 3])
def test_tables_become_groups_with_ids_and_scores(folder, tables, parties):
    rows, encoded = tables
    files = [folder / f"{party}.csv" for party in range(parties)]
    secret = ["--secret-file", folder / "secret", "--threshold", THRESHOLD, "--id", "rec_id"]
    answer = Answer(encoded[:parties], float(THRESHOLD))
    found = lines(link(folder, *files, *secret).stdout)
    assert list(found[0]) == ["group", "dataset", "record", "id", "score"]
    assert grouped(found) == answer.groups()
    scores = {(tuple(left), tuple(right)): score for left, right, score in answer.scores()}
    for line in found:
        record = (int(line["dataset"]), int(line["record"]))
        assert line["id"] == rows[record[0]][record[1]][0]
    edges = lines(link(folder, *files, *secret, "--scores").stdout)
    for line in edges:
        left, right = (int(line["dataset_a"]), int(line["record_a"])), (int(line["dataset_b"]), int(line["record_b"]))
        assert float(line["score"]) == scores[left, right]
        assert line["id_b"] == rows[right[0]][right[1]][0]
    assert {line["group"] for line in edges} == {line["group"] for line in found}
    written = json.loads(link(folder, *files, *secret, "--scores", "--format", "json").stdout)
    assert as_sets(written["groups"]) == answer.groups() and len(written["scores"]) == len(written["groups"])
    for group, pairs in zip(written["groups"], written["scores"]):
        members = {tuple(record) for record in group}
        assert pairs and all({tuple(left), tuple(right)} <= members for left, right, _ in pairs)
        assert [score for *_, score in pairs] == sorted((score for *_, score in pairs), reverse=True)
        within = {ends for ends in scores if set(ends) <= members}
        assert within == {(tuple(left), tuple(right)) for left, right, _ in pairs}


def test_encodings_have_scores_in_groups_too(folder, tables):
    for party in (0, 1):
        (folder / f"{party}.bin").write_bytes(b"".join(tables[1][party]))
    words = ["link", folder / "0.bin", folder / "1.bin", "--encoding-bytes", 128, "--threshold", THRESHOLD]
    plain = json.loads(schemas.run(*words).stdout)
    scored = json.loads(schemas.run(*words, "--scores").stdout)
    assert as_sets(scored["groups"]) == as_sets(plain["groups"])
    assert [[pair[:2] for pair in pairs] for pairs in scored["scores"]] == [[sorted(group)] for group in scored["groups"]]
    assert schemas.run(*words, "--scores", "--result", "scores").returncode == 2


def test_one_table_is_compared_with_itself(folder, tables):
    rows, encoded = tables
    doubled = rows[0][:100] + rows[1][:100]
    people.write_csv(folder / "doubled.csv", doubled)
    found = lines(link(folder, folder / "doubled.csv", "--dedupe", "--threshold", THRESHOLD, "--id", "rec_id",
                       "--secret-file", folder / "secret").stdout)
    once = people.encode(doubled)
    pairs = [(left[1], right[1]) for left, right, _ in Answer([once, once], float(THRESHOLD)).scores() if left[1] < right[1]]
    parents = list(range(200))

    def root(record):
        while parents[record] != record:
            record = parents[record]
        return record

    for left, right in pairs:
        parents[max(root(left), root(right))] = min(root(left), root(right))
    expected = {}
    for record in range(200):
        expected.setdefault(root(record), []).append((0, record))
    assert grouped(found) == as_sets([group for group in expected.values() if len(group) > 1])
    assert len(found) > 50
    link(folder, folder / "0.csv", "--threshold", THRESHOLD, code=2)
    link(folder, folder / "0.csv", folder / "1.csv", "--dedupe", "--threshold", THRESHOLD, code=2)


def test_the_truth_gives_a_table_and_a_chart(folder, tables):
    rows, _ = tables
    numbers = [{row[0]: at for at, row in enumerate(table)} for table in rows[:2]]
    with (folder / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["person", "party", "record"])
        writer.writerows([name.split("-")[1], party, record] for party in (0, 1) for name, record in numbers[party].items())
    ended = link(folder, folder / "0.csv", folder / "1.csv", "--threshold", "0.6", "--truth", folder / "truth.csv",
                 "--chart", folder / "chart.svg", "--secret-file", folder / "secret", "-o", folder / "out.csv")
    head = next(at for at, line in enumerate(ended.stderr.splitlines()) if line.startswith("threshold"))
    *table, written = [line.split() for line in ended.stderr.splitlines()[head + 1:]]
    assert written[1] == "groups"
    assert len(table) == 21 and table[0][0] == "0.60" and table[-1][0] == "1.00"
    # Computed by hand, for the threshold of the result.
    groups = grouped(lines((folder / "out.csv").read_text()))
    person = lambda record: rows[record[0]][record[1]][0].split("-")[1]
    right = sum(len({person(record) for record in group}) == 1 for group in groups)
    shared = len({name.split("-")[1] for name in numbers[0]} & {name.split("-")[1] for name in numbers[1]})
    assert table[0][1:5] == [str(len(groups)), str(len(groups)), f"{right / len(groups):.4f}", f"{right / shared:.4f}"]
    assert float(table[0][4]) > 0.9
    chart = ElementTree.parse(folder / "chart.svg").getroot()
    assert chart.tag.endswith("svg") and len(chart.findall("{http://www.w3.org/2000/svg}polyline")) == 3


def test_the_truth_about_other_parties_does_not_count(folder, tables):
    """Without that, two of three parties could find at most a third of the pairs."""
    (folder / "some.csv").write_text("person,party,record\n" + "".join(f"{row},{party},{row}\n" for row in range(9) for party in range(3)))
    ended = link(folder, folder / "0.csv", folder / "0.csv", "--threshold", "1", "--truth", folder / "some.csv", "-o", folder / "out.csv")
    assert "9 records of other parties than those of the 2 files do not count" in ended.stderr
    assert ended.stderr.splitlines()[-2].split()[4] == "1.0000", ended.stderr


def test_options_that_would_do_nothing_and_files_that_are_missing(folder, tables):
    two = [folder / "0.csv", folder / "1.csv"]
    link(folder, *two, "--threshold", THRESHOLD, "--encoding-bytes", "128", code=2)
    ended = link(folder, *two, folder / "none.csv", "--threshold", THRESHOLD, code=1)
    assert "none.csv" in ended.stderr and "encoding" not in ended.stderr
    ended = schemas.run("link", *two, "--threshold", THRESHOLD)
    assert ended.returncode == 3 and "to link CSVs, give --schema" in ended.stderr
    (folder / "same.bin").write_bytes(b"".join(tables[1][0]))
    ended = schemas.run("link", *[folder / "same.bin"] * 2, "--encoding-bytes", 128, "--threshold", THRESHOLD, "--delimiter", ";")
    assert ended.returncode == 2 and "give --schema" in ended.stderr


def test_advice_without_the_truth(folder):
    ended = link(folder, folder / "0.csv", folder / "1.csv", "--threshold", "0.4", "--advise")
    advice = next(line for line in ended.stderr.splitlines() if line.startswith("advice"))
    assert 0.5 < float(advice.split("--threshold ")[1].split(",")[0]) < 0.85, ended.stderr
    ended = link(folder, folder / "0.csv", folder / "1.csv", "--threshold", "0.95", "--advise")
    assert "advice: none" in ended.stderr


def test_a_cascade_excludes_linked_records(folder, tables):
    rows, encoded = tables
    strict = json.loads(json.dumps(people.SCHEMA))
    for feature in strict["features"]:
        if feature["identifier"] not in ("soc_sec_id", "date_of_birth"):
            feature.pop("format", None), feature.pop("hashing", None)
            feature["ignored"] = True
        if feature["identifier"] == "soc_sec_id":
            feature.update(people.text_field("soc_sec_id", 2, 200))
            feature.pop("ignored", None)
    (folder / "strict.json").write_text(json.dumps(strict))
    words = [folder / "0.csv", folder / "1.csv", "--threshold", "0.9", "--secret-file", folder / "secret"]
    first = grouped(lines(schemas.run("link", *words, "--schema", folder / "strict.json").stdout))
    both = schemas.run("link", *words, "--schema", folder / "strict.json", "--schema", folder / "schema.json")
    assert both.returncode == 0, both.stderr
    found = lines(both.stdout)
    assert list(found[0]) == ["group", "schema", "dataset", "record", "score"]
    assert grouped(line for line in found if line["schema"] == "0") == first
    taken = {record for group in first for record in group}
    left = [[row for row in range(ROWS) if (party, row) not in taken] for party in (0, 1)]
    answer = Answer([[encoded[party][row] for row in left[party]] for party in (0, 1)], 0.9).groups()
    second = {frozenset((party, left[party][row]) for party, row in group) for group in answer}
    assert grouped(line for line in found if line["schema"] == "1") == second
    assert first and second and len({(line["dataset"], line["record"]) for line in found}) == len(found)


def test_a_bad_row_is_named_without_its_value(folder, tmp_path):
    text = (folder / "0.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([*text[:3], "Zebedee,too,short", *text[3:]]))
    ended = link(folder, tmp_path / "bad.csv", folder / "1.csv", "--threshold", "0.8", code=3)
    assert "bad.csv: line 4: " in ended.stderr and "Zebedee" not in ended.stderr and ended.stdout == ""
    ended = link(folder, folder / "0.csv", folder / "1.csv", "--threshold", "0.8", "--id", "nothing", code=3)
    assert "0.csv: --id nothing: the header has no such column" in ended.stderr
    words = ["--threshold", "0.8", "--truth", folder / "1.csv"]
    ended = link(folder, folder / "0.csv", folder / "1.csv", *words, code=3)
    assert "1.csv: --truth person: the header has no such column" in ended.stderr


@pytest.mark.parametrize("flag", ["-o", "--chart"])
@pytest.mark.parametrize("name", ["0.csv", "schema.json", "secret", "truth.csv"])
def test_no_output_overwrites_an_input(folder, flag, name):
    (folder / "truth.csv").write_text("person,party,record\n1,0,0\n")
    before = (folder / name).read_bytes()
    words = ["--secret-file", folder / "secret", "--truth", folder / "truth.csv", "--threshold", THRESHOLD]
    refused = link(folder, folder / "0.csv", folder / "1.csv", *words, flag, folder / name, code=2)
    assert "which is an input; give another file" in refused.stderr
    assert (folder / name).read_bytes() == before
