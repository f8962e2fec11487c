"""`entityd block` makes the blocks that blocklib makes."""

import contextlib
import csv
import io
import json
import os

import pytest
from blocklib import generate_candidate_blocks
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from harness import linkage_schemas as schemas

EXAMPLES = 5_000 if os.environ.get("TESTS_LONG") else 80
SEED = schemas.seed()
HEADER = ["id", "given", "family", "born"]

VALUES = st.one_of(
    st.sampled_from(["ann", "anna", "bob", "é", "", " x ", "li\x1c", "smith", "smyth", "Schmidt", "Michael", "Çelik", "Núñez", "a1b"]),
    st.text("abc ", max_size=6),
)
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=25)
POSITIONS = st.lists(
    st.sampled_from([0, 1, 3, -1, "0", "2", ":2", "1:", "0:2", "1:3", ":4", "-2:", ":-1"]), min_size=1, max_size=3
)


@st.composite
def parts(draw, named):
    column = draw(st.integers(1, 3))
    spec = {"type": "feature-value", "feature": HEADER[column] if named else column}
    kind = draw(st.sampled_from(["feature-value", "metaphone", "characters-at", "characters_at"]))
    spec["type"] = kind
    if kind.startswith("characters"):
        spec["config"] = {"pos": draw(POSITIONS)}
    if draw(st.integers(0, 30)) == 0:
        spec.setdefault("config", {})["unknown"] = 1
    return spec


@st.composite
def p_sig(draw):
    named = draw(st.booleans())
    # A name in a signature is refused if the features are numbers.
    signed = named or draw(st.integers(0, 9)) == 0
    kind = draw(st.sampled_from(["ratio", "count"]))
    limits = st.sampled_from([{"min": 0, "max": 1}, {"min": 0.0, "max": 0.5}, {"min": 0.01, "max": 2}])
    counts = st.sampled_from([{"min": 0, "max": 5}, {"min": 1, "max": 100}, {"min": 0.5, "max": 3.5}])
    record = draw(st.sampled_from([{}, {}, {"record-id-col": 0}]))
    return {"type": "p-sig", "version": 1, "config": {
        "blocking-features": [HEADER[1], HEADER[3]] if named else [1, 3],
        "filter": {"type": kind, **draw(limits if kind == "ratio" else counts)},
        "blocking-filter": {"type": "bloom filter", "number-hash-functions": draw(st.sampled_from([1, 4, 20, "3"])),
                            "bf-len": draw(st.sampled_from([8, 64, 2048, 1000]))},
        "signatureSpecs": draw(st.lists(st.lists(parts(signed), min_size=1, max_size=2), min_size=1, max_size=3)),
        **record,
    }}


@st.composite
def lambda_fold(draw):
    return {"type": "lambda-fold", "version": 1, "config": {
        "blocking-features": draw(st.sampled_from([[1, 2], ["given"], ["family", "given"]])),
        "Lambda": draw(st.integers(1, 12)), "bf-len": draw(st.sampled_from([16, 64, 1000, 2048])),
        "num-hash-funcs": draw(st.integers(1, 5)), "K": draw(st.sampled_from([1, 3, 6, 16])),
        "random_state": draw(st.sampled_from([0, 1, -7, 2**70])), "input-clks": False,
    }}


def reference(config, rows, header=None):
    """The blocks of each record by blocklib, or None if it refuses the input."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made = generate_candidate_blocks(rows, json.loads(json.dumps(config)), header=header)
    except Exception:
        return None, None
    blocks = {}
    for name, records in made.blocks.items():
        for record in records:
            blocks.setdefault(str(int(record)), []).append(str(name))
    return blocks, made.state.stats


def check_statistics(ours, stats):
    for name in ["num_of_blocks", "min_size", "max_size", "med_size", "sum_of_blocks"]:
        assert ours[name] == stats[name], name
    for name in ["avg_size", "std_size"]:
        assert ours[name] == pytest.approx(stats[name], abs=1e-12), name


def test_random_tables(tmp_path):
    print("TESTS_SEED", SEED)
    counts = {"blocked": 0, "refused": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(p_sig() | lambda_fold(), ROWS)
    def check(config, rows):
        rows = [(str(100 + number), *row) for number, row in enumerate(rows)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
        (tmp_path / "data.csv").write_text(text.getvalue())
        (tmp_path / "config.json").write_text(json.dumps(config))
        stripped = [tuple(value.strip() for value in row) for row in rows]
        expected, stats = reference(config, stripped, HEADER)
        ours = schemas.run("block", tmp_path / "data.csv", "--config", tmp_path / "config.json")
        if expected is None:
            counts["refused"] += 1
            assert ours.returncode == 3, ours.stderr
            return
        counts["blocked"] += 1
        assert ours.returncode == 0, ours.stderr
        assert "hashes of personal data without a key" in ours.stderr
        made = json.loads(ours.stdout)
        assert made["blocks"] == expected
        check_statistics(made["meta"]["stats"], stats)

    check()
    print(counts)
    assert counts["blocked"] > 0 and counts["refused"] > 0


def test_encodings_are_blocked(tmp_path):
    clks = ["AAECAwQFBgc=", "//79/Pv6+fg=", "AAECAwQFBgc=", "AAECAwQFBgf="]
    config = {"type": "lambda-fold", "version": 1, "config": {
        "blocking-features": [1], "Lambda": 5, "bf-len": 2048, "num-hash-funcs": 5, "K": 40, "random_state": 3,
        "input-clks": True}}
    (tmp_path / "clks.json").write_text(json.dumps({"clks": clks}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = schemas.run("block", tmp_path / "clks.json", "--config", tmp_path / "config.json")
    assert ours.returncode == 0, ours.stderr
    assert json.loads(ours.stdout)["blocks"] == reference(config, clks)[0]


def test_keyed_names_depend_on_the_secret(tmp_path):
    config = {"type": "p-sig", "version": 1, "config": {
        "blocking-features": [1], "filter": {"type": "count", "min": 0, "max": 10},
        "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
        "signatureSpecs": [[{"type": "feature-value", "feature": 1}]]}}
    (tmp_path / "data.csv").write_text("id,name\n1,ann\n2,bob\n3,ann\n")
    (tmp_path / "config.json").write_text(json.dumps(config))
    names = []
    for secret in ["one", "one", "two"]:
        (tmp_path / "secret").write_text(secret)
        ended = schemas.run("block", tmp_path / "data.csv", "--config", tmp_path / "config.json", "--keyed",
                            "--secret-file", tmp_path / "secret")
        assert ended.returncode == 0 and "without a key" not in ended.stderr
        made = json.loads(ended.stdout)
        assert made["meta"]["keyed"] and made["blocks"]["0"] == made["blocks"]["2"] != made["blocks"]["1"]
        names.append(made["blocks"]["0"])
    assert names[0] == names[1] != names[2]
    assert schemas.run("block", tmp_path / "data.csv", "--config", tmp_path / "config.json", "--keyed").returncode == 2
