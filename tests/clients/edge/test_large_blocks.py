"""A block that holds nearly all records is reported: in the log once a run, in the run's status, and in the metrics."""

import json
import random
import re

import pytest
import requests

from harness.api import Api, text_of
from harness.server import Server

LARGE, SMALL = 1_100, 20
# Part of the name of a block, which is derived from personal data: it is shown nowhere.
SECRET = "smith-of-canberra"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("entityd"), "--log-format", "json") as running:
        yield running


def records(seed, large, small):
    rng = random.Random(seed)
    names = [f"{SECRET}-everyone"] * large + [f"{SECRET}-few"] * small
    return [[text_of(rng.randbytes(16)), name] for name in names]


def link(api, large, small, blocking=True):
    project = api.project(blocking=blocking)
    for party in range(2):
        rows = records(party, large, small)
        project.upload(party, {"clknblocks": rows} if blocking else {"clks": [row[0] for row in rows]})
    run = project.run(0.95)
    run.complete()
    return run


def warnings(server, run):
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("run.id") == run.id and "one block has" in line["message"]]


def test_a_block_with_nearly_all_comparisons_is_named_everywhere(server):
    with Api(server.url) as api:
        run = link(api, LARGE, SMALL)
        blocks = run.get_status().json()["largest_blocks"]
        assert blocks["comparisons"] == [LARGE * LARGE, SMALL * SMALL]
        assert blocks["share"] == pytest.approx(LARGE**2 / (LARGE**2 + SMALL**2))
        said = warnings(server, run)
        assert len(said) == 1 and said[0]["level"] == "WARN" and "100 %" in said[0]["message"], said
    text = requests.get(f"http://{server.host}:{server.ops_port}/metrics", timeout=60).text
    assert re.search(r'entityd_run_largest_block_ratio_bucket\{le="0.99"\} 0\n', text), text
    assert "entityd_run_largest_block_comparisons_count 1\n" in text
    assert SECRET not in server.log.read_text() and SECRET not in text


def test_small_runs_and_runs_without_blocks_get_no_warning(server):
    with Api(server.url) as api:
        small = link(api, 50, 10)
        assert small.get_status().json()["largest_blocks"]["comparisons"] == [2_500, 100]
        without = link(api, LARGE, 0, blocking=False)
        assert "largest_blocks" not in without.get_status().json()
        assert not warnings(server, small) and not warnings(server, without)
