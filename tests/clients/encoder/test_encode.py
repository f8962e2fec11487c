"""`entityd encode` makes the bits that clkhash makes, and refuses the rows that it refuses."""

import csv
import json
import os

from hypothesis import HealthCheck, given, seed, settings

from harness import linkage_schemas as schemas

EXAMPLES = 20_000 if os.environ.get("TESTS_LONG") else 150
SEED = schemas.seed()


def encode(folder, schema, text, *arguments):
    for name, contents in [("schema.json", json.dumps(schema)), ("data.csv", text)]:
        (folder / name).write_text(contents, encoding="utf-8", newline="")
    (folder / "secret").write_bytes(schemas.SECRET + b"\n")
    return schemas.run("encode", folder / "data.csv", "--schema", folder / "schema.json", "--secret-file",
                       folder / "secret", "--few-features", "-o", folder / "out.bin", *arguments)


def test_random_schemas_and_rows(tmp_path):
    print("TESTS_SEED", SEED)
    counts = {"schemas refused": 0, "rows refused": 0, "rows": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(schemas.tables() | schemas.older())
    def check(table):
        schema, rows = table
        text, rows = schemas.as_csv(schema, rows)
        compiled = schemas.reference(schema)
        errors = tmp_path / "errors.csv"
        ours = encode(tmp_path, schema, text, "--on-error", "skip", "--errors", errors)
        if compiled is None:
            counts["schemas refused"] += 1
            assert ours.returncode == 3, ours.stderr
            return
        expected = [schemas.reference_row(compiled, row) for row in rows]
        refused = [str(number) for number, row in enumerate(expected) if row is None]
        counts["rows"] += len(rows)
        counts["rows refused"] += len(refused)
        with open(errors, newline="") as report:
            assert [row["row"] for row in csv.DictReader(report)] == refused
        encoded = b"".join(filter(None, expected))
        assert ours.returncode == (0 if encoded else 3), ours.stderr
        if encoded:
            assert (tmp_path / "out.bin").read_bytes() == encoded

    check()
    print(counts)
    assert counts["rows"] > counts["rows refused"] > 0 and counts["schemas refused"] > 0
