"""Invalid input: a clear error that names the row and shows no value, exit code 3, and no output."""

import gzip
import json
import stat

import pytest

from harness import linkage_schemas as schemas

SECRET_NAME = "Zaphod Beeblebrox"


def feature(name, **form):
    form = {"type": "string", **form}
    hashing = {"comparison": {"type": "ngram", "n": 2}, "strategy": {"bitsPerToken": 20}}
    return {"identifier": name, "format": form, "hashing": hashing}


SCHEMA = {
    "version": 3,
    "clkConfig": {"l": 1024, "kdf": {"type": "HKDF"}},
    "features": [feature("name"), feature("town", case="lower"), {"identifier": "id", "ignored": True}],
}


@pytest.fixture
def encode(tmp_path):
    def run(data, *arguments, schema=SCHEMA):
        (tmp_path / "data.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
        (tmp_path / "schema.json").write_text(json.dumps(schema))
        (tmp_path / "secret").write_bytes(schemas.SECRET)
        ended = schemas.run("encode", tmp_path / "data.csv", "--schema", tmp_path / "schema.json", "--secret-file",
                            tmp_path / "secret", "--few-features", "-o", tmp_path / "out.bin", *arguments)
        ended.output = (tmp_path / "out.bin").read_bytes() if (tmp_path / "out.bin").exists() else None
        return ended

    return run


HEADER = "name,town,id\n"
REFUSED = {
    "empty file": ("", "the file is empty"),
    "header alone": (HEADER, "data.csv: the file has no record"),
    "another header": ("name,city,id\n", 'line 1 (the header): column 2 is named "city"; the schema has "town" there'),
    "duplicate header": ("name,name,id\n", "line 1 (the header): column 2 has the name of an earlier one: name"),
    "short header": ("name,town\n", 'line 1 (the header): there are 2 columns; the schema has 3; the file lacks "id"'),
    "long header": ("name,town,id,sex\n", 'there are 4 columns; the schema has 3; it does not have "sex"'),
    "no header": (f"{SECRET_NAME},b,1\n", "line 1 (the header): none has a name of the schema"),
    "no header, more columns": (f"{SECRET_NAME},b,1,2\n", "there are 4 columns; the schema has 3; and none has a name of the schema"),
    "another delimiter": ("name;town;id\n" + f"{SECRET_NAME};b;1\n", "separated by another character: --delimiter ';'"),
    "tabs": ("name\ttown\tid\n", "separated by another character: --delimiter tab"),
    "other capitals": ("Name,Town,Id\n", 'column 1 is named "Name"; the schema has "name" there'),
    "one column": (f"{SECRET_NAME}\n", "there is 1 column; the schema has 3; and none has a name of the schema"),
    "gzip": (gzip.compress(b"name,town,id\n"), "is a gzip file; unpack it first"),
    "workbook": (b"PK\x03\x04...", "is a ZIP file or a workbook"),
    "too few columns": (HEADER + "a,b,1\na,b\n", "line 3: the row has 2 columns; the schema has 3"),
    "too many columns": (HEADER + "a,b,1,2\n", "line 2: the row has 4 columns; the schema has 3"),
    "blank line": (HEADER + "a,b,1\n\na,b,2\n", "line 3: the row has 0 columns; the schema has 3"),
    "NUL": (HEADER + "a,b,1\na\0,b,2\n", "line 3: the file has a NUL byte here"),
    "unbalanced quote": (HEADER + 'a,b,1\n"a,b,2\na,b,3\n', "line 3: the quote that opens in line 3 is never closed"),
    "not UTF-8": (HEADER.encode() + b"a,b,1\n\xe9,b,2\n", "line 3: the file has bytes here that are not UTF-8"),
    "10 MB field": (HEADER + "a,b,1\n" + "x" * 10_000_000 + ",b,2\n", "line 3: a field has more than 131072 characters"),
    "rule": (HEADER + f'"a\nb",b,1\na,{SECRET_NAME},2\n', "line 4, column 2 (town): the value must be in lower case"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_its_position(encode, name):
    data, said = REFUSED[name]
    ended = encode(data)
    assert ended.returncode == 3
    assert said in ended.stderr
    assert SECRET_NAME not in ended.stderr + ended.stdout
    assert ended.output is None


def test_outputs_that_are_one_or_on_standard_output(encode, tmp_path):
    data = HEADER + f"a,b,1\n{SECRET_NAME},B,2\n"
    ended = encode(data, "--on-error", "skip", "--errors", "-")
    assert ended.returncode == 0 and ended.stdout.splitlines()[1:] == ["1,3,2,town,the value must be in lower case"]
    ended = encode(data, "--on-error", "skip", "--report", "-")
    assert ended.returncode == 0 and ended.stdout.startswith("1 encoding of 1024 bits")
    assert not (tmp_path / "-").exists()
    ended = encode(data, "--report", tmp_path / "x" / ".." / "out.bin")
    assert ended.returncode in (1, 2)
    (tmp_path / "x").mkdir()
    ended = encode(data, "--report", tmp_path / "x" / ".." / "out.bin")
    assert ended.returncode == 2 and "--output and --report name the same file" in ended.stderr
    ended = encode(data, "--errors", "-", "--report", "-")
    assert ended.returncode == 2 and "are both standard output" in ended.stderr


def test_rows_that_are_left_out_are_counted(encode):
    ended = encode(HEADER + "a,B,1\n", "--on-error", "skip")
    assert ended.returncode == 3 and "data.csv: every row breaks a rule" in ended.stderr and ended.output is None
    ended = encode(HEADER + f"a,b,1\n{SECRET_NAME},B,2\n", "--on-error", "skip")
    assert ended.returncode == 0 and "left out: line 3, column 2 (town): the value must be in lower case" in ended.stderr
    assert "1 encoding of 128 bytes from 2 rows; 1 row broke a rule and was left out" in ended.stderr


def test_a_report_with_values_is_private(encode, tmp_path):
    errors = tmp_path / "errors.csv"
    encode(REFUSED["rule"][0], "--on-error", "skip", "--errors", errors, "--show-values")
    assert SECRET_NAME in errors.read_text() and stat.S_IMODE(errors.stat().st_mode) == 0o600


def test_a_refused_header_leaves_nothing_on_standard_output(encode, tmp_path):
    for data in ["", "name,city,id\n", HEADER]:
        encode(data)
        ended = schemas.run("encode", tmp_path / "data.csv", "--schema", tmp_path / "schema.json", "--secret-file",
                            tmp_path / "secret", "--few-features")
        assert ended.returncode == 3 and ended.stdout == ""


def test_a_schema_that_cannot_be_what_was_meant(encode, tmp_path):
    """Each setting is valid, so it is a warning or a note."""
    text = json.dumps({**SCHEMA, "features": [feature("name", minLength=5, maxLength=3), *SCHEMA["features"][1:]]})
    text = text.replace('"l": 1024', '"l": 1024, "l": 8')
    (tmp_path / "schema.json").write_text(text)
    ended = schemas.run("schema", "check", tmp_path / "schema.json")
    assert ended.returncode == 0
    for said in ["features[0].format.maxLength: this is less than minLength", "l: an earlier member has the same name",
                 "must be a multiple of 8 bytes", "asks for --few-features"]:
        assert said in ended.stdout, ended.stdout
    assert schemas.run("schema", "check", tmp_path / "schema.json", "--strict").returncode == 3
    config = {**SCHEMA["clkConfig"], "l": 8}
    assert "cannot be compared" in encode(HEADER + "a,b,1\n", schema={**SCHEMA, "clkConfig": config}).stderr


def test_a_description_reads_the_header_too(encode, tmp_path):
    """Columns in another order are not described under the names of others."""
    encode(HEADER + "a,b,1\n")
    for header, said in [("town,name,id\n", 'column 1 is named "town"'), (f"{SECRET_NAME},b,1\n", "is it a record")]:
        (tmp_path / "data.csv").write_text(header + "a,b,1\n")
        ended = schemas.run("schema", "describe", tmp_path / "schema.json", tmp_path / "data.csv")
        assert ended.returncode == 3 and said in ended.stderr and SECRET_NAME not in ended.stderr, ended.stderr
    ended = schemas.run("schema", "describe", tmp_path / "schema.json", tmp_path / "data.csv", "--no-header")
    assert ended.returncode == 0 and "2 rows" in ended.stdout


def test_values_are_shown_on_request(encode):
    ended = encode(REFUSED["rule"][0], "--show-values")
    assert ended.returncode == 3
    assert f'it is "{SECRET_NAME}"' in ended.stderr


def test_other_ways_to_write_a_table(encode):
    plain = encode(HEADER + 'Zoë,köln,1\n"a, ""b""",x,2\n')
    assert plain.returncode == 0 and len(plain.output) == 256
    assert "2 encodings of 128 bytes from 2 rows" in plain.stderr
    quoted = '\ufeffname;town;id\r\nZoë;"köln";1\r\n"a, ""b""";x;2'
    for data, arguments in [
        (quoted.encode(), ["--delimiter", ";"]),
        (quoted.encode("utf-16"), ["--delimiter", ";"]),
        (quoted[1:].encode("latin-1"), ["--delimiter", ";", "--charset", "latin1"]),
        (quoted.replace(";", "\t").encode(), ["--delimiter", "tab"]),
        (quoted.split("\n", 1)[1].encode(), ["--delimiter", ";", "--header", "none"]),
        (quoted.replace("town", "city").encode(), ["--delimiter", ";", "--header", "ignore"]),
    ]:
        assert encode(data, *arguments).output == plain.output, arguments


def test_a_large_field_is_accepted_if_the_limit_allows_it(encode):
    ended = encode(HEADER + "x" * 10_000_000 + ",b,2\na,b,3\n", "--field-max", "10000000")
    assert ended.returncode == 0 and len(ended.output) == 2 * 128, ended.stderr


def test_settings_that_would_be_ignored(encode):
    schema = {**SCHEMA, "clkConfig": {**SCHEMA["clkConfig"], "xorFolds": 1}}
    warned = encode(HEADER + "a,b,1\n", schema=schema)
    assert warned.returncode == 0 and "warning" in warned.stderr and "clkConfig.xorFolds" in warned.stderr
    assert warned.output == encode(HEADER + "a,b,1\n").output
    refused = encode(HEADER + "a,b,1\n", "--strict", schema=schema)
    assert refused.returncode == 3 and "clkhash accepts xorFolds but does not use it" in refused.stderr


def test_mistakes_in_a_schema_have_positions(encode, tmp_path):
    schema = {**SCHEMA, "features": [feature("name", case="small"), {"identifier": "x"}]}
    encode("", schema=schema)
    (tmp_path / "schema.json").write_text(json.dumps(schema, indent=2))
    ended = schemas.run("schema", "check", tmp_path / "schema.json")
    assert ended.returncode == 3
    assert "line 14, column 17: features[0].format.case: this must be one of upper, lower, mixed" in ended.stdout
    assert "features[1]: format is missing" in ended.stdout and "2 mistakes" not in ended.stdout
