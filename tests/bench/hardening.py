#!/usr/bin/env python3
"""What each option against attacks costs, and what it is good for: linkage and attacks on the two files of febrl4.

    cargo build --release && tests/run venv
    target/venv/bin/python tests/bench/hardening.py

Cost: both files of 5,000 people are encoded with nine columns and linked by `entityd link`; the threshold with the best F counts. Attacks: the surnames of the first file are encoded alone. The attacker has these encodings, knows the schema, and has the
surnames of the second file (the same people, with typing errors) as a public list. The figure is the share of the 5,000 records whose
surname is guessed. The attacks:

frequency   equal encodings are counted, and their ranks are aligned with the ranks of names. With noise, encodings that lie close
            together count as equal. With salts, the list has names and salts.
patterns    bits that are set together belong to a bigram. These groups and the bigrams of the list are aligned by how frequent they
            are and how often they occur together; then the name closest to the bigrams of each encoding is taken.
graph       the 300 most frequent encodings and names are nodes, and similarities are edges; the graphs are aligned. The other
            encodings are not guessed.
dictionary  the attacker has the secret too, encodes the whole list with every salt, and takes the equal encoding, or with noise the
            closest.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))

from harness import people  # noqa: E402

BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
SURNAME = people.COLUMNS.index("surname")
# The nodes of a graph, the rounds of an alignment, and the influence of node weights on it, compared with edges.
NODES = 300
ROUNDS = 30
WEIGHT = 0.1


def salt(column, **more):
    return {"salt": {"column": column, "missingValue": {"sentinel": "", "replaceWith": "none"}, **more}}


def blip(epsilon):
    return {"blip": {"epsilon": epsilon, "column": "rec_id"}}


OPTIONS = {
    "none": {},
    "`salt`: year of birth": salt("date_of_birth", characters=4),
    "`salt`: state": salt("state"),
    "`xorFolds` 1": {"xorFolds": 1},
    "`xorFolds` 2": {"xorFolds": 2},
    "`balance`": {"balance": True},
    "`blip`: epsilon 6": blip(6),
    "`blip`: epsilon 4": blip(4),
    "`blip`: epsilon 3": blip(3),
    "`blip`: epsilon 2": blip(2),
    "`blip`: epsilon 1": blip(1),
    "`xorFolds` 1, `balance`, `blip`: epsilon 4": {"xorFolds": 1, "balance": True, **blip(4)},
    "`salt`: year, `balance`, `blip`: epsilon 4": {**salt("date_of_birth", characters=4), "balance": True, **blip(4)},
}


def single(hardening):
    """The schema that encodes the surname alone."""
    hashing = {"comparison": {"type": "ngram", "n": 2}, "strategy": {"bitsPerToken": 10}, "hash": {"type": "blakeHash"}}
    features = [{"identifier": name, "ignored": True} for name in people.COLUMNS]
    features[SURNAME] = {"identifier": "surname", "format": {"type": "string"}, "hashing": hashing}
    return {**people.SCHEMA, "features": features, "hardening": hardening}


class Bench:
    def __init__(self, folder):
        self.folder = folder
        (folder / "secret").write_text(people.SECRET)
        self.tables, self.truth = people.tables()
        self.names = [row[SURNAME] for row in self.tables[0]]
        self.list = Counter(row[SURNAME] for row in self.tables[1] if row[SURNAME])

    def run(self, *arguments):
        ended = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True)
        if ended.returncode:
            sys.exit(ended.stderr)
        return ended.stderr

    def encode(self, schema, rows, name="out.bin"):
        """The encodings of rows as a matrix of bits."""
        (self.folder / "schema.json").write_text(json.dumps(schema))
        people.write_csv(self.folder / "rows.csv", rows)
        out = self.folder / name
        self.run("encode", self.folder / "rows.csv", "--schema", self.folder / "schema.json", "--secret-file",
                 self.folder / "secret", "--few-features", "-o", out)
        return numpy.unpackbits(numpy.frombuffer(out.read_bytes(), numpy.uint8).reshape(len(rows), -1), axis=1)

    def linked(self, hardening):
        """The threshold with the best F, with precision, recall and F."""
        sides = [self.encode({**people.SCHEMA, "hardening": hardening}, rows, f"{party}.bin")
                 for party, rows in enumerate(self.tables)]
        scores = similarities(*sides).ravel()
        # Thresholds begin where there are five candidates for each record.
        lowest = numpy.partition(scores, -25_000)[-25_000]
        self.run("link", self.folder / "0.bin", self.folder / "1.bin", "--encoding-bytes", sides[0].shape[1] // 8,
                 "--threshold", f"{lowest:.3f}", "--scores", "-o", self.folder / "linked.json")
        linked = json.loads((self.folder / "linked.json").read_text())
        pairs = sorted(((pairs[0][2], tuple(record for _, record in sorted(pairs[0][:2]))) for pairs in linked["scores"]),
                       reverse=True)
        # Pairs are linked in the order of their scores: those at a threshold are the first ones.
        qualities, right = [], 0
        for found, (score, pair) in enumerate(pairs, 1):
            right += pair in self.truth
            precision, recall = right / found, right / len(self.truth)
            qualities.append((2 * precision * recall / (precision + recall or 1), score, precision, recall))
        f, *rest = max(qualities)
        return (*rest, f)

    def share(self, guesses, step=1):
        """The share of right guesses for every record, or every `step`-th."""
        return sum(guess == name for guess, name in zip(guesses, self.names[::step], strict=True)) / len(guesses)


def salt_of(row, hardening):
    options = hardening.get("salt")
    return row[people.COLUMNS.index(options["column"])][:options.get("characters")] if options else ""


def similarities(left, right):
    left, right = left.astype(numpy.float32), right.astype(numpy.float32)
    return 2 * (left @ right.T) / numpy.maximum(left.sum(1)[:, None] + right.sum(1)[None, :], 1)


def flip_probability(hardening):
    return 1 / (1 + numpy.exp(hardening["blip"]["epsilon"])) if "blip" in hardening else 0.0


def distances(left, right):
    left, right = left.astype(numpy.float32), right.astype(numpy.float32)
    return left.sum(1)[:, None] + right.sum(1)[None, :] - 2 * (left @ right.T)


def clusters(bits, hardening):
    """The number of each encoding's cluster: equal encodings, or with noise those that lie close together."""
    flip = flip_probability(hardening)
    if flip == 0:
        return numpy.unique(bits, axis=0, return_inverse=True)[1].ravel()
    # In a balanced encoding both copies of a bit are flipped.
    copies = 2 if hardening.get("balance") else 1
    own = bits.shape[1] / copies

    def within(share, deviations):
        return copies * (own * share + deviations * (own * share * (1 - share)) ** 0.5)

    close = distances(bits, bits) <= within(2 * flip * (1 - flip), 2)
    number, found = 0, numpy.full(len(bits), -1)
    for record in numpy.argsort(-close.sum(1), kind="stable"):
        if found[record] < 0:
            found[close[record] & (found < 0)] = number
            number += 1
    # Noise averages out in the center of a cluster, and each encoding goes to the closest center.
    for _ in range(4):
        centers = numpy.zeros((0, bits.shape[1]), bool)
        for cluster, size in Counter(found.tolist()).most_common():
            if size < 3:
                break
            center = bits[found == cluster].mean(0) > 0.5
            if not len(centers) or (centers ^ center).sum(1).min() > copies * own * 0.02:
                centers = numpy.vstack([centers, center])
        if not len(centers):
            break
        apart = distances(bits, centers)
        near = apart.min(1) <= within(flip, 4)
        found = numpy.where(near, apart.argmin(1), len(centers) + numpy.arange(len(bits)))
    return found


def frequency(bench, bits, hardening):
    by_record = clusters(bits, hardening)
    if "salt" in hardening:
        known = Counter((row[SURNAME], salt_of(row, hardening)) for row in bench.tables[1] if row[SURNAME])
        ranked = [name for (name, _), _ in known.most_common()]
    else:
        ranked = [name for name, _ in bench.list.most_common()]
    ranks = [cluster for cluster, _ in Counter(by_record.tolist()).most_common()]
    guess = dict(zip(ranks, ranked))
    return bench.share([guess.get(cluster) for cluster in by_record.tolist()])


def bigrams(name):
    padded = f" {name} "
    return {padded[at:at + 2] for at in range(len(padded) - 1)}


def aligned(ours, theirs, weights_ours, weights_theirs):
    """Aligns two graphs. The nodes of both are in the order of their weights, which is the first alignment; then each round aligns
    nodes of similar weight whose edges to the nodes aligned before are alike."""
    apart = numpy.abs(numpy.log(weights_ours)[:, None] - numpy.log(weights_theirs)[None, :])
    order = numpy.arange(len(ours))
    for _ in range(ROUNDS):
        edges = numpy.array([numpy.abs(row - theirs[:, order]).sum(1) for row in ours])
        found = linear_sum_assignment(edges + WEIGHT * len(ours) * apart)[1]
        if (found == order).all():
            break
        order = found
    return order


def patterns(bench, bits, hardening):
    records = len(bits)
    flip = flip_probability(hardening)
    # The shares and the correlations of bits before the noise; those that the noise makes uncertain are left out.
    share = (bits.mean(0) - flip) / (1 - 2 * flip)
    spread = numpy.sqrt(numpy.maximum(share * (1 - share), 1e-9)) * (1 - 2 * flip)
    noisy = bits.mean(0)
    certain = noisy * (1 - noisy) / spread**2 / records**0.5 < 0.15
    kept = (share > 0.002) & (share < 0.5) & certain
    columns, spread = bits[:, kept].astype(numpy.float32), spread[kept]
    if columns.shape[1] < 2:
        return 0.0
    distance = numpy.clip(1 - numpy.cov(columns.T) / numpy.outer(spread, spread), 0, 2)
    numpy.fill_diagonal(distance, 0)
    groups = fcluster(linkage(squareform(distance, checks=False), "average"), 0.5, "distance")
    sizes = Counter(groups.tolist())
    # A bigram sets up to ten bits; single bits are set by chance.
    marks = [(columns[:, groups == group].mean(1) > 0.5) for group, size in sizes.items() if size >= 3]
    marks.sort(key=lambda mark: -mark.sum())
    known = Counter()
    for name, count in bench.list.items():
        known.update(dict.fromkeys(sorted(bigrams(name)), count))
    grams = [gram for gram, _ in known.most_common(min(len(marks), NODES))]
    marks = numpy.array(marks[:len(grams)], numpy.float64)
    if len(marks) < 2:
        return 0.0
    has = numpy.array([[gram in bigrams(name) for gram in grams] for name in bench.list], numpy.float64)
    counts = numpy.array(list(bench.list.values()), numpy.float64)
    together = (has * counts[:, None]).T @ has / counts.sum()
    ours = marks @ marks.T / records
    weights = ours.diagonal(), together.diagonal()
    order = aligned(*(numpy.log1p(edges / numpy.outer(own, own)) for edges, own in zip((ours, together), weights)), *weights)
    found = marks.T[:, numpy.argsort(order)]
    scores = similarities(found, has)
    names = numpy.array(list(bench.list))
    # Of names that fit equally well, the more frequent is likelier.
    best = (scores + 1e-4 * counts / counts.max()).argmax(1)
    return bench.share([names[at] if marked else None for at, marked in zip(best, found.any(1))])


def graph(bench, bits, hardening):
    by_record = clusters(bits, hardening)
    sizes = Counter(by_record.tolist()).most_common(NODES)
    nodes = [cluster for cluster, _ in sizes]
    ranked = bench.list.most_common(len(nodes))
    # Noise averages out within a cluster.
    centers = numpy.array([bits[by_record == node].mean(0) > 0.5 for node in nodes])
    has = sorted(set().union(*(bigrams(name) for name, _ in ranked)))
    known = numpy.array([[gram in bigrams(name) for gram in has] for name, _ in ranked])
    if hardening.get("balance"):
        # Complements change the similarities of names as they change those of encodings.
        known = numpy.concatenate([known, ~known], axis=1)
    ours, theirs = similarities(centers, centers), similarities(known, known)
    for matrix in (ours, theirs):
        apart = matrix[~numpy.eye(len(nodes), dtype=bool)]
        numpy.fill_diagonal(matrix, apart.mean())
        matrix -= apart.mean()
        matrix /= apart.std() or 1
    order = aligned(ours, theirs, [size for _, size in sizes], [count for _, count in ranked])
    guess = {node: ranked[at][0] for node, at in zip(nodes, order)}
    return bench.share([guess.get(cluster) for cluster in by_record.tolist()])


def dictionary(bench, bits, hardening):
    without = {name: option for name, option in hardening.items() if name != "blip"}
    salts = sorted({salt_of(row, hardening) for row in bench.tables[1]})
    names = sorted(bench.list)
    rows = []
    for salt in salts:
        for name in names:
            row = [""] * len(people.COLUMNS)
            row[SURNAME] = name
            if "salt" in hardening:
                row[people.COLUMNS.index(hardening["salt"]["column"])] = salt
            rows.append(row)
    known = bench.encode(single(without), rows)
    if without == hardening:
        # Without noise an encoding is in the dictionary or not.
        name_of = {encoding.tobytes(): row[SURNAME] for encoding, row in zip(known, rows)}
        return bench.share([name_of.get(encoding.tobytes()) for encoding in bits])
    # With salts the dictionary is large, so only every twentieth record is tried.
    step = 20 if "salt" in hardening else 1
    bits = bits[::step]
    best, score = numpy.zeros(len(bits), int), numpy.full(len(bits), -1.0)
    for start in range(0, len(rows), 20_000):
        found = similarities(bits, known[start:start + 20_000])
        at = found.argmax(1)
        here = found[numpy.arange(len(bits)), at]
        better = here > score
        best[better], score[better] = start + at[better], here[better]
    return bench.share([rows[at][SURNAME] for at in best], step)


def main():
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        usual = bench.list.most_common(1)[0][0]
        print(f"the most frequent name, guessed for all records: {100 * bench.share([usual] * len(bench.names)):.1f} %\n")
        print("| options | bits | threshold | precision | recall | F | frequency | patterns | graph | dictionary |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for name, hardening in OPTIONS.items():
            threshold, precision, recall, f = bench.linked(hardening)
            bits = bench.encode(single(hardening), bench.tables[0])
            shares = [attack(bench, bits, hardening) for attack in (frequency, patterns, graph, dictionary)]
            shares = " | ".join(f"{100 * share:.1f} %" for share in shares)
            print(f"| {name} | {bits.shape[1]} | {threshold:.2f} | {precision:.3f} | {recall:.3f} | {f:.3f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
