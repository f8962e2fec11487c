"""Linkages of every kind, and their results as bytes."""

import random

from . import external
from .upload import upload


def noisy(rng, rows, size):
    """Returns encodings of the same people for both parties, with a few bits changed."""
    first = [rng.randbytes(size) for _ in range(rows)]
    second = []
    for encoding in rng.sample(first, rows):
        bits = int.from_bytes(encoding, "big")
        for _ in range(rng.randrange(size)):
            bits ^= 1 << rng.randrange(8 * size)
        second.append(bits.to_bytes(size, "big"))
    return first, second


def blocks_of(rng, rows):
    return [[str(rng.randrange(5)), f"b{rng.randrange(3)}"] for _ in range(rows)]


def links(project, parties, blocks, threshold, **fields):
    form = "clknblocks" if blocks else "binary"
    receipts = [
        upload(project, party, form, encodings, blocks[party] if blocks else None)
        for party, encodings in enumerate(parties)
    ]
    run = project.run(threshold, **fields)
    run.receipts = receipts
    return run


def cases(seed, rows=300):
    """Linkages as tuples: name, result type, encodings and blocks of each party, threshold."""
    rng = random.Random(seed)
    for parties in (2, 3):
        first, second = noisy(rng, rows, 16)
        datasets = [first, second, rng.sample(second, rows // 2)][:parties]
        for blocking in (False, True):
            blocks = [blocks_of(rng, len(dataset)) for dataset in datasets] if blocking else None
            kinds = ["groups", "similarity_scores", "permutations"] if parties == 2 else ["groups"]
            for kind in kinds:
                yield f"{kind}-{parties}-{'blocks' if blocking else 'all'}", kind, datasets, blocks, 0.8


def start(api, case, **fields):
    _, kind, datasets, blocks, threshold = case
    project = api.project(kind, parties=len(datasets), blocking=blocks is not None)
    return links(project, datasets, blocks, threshold, **fields)


def outcome(run, case, timeout_s=120):
    """Returns the result as bytes; for permutations, which are random, the pairs that they align."""
    run.complete(timeout_s)
    _, kind, datasets, _, _ = case
    if kind != "permutations":
        response = run.get_result()
        assert response.status_code == 200, response.text
        return response.content
    return sorted(paired(run, datasets))


def paired(run, datasets):
    """Returns the pairs of rows that permutations put at the same position, where the mask is set."""
    mask = run.get_result().json()["mask"]
    receipts = run.receipts
    orders = [run.get_result(receipt).json()["permutation"] for receipt in receipts]
    at = [{place: row for row, place in enumerate(order)} for order in orders]
    return [(at[0][place], at[1][place]) for place, same in enumerate(mask) if same]


def through_the_store(api, rng):
    """A linkage whose files are uploaded through the object store."""
    project = api.project("groups", blocking=True)
    first, second = noisy(rng, 60, 16)
    for party, encodings in enumerate((first, second)):
        blocks = {str(row): names for row, names in enumerate(blocks_of(random.Random(party), 60))}
        response = external.upload(project, party, encodings, blocks)
        assert response.status_code == 201, response.text
    return project
