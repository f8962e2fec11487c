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
