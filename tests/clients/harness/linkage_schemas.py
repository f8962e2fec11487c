"""Random linkage schemas and rows, and the results of clkhash (the reference implementation) for them."""

import csv
import io
import json
import os
import subprocess
from datetime import datetime

from clkhash import clk, key_derivation
from clkhash.schema import convert_to_latest_version, from_json_dict, validate_schema_dict
from hypothesis import strategies as st

SECRET = b"correct horse battery staple"

NAMES = st.sampled_from(["Anna", "O'Neil", "Müller", "e\u0301mile", "", "李", "ΣΊΣΥΦΟΣ", "straße", "a,b", 'q"q', "x\ny", " "])
TEXTS = st.one_of(
    NAMES,
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.text("abcdefghij ", max_size=40),
)
INTEGERS = st.one_of(
    st.integers(-200, 200).map(str),
    st.sampled_from(["+13", " 13", "007", "1_000", "1__0", "٣٤", "-0", "１０", "12a", "1.5", "", "9" * 30, "\u20031"]),
)
NUMBERS = st.one_of(
    INTEGERS, st.floats(-1e6, 1e6).map(repr), st.floats().map(repr), st.sampled_from(["1e3", ".5", "5.", "inf", "1_0.5"])
)
FORMATS = ["%Y-%m-%d", "%d/%m/%Y", "%d.%m.%y", "%d%m%Y", "%Y%m%d", "%d %B %Y", "%b %d, %Y", "%j %Y", "%G-W%V-%u",
           "%Y %U %w", "%Y %W %a", "%x", "%c", "%m/%d", "%Y-%m-%dT%H:%M:%S%z", "%I %p %d", "%%%Y", "%A %d", "%Y%Q", "%"]


@st.composite
def dates(draw, form):
    """A date in the format, or a text that is almost one."""
    day = draw(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
    try:
        text = day.strftime(form)
    except ValueError:
        text = "x"
    return draw(st.sampled_from([text, text, text, text.lower(), text + " ", text.replace("0", ""), text.replace("-", "/"), ""]))


PATTERNS = [r"[a-z]+", r"\w+", r"\d{2,4}", r"[A-Z][a-z]*(-[A-Z][a-z]*)?", r"(a|b)\1", r"(?i)[a-z]*", r".*", r"[^\W\d_]+",
            r"\S+", r"(?=.*a)\w+", r"^a.*$", r"[\w '-]*", r"(", r"\q", r"\B", r"(?x)a\ b", r"(?:(?=a).*)?", r"(?m:^a$)?",
            r"(?i)(?x) a b", r"(?a:\w)+", r"(a\1)", r"(?<=a|bc).", r"(?P<x>a)(?P=x)", r"(?P<1>a)", r"(?<x>a)", r"a|(*FAIL)"]

STRING_FORMATS = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={
        "encoding": st.sampled_from(["ascii", "utf-8", "utf-16", "utf-32"]),
        "case": st.sampled_from(["upper", "lower", "mixed"]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(4, 20),
        "description": st.just("a text"),
    },
)


@st.composite
def formats(draw):
    """A format of a column, and a strategy for its values."""
    kind = draw(st.sampled_from(["string", "string", "pattern", "integer", "date", "enum"]))
    if kind == "string":
        return draw(STRING_FORMATS), TEXTS
    if kind == "pattern":
        pattern = draw(st.sampled_from(PATTERNS))
        return {"type": "string", "pattern": pattern}, st.one_of(TEXTS, st.sampled_from(["aa", "ab", "Ab-Cd", "123"]))
    if kind == "integer":
        bounds = draw(st.sampled_from([{}, {"minimum": -50}, {"minimum": 0, "maximum": 100}, {"maximum": 10**20}, {"minimum": -(10**20)}]))
        return {"type": "integer", **bounds}, INTEGERS
    if kind == "date":
        form = draw(st.sampled_from(FORMATS))
        return {"type": "date", "format": form}, dates(form)
    return {"type": "enum", "values": ["M", "F", "é"]}, st.sampled_from(["M", "F", "é", "X", ""])


HASHES = st.sampled_from([
    {"type": "doubleHash"}, {"type": "doubleHash"}, {"type": "doubleHash", "prevent_singularity": True},
    {"type": "doubleHash", "prevent_singularity": False}, {"type": "blakeHash"}, {"type": "blakeHash"},
    {"type": "blakeHash", "prevent_singularity": True},
])
MISSING = st.sampled_from([
    {"sentinel": ""}, {"sentinel": "", "replaceWith": "12"}, {"sentinel": "Anna", "replaceWith": ""},
    {"sentinel": "x", "replaceWith": "é"}, {"sentinel": "12a", "replaceWith": "1900"},
])
KDFS = st.fixed_dictionaries(
    {"type": st.just("HKDF")},
    optional={
        "hash": st.sampled_from(["SHA256", "SHA512"]),
        "salt": st.sampled_from(["", "AAEC", "AAECAwQ=", "SCbL", "SCbL2zHN*nms\nA==", "AAE"]),
        "info": st.sampled_from(["c2NoZW1hX2V4YW1wbGU=", ""]),
        "keySize": st.sampled_from([1, 16, 20, 32, 64, 65, 200, 3000]),
    },
)


@st.composite
def comparisons(draw, values):
    kind = draw(st.sampled_from(["ngram", "ngram", "exact", "numeric"]))
    if kind == "ngram":
        extra = draw(st.sampled_from([{}, {"positional": True}, {"positional": False}]))
        return {"type": "ngram", "n": draw(st.integers(1, 4)), **extra}, values
    if kind == "exact":
        return {"type": "exact"}, values
    distance = draw(st.sampled_from([1, 8, 7, 2.5, 0.25, 0.001, 1e3, 10**25]))
    numeric = {"type": "numeric", "thresholdDistance": distance, "resolution": draw(st.integers(1, 5))}
    if draw(st.booleans()):
        numeric["fractional_precision"] = draw(st.integers(0, 4))
    return numeric, values | NUMBERS


@st.composite
def features(draw, number):
    """A column of a schema of version 3, and a strategy for its values."""
    if draw(st.integers(0, 5)) == 0:
        return {"identifier": f"ignored {number}", "ignored": True}, TEXTS
    form, values = draw(formats())
    comparison, values = draw(comparisons(values))
    bits = draw(st.sampled_from(["bitsPerToken", "bitsPerFeature"]))
    hashing = {"comparison": comparison, "strategy": {bits: draw(st.sampled_from([1, 7, 20, 33, 70, 200]))}}
    if draw(st.booleans()):
        hashing["hash"] = draw(HASHES)
    if draw(st.booleans()):
        hashing["missingValue"] = draw(MISSING)
    return {"identifier": f"column {number}", "format": form, "hashing": hashing}, values


@st.composite
def configs(draw):
    """The settings of a schema. Sizes that blakeHash supports are more frequent."""
    config = {"l": draw(st.sampled_from([64, 128, 1024, 1024, 1024, 8, 2048, 100, 1000, 4096])), "kdf": draw(KDFS)}
    config |= draw(st.sampled_from([{}, {}, {"xorFolds": 1}, {"xor_folds": 1}, {"xor_folds": 3}]))
    return config


@st.composite
def tables(draw):
    """A schema of version 3 and rows for it."""
    columns = [draw(features(number)) for number in range(draw(st.integers(1, 4)))]
    schema = {"version": 3, "clkConfig": draw(configs()), "features": [column for column, _ in columns]}
    rows = draw(st.lists(st.tuples(*(values for _, values in columns)), min_size=1, max_size=6))
    return schema, [list(row) for row in rows]


def seed():
    """Returns the seed of this run, which is printed: TESTS_SEED, or a random one."""
    return int(os.environ.get("TESTS_SEED") or int.from_bytes(os.urandom(4), "big"))


def late_refusals(schema):
    """Raises for mistakes that clkhash finds only at the first value."""
    bits = schema.l * 2**schema.xor_folds
    key_derivation.generate_key_lists(
        SECRET, len(schema.fields), key_size=schema.kdf_key_size, salt=schema.kdf_salt, info=schema.kdf_info,
        kdf=schema.kdf_type, hash_algo=schema.kdf_hash)
    for field in schema.fields:
        hashing = field.hashing_properties
        if hashing and hashing.hash_type == "blakeHash" and (bits & (bits - 1) or schema.kdf_key_size > 64):
            raise ValueError("blakeHash")
        form = getattr(field, "format", None)
        if form is not None and hashing:
            try:
                datetime.strptime("", form)
            except ValueError as error:
                if "directive" in str(error) or "stray" in str(error):
                    raise


def reference(schema):
    """Returns the compiled schema, or None if clkhash rejects it at once or at the first value."""
    try:
        compiled = from_json_dict(json.loads(json.dumps(schema)))
        late_refusals(compiled)
    except Exception:  # It raises many kinds of exception.
        return None
    return compiled


def reference_converted(schema):
    """Returns the schema converted to version 3, or None if clkhash rejects it."""
    try:
        validate_schema_dict(schema)
        return convert_to_latest_version(json.loads(json.dumps(schema)), validate_result=True)
    except Exception:
        return None


def reference_row(compiled, row):
    """Returns the encoding of a row, or None if clkhash rejects it."""
    try:
        return clk.generate_clks([row], compiled, SECRET, max_workers=1)[0].tobytes()
    except Exception:
        return None


def as_csv(schema, rows):
    """Returns the text of a CSV, and the rows that Python reads from it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([feature["identifier"] for feature in schema["features"]])
    writer.writerows(rows)
    read = list(csv.reader(io.StringIO(text.getvalue().replace("\r\n", "\n").replace("\r", "\n"), newline="")))
    return text.getvalue(), read[1:]


def run(*arguments, **options):
    return subprocess.run([os.environ["ENTITYD_BIN"], *map(str, arguments)], capture_output=True, text=True, **options)


@st.composite
def older(draw):
    """A schema of version 1 or 2 and rows for it."""
    version = draw(st.sampled_from([1, 2]))
    columns = []
    for number in range(draw(st.integers(1, 3))):
        column, values = draw(features(number))
        if "hashing" in column:
            hashing = column["hashing"]
            old = {"ngram": draw(st.integers(0 if version == 1 else 1, 3))}
            if draw(st.booleans()):
                old["positional"] = draw(st.booleans())
            if "missingValue" in hashing:
                old["missingValue"] = hashing["missingValue"]
            if version == 1 and draw(st.booleans()):
                old["weight"] = draw(st.sampled_from([0, 1, 0.5, 0.025, 2, 1.25, 0.075]))
            if version == 2:
                bits = next(iter(hashing["strategy"].values()))
                old["strategy"] = {draw(st.sampled_from(["k", "numBits"])): bits}
                if "hash" in hashing:
                    old["hash"] = hashing["hash"]
            column = {**column, "hashing": old}
        columns.append((column, values))
    config = draw(configs())
    if version == 1:
        config |= {"k": draw(st.sampled_from([10, 20, 30])), "hash": draw(HASHES)}
    schema = {"version": version, "clkConfig": config, "features": [column for column, _ in columns]}
    rows = draw(st.lists(st.tuples(*(values for _, values in columns)), min_size=1, max_size=4))
    return schema, [list(row) for row in rows]


def places(node, path=()):
    """Yields the paths of all values in a JSON value."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


ODD = st.sampled_from([None, True, False, 0, 1, -1, 2.0, 2.5, "", "ngram", "x", [], {}, ["a"], {"type": "exact"}, 10**30])


@st.composite
def damaged(draw):
    """A schema in which one value was changed, removed or added."""
    schema, _ = draw(st.one_of(tables(), older()))
    schema = json.loads(json.dumps(schema))
    paths = [path for path in places(schema) if path]
    path = draw(st.sampled_from(paths))
    parent = schema
    for key in path[:-1]:
        parent = parent[key]
    what = draw(st.sampled_from(["change", "change", "remove", "add"]))
    if what == "change":
        parent[path[-1]] = draw(ODD)
    elif what == "remove":
        del parent[path[-1]]
    elif isinstance(parent, dict):
        name = draw(st.sampled_from(["ignored", "weight", "pattern", "minLength", "strategy", "bitsPerToken", "k", "extra",
                                     "description", "positional", "hash", "xor_folds", "prevent_singularity"]))
        parent[name] = draw(ODD)
    return schema
