"""The seed of the random cases: given as TESTS_SEED to repeat a run, printed at the head of each."""

import os
import random


def pytest_configure():
    os.environ.setdefault("TESTS_SEED", str(random.randrange(2**32)))


def pytest_report_header():
    return f"TESTS_SEED={os.environ['TESTS_SEED']}"
