"""Reads Arrow streams with the library of the format."""

import pyarrow
import pyarrow.ipc

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
END = b"\xff\xff\xff\xff\0\0\0\0"


def batches(stream):
    """Returns the batches of a whole stream, each of which is valid."""
    assert stream.endswith(END)
    with pyarrow.ipc.open_stream(stream) as reader:
        found = list(reader)
        for batch in found:
            batch.validate(full=True)
        return reader.schema, found


def read(stream):
    """Returns the names and types of the columns, and the rows, each a list."""
    schema, found = batches(stream)
    table = pyarrow.Table.from_batches(found, schema)
    table.validate(full=True)
    rows = zip(*(column.to_pylist() for column in table.columns)) if table.num_rows else []
    return {field.name: str(field.type) for field in schema}, [list(row) for row in rows]


def rows_of(elements, kind):
    """Returns the rows that these elements of a result in JSON have as a table."""
    if kind == "groups":
        return [[at, *record] for at, group in enumerate(elements) for record in group]
    if kind == "similarity_scores":
        return [[*a, *b, score] for a, b, score in elements]
    if kind == "scores":
        return [[at, *a, *b, score] for at, pairs in enumerate(elements) for a, b, score in pairs]
    if kind == "mask":
        return [[at, one == 1] for at, one in enumerate(elements)]
    return [[at, place] for at, place in enumerate(elements)]


PAIR = {"dataset_a": "uint32", "record_a": "uint32", "dataset_b": "uint32", "record_b": "uint32", "score": "double"}
COLUMNS = {
    "groups": {"group": "uint64", "dataset": "uint32", "record": "uint32"},
    "similarity_scores": PAIR,
    "scores": {"group": "uint64", **PAIR},
    "mask": {"row": "uint32", "match": "bool"},
    "permutation": {"row": "uint32", "new_row": "uint32"},
}
