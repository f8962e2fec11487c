"""Forecasts of sampled projects, held against their runs: an interval contains the number of pairs that a run finds in 19 of 20
cases. TESTS_LONG=1: more kinds of data, more records, and 20 forecasts of each."""

import os
import random
import re

import numpy
import pytest
import requests

from harness import people
from harness.api import texts_of

LONG = os.environ.get("TESTS_LONG") == "1"
FORECASTS = 20 if LONG else 6
# The numbers of intervals of one threshold, of that many, that are missed in less than one of 100,000 cases.
MISSED_MAX = 7 if LONG else 4
RECORDS = 10_000 if LONG else 8_000
# Large encodings are compared slowly, so that a sample is a small part of few records.
BYTES = 1_024
THRESHOLDS = [0.7, 0.8, 0.9, 0.95]


@pytest.fixture(scope="module")
def chance():
    seed = int(os.environ.get("TESTS_SEED") or random.randrange(1 << 32))
    print(f"TESTS_SEED={seed}")
    return numpy.random.default_rng(seed)


def strangers(chance, count):
    """Encodings with a quarter of their bits set."""
    draw = lambda: chance.integers(0, 256, (count, BYTES), numpy.uint8)
    return draw() & draw()


def copies(chance, rows, share):
    """The rows with at most this share of their bits drawn anew."""
    shares = chance.random((len(rows), 1)) * share
    fresh = numpy.packbits(chance.random((len(rows), 8 * BYTES), numpy.float32) < shares, axis=1)
    return (rows & ~fresh) | (strangers(chance, len(rows)) & fresh)


def known(chance):
    """Each half of the second list consists of people of the first."""
    left = strangers(chance, RECORDS)
    return [left, numpy.concatenate([copies(chance, left[::2], 0.5), strangers(chance, RECORDS // 2)])]


def families(chance):
    """A record resembles about ten others, some closely."""
    ancestors = numpy.repeat(strangers(chance, RECORDS // 10), 10, axis=0)
    return [copies(chance, ancestors, 0.5) for _ in range(2)]


def popular(chance):
    """A few records have hundreds of copies, and most have none: the number of pairs differs widely between records."""
    lists = [strangers(chance, RECORDS) for _ in range(2)]
    for row in strangers(chance, 12):
        for rows in lists:
            places = chance.choice(RECORDS, int(chance.integers(20, RECORDS // 40)), replace=False)
            rows[places] = copies(chance, numpy.repeat(row[None], len(places), axis=0), 0.2)
    return lists


def three(chance):
    """Three lists of the same people."""
    left = strangers(chance, RECORDS // 2)
    return [left, copies(chance, left, 0.3), copies(chance, left[: RECORDS // 4], 0.5)]


def febrl4(chance):
    """Names and addresses with errors; each row is one of a few hundred people, its bits repeated to fill an encoding."""
    tables, _ = people.tables()
    lists = [numpy.array([list(row) for row in people.encode(rows[:400])], numpy.uint8) for rows in tables]
    return [copies(chance, numpy.tile(rows[chance.integers(0, 400, RECORDS)], BYTES // 128), 0.3) for rows in lists]


def blocks_of(chance, rows):
    """Two blocks for each record, the largest with a tenth of all records; every record of a family is in its block."""
    return [[f"a{min(int(size), 300)}", f"b{at * 60 // len(rows)}"] for at, size in enumerate(chance.geometric(0.05, len(rows)))]


KINDS = [(known, False), (popular, False), (families, True)]
KINDS += [(families, False), (known, True), (popular, True), (three, False), (febrl4, False)] if LONG else []


def pairs_of(server, run):
    """The number of pairs on the page of a completed run."""
    run.complete(timeout_s=300)
    view = requests.get(f"{server.origin}/dashboard/view{run.path}", headers={"Authorization": run.project.token}, timeout=60)
    return int(re.search(r"<dt>Pairs</dt><dd>([\d,]+)</dd>", view.text)[1].replace(",", ""))


@pytest.mark.parametrize(("kind", "has_blocks"), KINDS)
def test_the_interval_of_a_forecast_holds_what_the_run_finds(server, api, chance, kind, has_blocks):
    lists = kind(chance)
    parties = len(lists)
    project = api.project("groups" if parties > 2 else "similarity_scores", parties=parties, blocking=has_blocks)
    for party, rows in enumerate(lists):
        encodings = [row.tobytes() for row in rows]
        if has_blocks:
            blocks = blocks_of(chance, rows)
            project.upload(party, {"clknblocks": [[text, *names] for text, names in zip(texts_of(encodings), blocks)]})
        else:
            project.upload_binary(party, encodings)
    truth = [pairs_of(server, project.run(threshold)) for threshold in THRESHOLDS]
    missed = [0] * len(THRESHOLDS)
    for _ in range(FORECASTS):
        answer = api.post(f"{project.path}/forecast", project.token, json={"thresholds": THRESHOLDS})
        assert answer.status_code == 200, answer.text
        forecast = answer.json()
        assert not forecast["exact"], forecast["compared"]
        for at, (one, pairs) in enumerate(zip(forecast["thresholds"], truth)):
            missed[at] += not one["pairs_low"] <= pairs <= one["pairs_high"]
    share = forecast["compared"] / forecast["comparisons"]
    print(f"{kind.__name__}, blocks: {has_blocks}: {share:.3f} of {forecast['comparisons']}; pairs {truth}; missed {missed} of {FORECASTS}")
    assert max(missed) <= MISSED_MAX, missed
    project.delete()
