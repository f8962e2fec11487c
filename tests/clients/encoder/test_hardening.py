"""Options against attacks: the bits of `entityd encode` are those of their definitions, here written again on top of clkhash."""

import base64
import csv
import gzip
import hmac
import io
import json
import math
import os

import numpy
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from harness import linkage_schemas as schemas
from harness import people
from harness.commands import Commands, private
from harness.oracle import Answer, as_sets

EXAMPLES = 20_000 if os.environ.get("TESTS_LONG") else 150
SEED = schemas.seed()
SALTS = st.sampled_from(["1950", "1951-07-03", "", "é1", "none", "\u0130x"])


def info_with(schema, more):
    """The schema with a longer `info`."""
    changed = json.loads(json.dumps(schema))
    kdf = changed["clkConfig"]["kdf"]
    kdf["info"] = base64.b64encode(base64.b64decode(kdf.get("info", "")) + more).decode()
    return changed


def key_for(schema, purpose):
    kdf = schema["clkConfig"]["kdf"]
    salt = base64.b64decode(kdf["salt"]) if "salt" in kdf else None
    info = base64.b64decode(kdf.get("info", "")) + b"\0entityd " + purpose
    algorithm = SHA512() if kdf.get("hash") == "SHA512" else SHA256()
    return HKDF(algorithm=algorithm, length=32, salt=salt, info=info).derive(schemas.SECRET)


def column_of(schema, options):
    return [feature["identifier"] for feature in schema["features"]].index(options["column"])


def salt_of(schema, row):
    """The salt of a row, or None if it is refused."""
    options = schema["hardening"]["salt"]
    column = column_of(schema, options)
    missing = options.get("missingValue")
    if missing and missing["sentinel"] == row[column]:
        return missing["replaceWith"]
    value = row[column]
    field = schemas.reference(schema).fields[column]
    if field.hashing_properties:
        try:
            if field.hashing_properties.missing_value is None or row[column] != field.hashing_properties.missing_value.sentinel:
                field.validate(value)
            value = field.format_value(value)
        except Exception:  # It raises many kinds of exception.
            return None
    return value[: options.get("characters")] or None


def noise(schema, name, filter):
    """One bit for each bit of the filter: 1 where it is flipped."""
    message = len(name.encode()).to_bytes(8, "big") + name.encode() + filter
    key = hmac.digest(key_for(schema, b"blip"), message, "sha256")
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * 8 * len(filter)))
    most = math.ceil(2**32 / (1 + math.exp(schema["hardening"]["blip"]["epsilon"])))
    return numpy.frombuffer(stream, "<u4") < most


def balanced(schema, bits):
    key = key_for(schema, b"balance")
    order = sorted(range(2 * len(bits)), key=lambda bit: hmac.digest(key, bit.to_bytes(4, "big"), "sha256"))
    return numpy.concatenate([bits, 1 - bits])[order]


def expected(schema, row):
    """The encoding of a row, or None if it is refused."""
    hardening = schema["hardening"]
    # A value with a bare carriage return splits its row.
    if len(row) != len(schema["features"]):
        return None
    plain = json.loads(json.dumps(schema))
    if "xorFolds" in hardening:
        plain["clkConfig"]["xor_folds"] = hardening["xorFolds"]
    if "salt" in hardening:
        salt = salt_of(schema, row)
        if salt is None:
            return None
        plain = info_with(plain, b"\0entityd salt\0" + salt.encode())
    filter = schemas.reference_row(schemas.reference(plain), row)
    if filter is None:
        return None
    bits = numpy.unpackbits(numpy.frombuffer(filter, numpy.uint8))
    if "blip" in hardening:
        name = row[column_of(schema, hardening["blip"])]
        if not name:
            return None
        bits = bits ^ noise(schema, name, filter)
    if hardening.get("balance"):
        bits = balanced(schema, bits)
    return numpy.packbits(bits).tobytes()


@st.composite
def hardened(draw):
    """A schema with random options, and rows for it: a column for salts and one for names come last."""
    schema, rows = draw(schemas.tables())
    config = schema["clkConfig"]
    config["l"] = draw(st.sampled_from([64, 128, 192, 1024, 1024, 2048]))
    config.pop("xor_folds", None)
    config["kdf"]["keySize"] = draw(st.sampled_from([16, 64]))
    forms = [{"ignored": True}, {
        "format": {"type": "string", "maxLength": 9},
        "hashing": {"comparison": {"type": "exact"}, "strategy": {"bitsPerFeature": 20}, "hash": {"type": "doubleHash"}},
    }]
    schema["features"].append({"identifier": "salt", **draw(st.sampled_from(forms))})
    schema["features"].append({"identifier": "name", "ignored": True})
    salt = {"column": draw(st.sampled_from(["salt", "salt", schema["features"][0]["identifier"]]))}
    salt |= draw(st.sampled_from([{}, {"characters": 4}, {"characters": 1}]))
    salt |= draw(st.sampled_from([{}, {"missingValue": {"sentinel": "", "replaceWith": "none"}}]))
    members = {"salt": salt, "xorFolds": draw(st.integers(0, 3)), "balance": draw(st.booleans()),
               "blip": {"epsilon": draw(st.sampled_from([0.01, 0.5, 1, 3.5, 16])), "column": "name"}}
    schema["hardening"] = {name: members[name] for name in draw(st.sets(st.sampled_from(sorted(members))))}
    numbers = st.sampled_from(["1", "2", "x-é", ""])
    return schema, [[*row, draw(SALTS), draw(numbers)] for row in rows]


def encode(folder, schema, text, *arguments, output="out.bin"):
    for name, contents in [("schema.json", json.dumps(schema)), ("data.csv", text)]:
        (folder / name).write_text(contents, encoding="utf-8", newline="")
    (folder / "secret").write_bytes(schemas.SECRET + b"\n")
    return schemas.run("encode", folder / "data.csv", "--schema", folder / "schema.json", "--secret-file",
                       folder / "secret", "--few-features", "-o", folder / output, *arguments)


def test_random_options_and_rows(tmp_path):
    print("TESTS_SEED", SEED)
    counts = {"schemas refused": 0, "rows refused": 0, "rows": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(hardened())
    def check(table):
        schema, rows = table
        text, rows = schemas.as_csv(schema, rows)
        plain = json.loads(json.dumps(schema))
        plain["clkConfig"]["xor_folds"] = schema["hardening"].get("xorFolds", 0)
        errors = tmp_path / "errors.csv"
        ours = encode(tmp_path, schema, text, "--on-error", "skip", "--errors", errors)
        if schemas.reference(plain) is None:
            counts["schemas refused"] += 1
            assert ours.returncode == 3, ours.stderr
            return
        wanted = [expected(schema, row) for row in rows]
        refused = [str(number) for number, row in enumerate(wanted) if row is None]
        counts["rows"] += len(rows)
        counts["rows refused"] += len(refused)
        with open(errors, newline="") as report:
            assert [row["row"] for row in csv.DictReader(report)] == refused
        encoded = b"".join(filter(None, wanted))
        assert ours.returncode == (0 if encoded else 3), ours.stderr
        if encoded:
            assert (tmp_path / "out.bin").read_bytes() == encoded

    check()
    print(counts)
    assert counts["rows"] > counts["rows refused"] > 0 and counts["schemas refused"] > 0


ALL = {
    "salt": {"column": "date_of_birth", "characters": 4, "missingValue": {"sentinel": "", "replaceWith": "none"}},
    "xorFolds": 1, "balance": True, "blip": {"epsilon": 4, "column": "rec_id"},
}


def with_hardening(hardening):
    return {**people.SCHEMA, "hardening": hardening}


def as_text(rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([people.COLUMNS, *rows])
    return text.getvalue()


def test_forms_and_threads_make_no_difference(tmp_path):
    rows = people.small_tables(400)[0]
    rows = [[f"{row[0]} {copy}", *row[1:]] for copy in range(5) for row in rows]
    schema, text = with_hardening(ALL), as_text(rows)
    one = encode(tmp_path, schema, text, "--threads", 1)
    assert one.returncode == 0, one.stderr
    encodings = (tmp_path / "out.bin").read_bytes()
    assert len(encodings) == 256 * len(rows)
    sample = range(0, len(rows), 97)
    assert [encodings[256 * at:][:256] for at in sample] == [expected(schema, rows[at]) for at in sample]
    assert encode(tmp_path, schema, text, "--threads", 7, output="seven.bin").returncode == 0
    assert (tmp_path / "seven.bin").read_bytes() == encodings
    assert encode(tmp_path, schema, text, output="out.json").returncode == 0
    written = json.loads((tmp_path / "out.json").read_text())["clks"]
    assert b"".join(map(base64.b64decode, written)) == encodings
    assert encode(tmp_path, schema, text, "--format", "bin", output="out.gz").returncode == 0
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == encodings


def test_without_options_nothing_changes(tmp_path):
    rows = people.small_tables(50)[0]
    for schema in (people.SCHEMA, with_hardening({}), with_hardening({"xorFolds": 0, "balance": False})):
        ended = encode(tmp_path, schema, as_text(rows))
        assert ended.returncode == 0, ended.stderr
        assert ("note" in ended.stderr) == ("hardening" in schema)
        # The secret of this suite is not that of `people`.
        compiled = schemas.reference(people.SCHEMA)
        assert (tmp_path / "out.bin").read_bytes() == b"".join(schemas.reference_row(compiled, row) for row in rows)


def test_the_report_and_the_notes_name_the_options(tmp_path):
    rows = people.small_tables(100)[0]
    ended = encode(tmp_path, with_hardening(ALL), as_text(rows), "--report", tmp_path / "report.json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["bits"] == 2048 and {found["popcount"] for found in report["popcounts"]} == {1024}
    for lines in (report["hardening"], ended.stderr.splitlines()):
        said = "\n".join(lines)
        assert "salt: the first 4 characters of date_of_birth" in said
        assert "folding: filters of 2048 bits become 1024 bits" in said
        assert "epsilon 4 for each bit, which is flipped with probability 0.017986" in said
        assert "epsilon is 4 times k; for any two records, up to 4 times 1024" in said
        assert "balance: each encoding has 1024 of 2048 bits set" in said
    checked = schemas.run("schema", "check", "--strict", tmp_path / "schema.json")
    assert checked.returncode == 0 and "encodings of 2048 bits" in checked.stdout
    assert "note: line 1, column" in checked.stdout and "that clkhash ignores: all parties must" in checked.stdout
    described = schemas.run("schema", "describe", tmp_path / "schema.json").stdout
    assert "encodings of 2048 bits, folded once" in described and "epsilon 4 for each bit" in described
    converted = schemas.run("schema", "convert", tmp_path / "schema.json").stdout
    assert json.loads(converted)["hardening"] == ALL
    text = encode(tmp_path, with_hardening(ALL), as_text(rows), "--report", tmp_path / "report.txt")
    assert text.returncode == 0 and "BLIP: epsilon 4" in (tmp_path / "report.txt").read_text()


@pytest.mark.parametrize("version", [1, 2])
def test_older_schemas_take_options_and_keep_them(tmp_path, version):
    name = {"identifier": "name", "format": {"type": "string"}, "hashing": {"ngram": 2}}
    config = {"l": 1024, "kdf": {"type": "HKDF"}}
    if version == 1:
        config |= {"k": 20, "hash": {"type": "doubleHash"}}
    else:
        name["hashing"]["strategy"] = {"k": 20}
    hardening = {"salt": {"column": "id"}, "balance": True}
    schema = {"version": version, "clkConfig": config, "features": [name, {"identifier": "id", "ignored": True}],
              "hardening": hardening}
    assert encode(tmp_path, schema, "name,id\nanna,7\n").returncode == 0
    found = (tmp_path / "out.bin").read_bytes()
    assert found == expected(schema, ["anna", "7"])
    converted = schemas.run("schema", "convert", tmp_path / "schema.json").stdout
    assert json.loads(converted)["hardening"] == hardening
    assert encode(tmp_path, json.loads(converted), "name,id\nanna,7\n").returncode == 0
    assert (tmp_path / "out.bin").read_bytes() == found


def test_link_uses_the_options_in_each_schema_of_a_cascade(tmp_path):
    rows = people.small_tables(200)[:2]
    for party, table in enumerate(rows):
        people.write_csv(tmp_path / f"{party}.csv", table)
    (tmp_path / "secret").write_bytes(schemas.SECRET)
    cascade = [with_hardening(ALL), with_hardening({"balance": True})]
    for number, schema in enumerate(cascade):
        (tmp_path / f"{number}.json").write_text(json.dumps(schema))
    words = ["link", tmp_path / "0.csv", tmp_path / "1.csv", "--secret-file", tmp_path / "secret", "--threshold", "0.8"]
    ended = schemas.run(*words, "--schema", tmp_path / "0.json", "--schema", tmp_path / "1.json")
    assert ended.returncode == 0 and "note: BLIP: epsilon 4" in ended.stderr, ended.stderr
    lines = list(csv.DictReader(io.StringIO(ended.stdout)))
    left = [range(len(table)) for table in rows]
    for number, schema in enumerate(cascade):
        encoded = [[expected(schema, rows[party][row]) for row in left[party]] for party in (0, 1)]
        groups = {frozenset((party, left[party][row]) for party, row in group) for group in Answer(encoded, 0.8).groups()}
        found = {}
        for line in lines:
            if line["schema"] == str(number):
                found.setdefault(line["group"], []).append((int(line["dataset"]), int(line["record"])))
        assert as_sets(found.values()) == groups and groups
        linked = {record for group in groups for record in group}
        left = [[row for row in left[party] if (party, row) not in linked] for party in (0, 1)]


def blip(epsilon, column="rec_id"):
    return {"blip": {"epsilon": epsilon, "column": column}}


REFUSED = {
    "unknown option": ({"salted": {}}, "hardening.salted: there is no member salted here; the members are salt, xorFolds, balance, blip"),
    "not an object": (True, "hardening: this must be an object"),
    "unknown column": ({"salt": {"column": "yob"}}, 'hardening.salt.column: no column is named "yob"; the columns are rec_id,'),
    "no column": ({"salt": {}}, "hardening.salt: column is missing"),
    "column by number": ({"salt": {"column": 3}}, "hardening.salt.column: this must be a string"),
    "no characters": ({"salt": {"column": "state", "characters": 0}}, "hardening.salt.characters: this must be at least 1"),
    "part of a character": ({"salt": {"column": "state", "characters": 1.5}}, "hardening.salt.characters: this must be an integer"),
    "empty replacement": ({"salt": {"column": "state", "missingValue": {"sentinel": "", "replaceWith": ""}}},
                          "replaceWith must not be empty"),
    "no replacement": ({"salt": {"column": "state", "missingValue": {"sentinel": ""}}}, "replaceWith is missing"),
    "balance in words": ({"balance": "yes"}, "hardening.balance: this must be true or false"),
    "negative folds": ({"xorFolds": -1}, "hardening.xorFolds: this must be at least 0"),
    "many folds": ({"xorFolds": 25}, "hardening.xorFolds: this must be a whole number of at most 24"),
    "epsilon 0": (blip(0), "hardening.blip.epsilon: this must be above 0 and at most 16"),
    "epsilon -1": (blip(-1), "hardening.blip.epsilon: this must be above 0 and at most 16"),
    "huge epsilon": (blip(1e300), "hardening.blip.epsilon: this must be above 0 and at most 16"),
    "epsilon beyond numbers": (blip(10**400), "hardening.blip.epsilon: this must be above 0 and at most 16"),
    "NaN": (blip(math.nan), "this is not JSON"),
    "epsilon in words": (blip("1"), "hardening.blip.epsilon: this must be a number"),
    "blip without a name": ({"blip": {"epsilon": 1}}, "hardening.blip: column is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_refused_in_one_line(tmp_path, name):
    hardening, said = REFUSED[name]
    ended = encode(tmp_path, with_hardening(hardening), as_text([]))
    assert ended.returncode == 3 and said in ended.stderr, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1 and not (tmp_path / "out.bin").exists()
    assert schemas.run("schema", "check", tmp_path / "schema.json").returncode == 3


@pytest.mark.parametrize(("config", "hardening", "said"), [
    ({"l": 1000}, {}, "clkConfig.l: with hardening l must be a multiple of 64, such as 1024"),
    ({"l": 32768}, {"balance": True}, "encodings of at most 32768 bits, and balance doubles l: with this hardening l must be at most 16384"),
    ({"l": 65536}, {}, "encodings of at most 32768 bits: with this hardening l must be at most 32768"),
    ({"l": 1024, "xor_folds": 1}, {"xorFolds": 2}, "clkConfig.xor_folds is set too: keep one of the two"),
])
def test_lengths_that_no_server_accepts(tmp_path, config, hardening, said):
    double = {"hashing": {**people.SCHEMA["features"][1]["hashing"], "hash": {"type": "doubleHash"}}}
    schema = {**with_hardening(hardening), "features": [{**people.SCHEMA["features"][1], **double}]}
    schema["clkConfig"] = {**people.SCHEMA["clkConfig"], **config}
    ended = encode(tmp_path, schema, "given_name\n")
    assert ended.returncode == 3 and said in ended.stderr and len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_rows_without_salt_or_name_are_refused(tmp_path):
    row = people.small_tables(1)[0][0]
    unborn, nameless = [*row], ["", *row[1:]]
    unborn[people.COLUMNS.index("date_of_birth")] = ""
    for bad, hardening, column, said in [
        (unborn, {"salt": {"column": "date_of_birth"}}, "date_of_birth", "is the salt of the record and must not be empty"),
        (nameless, blip(3), "rec_id", "identifies the record for hardening.blip and must not be empty"),
    ]:
        ended = encode(tmp_path, with_hardening(hardening), as_text([row, bad]))
        assert ended.returncode == 3 and f"line 3, column {people.COLUMNS.index(column) + 1} ({column})" in ended.stderr
        assert said in ended.stderr
        assert encode(tmp_path, with_hardening(hardening), as_text([row, bad]), "--on-error", "skip").returncode == 0
        assert (tmp_path / "out.bin").read_bytes() == expected(with_hardening(hardening), row)


def test_records_are_protected_as_documented(tmp_path):
    rows = people.small_tables(200)[0]
    epsilon = 2
    twins = [[f"{at}", *row[1:]] for at, row in enumerate(rows)] + [[f"twin {at}", *row[1:]] for at, row in enumerate(rows)]
    encode(tmp_path, with_hardening(blip(epsilon)), as_text(twins))
    bits = numpy.unpackbits(numpy.frombuffer((tmp_path / "out.bin").read_bytes(), numpy.uint8).reshape(len(twins), -1), axis=1)
    encode(tmp_path, people.SCHEMA, as_text(twins))
    plain = numpy.unpackbits(numpy.frombuffer((tmp_path / "out.bin").read_bytes(), numpy.uint8).reshape(len(twins), -1), axis=1)
    flipped = bits ^ plain
    share = 1 / (1 + math.exp(epsilon))
    spread = math.sqrt(share * (1 - share) / flipped.size)
    assert abs(flipped.mean() - share) < 6 * spread
    # Equal filters of records of different names have independent noise.
    both = (flipped[: len(rows)] & flipped[len(rows):]).mean()
    assert abs(both - share**2) < 6 * math.sqrt(share**2 / (flipped.size / 2))


def test_hardened_encodings_are_linked_by_a_server(tmp_path, server):
    """Encodings with all options are an upload like others: the result is that of the definition, and finds most people."""
    commands = Commands(tmp_path, ENTITYD_SERVER=server.origin)
    commands.done("generate", "people", "--records", "300", "--seed", "5")
    schema = json.loads((tmp_path / "people/schema.json").read_text())
    names = [feature["identifier"] for feature in schema["features"]]
    schema["hardening"] = {"salt": {"column": "born", "characters": 3, "missingValue": {"sentinel": "", "replaceWith": "none"}},
                           "xorFolds": 1, "blip": {"epsilon": 5, "column": names[0]}, "balance": True}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    private(tmp_path / "secret", "horse\n")
    commands.done("project", "create", "--save", "study")
    encoded = []
    for party in (0, 1):
        out = tmp_path / f"{party}.bin"
        commands.done("encode", f"people/party-{party}.csv", "--schema", "schema.json", "--secret-file", "secret", "-o", out)
        size = 2 * schema["clkConfig"]["l"] // 8
        rows = out.read_bytes()
        encoded.append([rows[start:start + size] for start in range(0, len(rows), size)])
        assert len(encoded[party]) == 300 and {int.from_bytes(row, "big").bit_count() for row in encoded[party]} == {4 * size}
        commands.done("upload", out, "--encoding-bytes", size, "--profile", f"study/party-{party}.toml")
    analyst = ["--profile", "study/analyst.toml"]
    commands.done("run", "create", "--threshold", "0.75", "--watch", *analyst)
    groups = as_sets(json.loads(commands.done("result", "get", *analyst))["groups"])
    assert groups == Answer(encoded, 0.75).groups()
    with open(tmp_path / "people/truth.csv", newline="") as file:
        people_of = {(int(row["party"]), int(row["record"])): row["person"] for row in csv.DictReader(file)}
    right = sum(len({people_of[record] for record in group}) == 1 for group in groups)
    assert right > 75 and right > 0.9 * len(groups), (right, len(groups))
