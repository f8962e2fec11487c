"""Small random linkages from a seed, with many edge cases in which implementations may differ."""

import random
from dataclasses import dataclass, field

SIZES = [8, 16, 24, 40, 64, 128, 256, 512]
# Thresholds that scores of small bit counts equal exactly. At some of them, such as 0.65, 0.75 and 0.95, a rounding
# error in a filter by bit counts would lose pairs.
RATIOS = [1 / 3, 0.4, 0.5, 0.6, 0.65, 2 / 3, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.95, 0.99, 1.0]
KINDS = ["plain", "ties", "extremes", "on_threshold", "one_against_many", "copies"]


@dataclass
class Linkage:
    name: str
    kind: str
    threshold: float
    datasets: list
    blocks: list | None = None
    forms: list = field(default_factory=list)

    @property
    def parties(self):
        return len(self.datasets)


def linkages(count, seed):
    """Yields `count` linkages. Their kinds alternate; everything else is random."""
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        yield linkage(random.Random(f"{seed}/{index}"), f"{index:03}-{kind}", kind)


def linkage(rng, name, kind):
    parties = rng.choice([2, 2, 2, 3, 3, 4, 5])
    size = rng.choice(SIZES)
    counts = [rng.randint(1, 14) for _ in range(parties)]
    if kind == "one_against_many":
        counts = [rng.choice([1, rng.randint(4, 16)]) for _ in range(parties)]
        counts[rng.randrange(parties)] = 1
    datasets = DATASETS[kind](rng, counts, size)
    blocks = block_names(rng, counts) if rng.random() < 0.5 else None
    forms = [rng.choice(FORMS if blocks is None else BLOCK_FORMS) for _ in range(parties)]
    for party, form in enumerate(forms):
        if blocks is not None and form == "binary":
            blocks[party] = [["1"]] * counts[party]
    threshold = rng.choice(RATIOS) if rng.random() < 0.8 else rng.uniform(0.05, 1.0)
    return Linkage(name, kind, threshold, datasets, blocks, forms)


FORMS = ["clks", "encodings", "binary"]
# A binary upload has no blocks: all its records are in a block named 1.
BLOCK_FORMS = ["clknblocks", "clknblocks", "encodings+blocks", "blocks+encodings", "binary"]


def block_names(rng, counts):
    """The names of each record's blocks. Records may be in none, in several, or twice in one; names may be numbers."""
    pool = rng.sample(["1", "2", "17", "north", "süd", "", "a b", "0"], rng.randint(1, 5))
    return [[rng.choices(pool, k=rng.choice([0, 1, 1, 2, 3])) for _ in range(count)] for count in counts]


def of_bits(ones, size):
    encoding = bytearray(size)
    for bit in ones:
        encoding[bit // 8] |= 0x80 >> (bit % 8)
    return bytes(encoding)


def some_bits(rng, size, density):
    return {bit for bit in range(size * 8) if rng.random() < density}


def plain(rng, counts, size):
    """Noisy copies of a few people."""
    people = [some_bits(rng, size, rng.uniform(0.2, 0.6)) for _ in range(rng.choice([2, max(counts) + 3]))]

    def copy(person):
        return of_bits(person ^ some_bits(rng, size, rng.choice([0, 0.02, 0.05, 0.15])), size)

    return [[copy(person) for person in rng.choices(people, k=count)] for count in counts]


def ties(rng, counts, size):
    """Encodings with few bits, so that many pairs have equal scores."""
    width = rng.randint(3, 6)

    def encoding():
        return of_bits({bit * 7 for bit in range(width) if rng.random() < 0.7}, size)

    return [[encoding() for _ in range(count)] for count in counts]


def extremes(rng, counts, size):
    """Encodings with all bits 0 or 1, all but one bit, or random bits."""
    full = set(range(size * 8))
    kinds = [
        set(),
        full,
        {rng.randrange(size * 8)},
        full - {rng.randrange(size * 8)},
        some_bits(rng, size, 0.5),
    ]
    return [[of_bits(rng.choice(kinds), size) for _ in range(count)] for count in counts]


def on_threshold(rng, counts, size):
    """Encodings whose first bits are 1 and the others 0: scores are simple fractions."""
    longest = min(size * 8, rng.choice([20, 21, 40, 60]))
    lengths = [rng.randint(longest // 3, longest) for _ in range(6)] + [longest - 2, longest - 1, longest]
    return [[of_bits(range(rng.choice(lengths)), size) for _ in range(count)] for count in counts]


def copies(rng, counts, size):
    """Copies of the same few records, also within a dataset."""
    people = [of_bits(some_bits(rng, size, 0.4), size) for _ in range(rng.randint(1, 4))]
    return [[rng.choice(people) for _ in range(count)] for count in counts]


DATASETS = {
    "plain": plain,
    "ties": ties,
    "extremes": extremes,
    "on_threshold": on_threshold,
    "one_against_many": plain,
    "copies": copies,
}
