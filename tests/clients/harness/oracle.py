"""The results of the library `anonlink` (from PyPI), in the formats that the tests compare.

The library is called without a limit on the pairs of a record, so that it returns every pair at or above the
threshold, like the API. A pair that it finds in several blocks is returned once.
"""

from anonlink.candidate_generation import find_candidate_pairs
from anonlink.similarities import dice_coefficient
from anonlink.solving import greedy_solve
from bitarray import bitarray


def bits_of(encoding):
    bits = bitarray(endian="big")
    bits.frombytes(encoding)
    return bits


class Answer:
    """The library's results for datasets of encodings (bytes) at a threshold.

    `blocks` is None, or a list of block names for each record of each dataset.
    """

    def __init__(self, datasets, threshold, blocks=None):
        def names(dataset, record, _):
            # If a record had a block twice, the library would return pairs twice.
            return dict.fromkeys(str(name) for name in blocks[dataset][record])

        self.sizes = [len(dataset) for dataset in datasets]
        self.candidates = find_candidate_pairs(
            [[bits_of(encoding) for encoding in dataset] for dataset in datasets],
            dice_coefficient,
            threshold,
            k=None,
            blocking_f=None if blocks is None else names,
        )

    def scores(self):
        """`[[d0, r0], [d1, r1], score]` in the order of the API."""
        scores, datasets, records = self.candidates
        columns = zip(scores, *datasets, *records)
        return [[[d0, r0], [d1, r1], score] for score, d0, d1, r0, r1 in columns]

    def group_scores(self, groups):
        """For each of these groups, in their order, the pairs within it in the order of the API."""

        def order(pair):
            (d0, r0), (d1, r1), score = pair
            return -score, d0, d1, r0, r1

        pairs = sorted(self.scores(), key=order)
        return [[pair for pair in pairs if pair[0] in group and pair[1] in group] for group in groups]

    def groups(self):
        return as_sets(greedy_solve(self.candidates))


def as_sets(groups):
    """Returns groups without their order: a set of sets of (dataset, record)."""
    sets = {frozenset((dataset, record) for dataset, record in group) for group in groups}
    assert len(sets) == len(groups), "a group appears twice"
    return sets


def bit_patterns(scores):
    """Returns scores in a form that compares every bit: floats as hexadecimal text."""
    return [(tuple(left), tuple(right), float(score).hex()) for left, right, score in scores]


def assert_permutations_fit(permutations, mask, groups, sizes):
    """Asserts that the permutations and the mask describe exactly these two-party groups (a set of sets)."""
    rows = min(sizes)
    assert len(mask) == rows and set(mask) <= {0, 1} and sum(mask) == len(groups)
    for answer, size in zip(permutations, sizes):
        assert answer["rows"] == rows and sorted(answer["permutation"]) == list(range(size))
    inverse = [{row: record for record, row in enumerate(answer["permutation"])} for answer in permutations]
    matched = [row for row, bit in enumerate(mask) if bit == 1]
    assert {frozenset(((0, inverse[0][row]), (1, inverse[1][row]))) for row in matched} == groups
