"""The data of the benchmarks: encodings of invented people with typing errors, made by clkhash.

It needs clkhash. `people.py RECORDS SEED LEFT RIGHT` writes two files of rows of 128 bytes. Half of the people in each
file are also in the other one, with other errors.
"""

import csv
import io
import random
import string
import sys

ENCODING_BYTES = 128
KEY = "a key that only the parties know"


def mistyped(text, chance):
    """Returns the text, sometimes with one wrong letter."""
    if chance.random() > 0.3 or len(text) < 2:
        return text
    at = chance.randrange(len(text) - 1)
    letter = chance.choice(string.ascii_lowercase)
    return chance.choice([
        text[:at] + letter + text[at + 1:],
        text[:at] + text[at + 1:],
        text[:at] + letter + text[at:],
        text[:at] + text[at + 1] + text[at] + text[at + 2:],
    ])


def people(records, seed):
    from clkhash.randomnames import NameList

    chance = random.Random(seed)
    random.seed(seed)
    names = NameList(records + records // 2)
    everyone = [[str(field) for field in person] for person in names.names]
    shared = records - records // 2
    left = everyone[:records]
    right = everyone[:shared] + everyone[records:]
    right = [[person[0], mistyped(person[1], chance), person[2], person[3]] for person in right[:records]]
    chance.shuffle(right)
    return left, right, names


def encode(rows, names):
    from clkhash.clk import generate_clk_from_csv

    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([field.identifier for field in names.SCHEMA.fields])
    writer.writerows(rows)
    table.seek(0)
    clks = generate_clk_from_csv(table, KEY, names.SCHEMA, progress_bar=False)
    return b"".join(clk.tobytes() for clk in clks)


def main():
    records, seed = int(sys.argv[1]), int(sys.argv[2])
    left, right, names = people(records, seed)
    for rows, path in ((left, sys.argv[3]), (right, sys.argv[4])):
        content = encode(rows, names)
        assert len(content) == ENCODING_BYTES * records, "the schema makes encodings of 1024 bits"
        with open(path, "wb") as file:
            file.write(content)


if __name__ == "__main__":
    main()
