"""From nothing to groups with one binary: people are generated, encoded by each party, and linked."""

import csv
import json

from clkhash import clk
from clkhash.schema import from_json_dict

from harness import linkage_schemas as schemas


def test_generated_people_are_encoded_and_linked(tmp_path):
    folder = tmp_path / "people"
    made = schemas.run("generate", folder, "--records", "300", "--seed", "7")
    assert made.returncode == 0, made.stderr
    (tmp_path / "secret").write_text("a secret\n")
    for party, ending in [(0, "json"), (1, "json.gz")]:
        ended = schemas.run("encode", folder / f"party-{party}.csv", "--schema", folder / "schema.json", "--secret-file",
                            tmp_path / "secret", "-o", tmp_path / f"{party}.{ending}", "--strict")
        assert ended.returncode == 0, ended.stderr
        assert "300 encodings of 128 bytes from 300 rows" in ended.stderr
    linked = schemas.run("link", tmp_path / "0.json", tmp_path / "1.json.gz", "--threshold", "0.8")
    assert linked.returncode == 0, linked.stderr
    groups = {frozenset(map(tuple, group)) for group in json.loads(linked.stdout)["groups"]}
    with open(folder / "truth.csv", newline="") as file:
        people = {}
        for row in csv.DictReader(file):
            people.setdefault(row["person"], set()).add((int(row["party"]), int(row["record"])))
    shared = {frozenset(records) for records in people.values() if len(records) == 2}
    assert len(shared) == 150
    assert len(groups & shared) > 140 and len(groups - shared) < 10


def test_the_same_seed_writes_the_same_files(tmp_path):
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        assert schemas.run("generate", tmp_path / name, "--records", "50", "--seed", seed).returncode == 0
    read = {name: [(path.name, path.read_bytes()) for path in sorted((tmp_path / name).iterdir())] for name in "abc"}
    assert read["a"] == read["b"] != read["c"]
    again = schemas.run("generate", tmp_path / "a")
    assert again.returncode == 2 and "is not empty" in again.stderr


def test_all_forms_hold_what_clkhash_makes(tmp_path):
    folder = tmp_path / "people"
    schemas.run("generate", folder, "--records", "20000", "--parties", "2")
    compiled = from_json_dict(json.loads((folder / "schema.json").read_text()))
    with open(folder / "party-1.csv") as file:
        expected = clk.generate_clk_from_csv(file, "s", compiled, progress_bar=False, max_workers=1)
    (tmp_path / "secret").write_text("s")
    arguments = ["encode", folder / "party-1.csv", "--schema", folder / "schema.json", "--secret-file", tmp_path / "secret"]
    rows = b"".join(one.tobytes() for one in expected)
    for threads in [1, 3]:
        assert schemas.run(*arguments, "-o", tmp_path / "out.bin", "--threads", threads).returncode == 0
        assert (tmp_path / "out.bin").read_bytes() == rows
    printed = schemas.run(*arguments)
    assert json.loads(printed.stdout) == {"clks": [clk_text(one) for one in expected]}


def clk_text(encoding):
    from clkhash.serialization import serialize_bitarray

    return serialize_bitarray(encoding)


def test_the_report_counts_bits_and_duplicates(tmp_path):
    folder = tmp_path / "people"
    assert schemas.run("generate", folder, "--records", "300", "--seed", "7").returncode == 0
    header, *rows = (folder / "party-0.csv").read_text().splitlines(keepends=True)
    (tmp_path / "data.csv").write_text(header + "".join(rows + rows[4:5] * 3 + rows[9:10]))
    (tmp_path / "secret").write_text("a secret\n")
    arguments = ["encode", tmp_path / "data.csv", "--schema", folder / "schema.json", "--secret-file", tmp_path / "secret"]
    arguments += ["-o", tmp_path / "out.bin", "--report"]
    assert schemas.run(*arguments, tmp_path / "report.json").returncode == 0
    report = json.loads((tmp_path / "report.json").read_text())
    encodings = [(tmp_path / "out.bin").read_bytes()[start:start + 128] for start in range(0, 304 * 128, 128)]
    popcounts = sorted(int.from_bytes(encoding, "big").bit_count() for encoding in encodings)
    assert (report["encodings"], report["bits"], report["distinct"]) == (304, 1024, len(set(encodings)))
    assert (report["popcounts"][0]["popcount"], report["popcounts"][-1]["popcount"]) == (popcounts[0], popcounts[-1])
    assert abs(report["mean_popcount"] - sum(popcounts) / 304) < 1e-9
    assert report["most_frequent"][:2] == [{"occurrences": 4, "first_encoding": 5}, {"occurrences": 2, "first_encoding": 10}]
    assert report["duplicated"] == sum(encodings.count(encoding) > 1 for encoding in encodings)
    assert schemas.run(*arguments, tmp_path / "report.txt").returncode == 0
    assert "304 encodings of 1024 bits" in (tmp_path / "report.txt").read_text()
    refused = schemas.run(*arguments, tmp_path / "out.bin")
    assert refused.returncode == 2 and "--output and --report name the same file" in refused.stderr, refused.stderr


def test_a_schema_with_few_columns_needs_a_flag(tmp_path):
    folder = tmp_path / "people"
    assert schemas.run("generate", folder, "--records", "10").returncode == 0
    schema = json.loads((folder / "schema.json").read_text())
    encoded = [feature for feature in schema["features"] if not feature.get("ignored")]
    for feature in encoded[2:]:
        name = feature["identifier"]
        feature.clear()
        feature.update(identifier=name, ignored=True)
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "secret").write_text("a secret\n")
    arguments = ["encode", folder / "party-0.csv", "--schema", tmp_path / "schema.json", "--secret-file", tmp_path / "secret"]
    arguments += ["-o", tmp_path / "out.bin"]
    refused = schemas.run(*arguments)
    assert refused.returncode == 2 and "it encodes 2 columns" in refused.stderr and "--few-features" in refused.stderr, refused.stderr
    assert not (tmp_path / "out.bin").exists()
    assert schemas.run(*arguments, "--few-features").returncode == 0
