"""Waiting for work that continues after a response. Limits are generous: other suites and compilers use the machine, too."""

import time


def until(condition, what, timeout_s=60):
    """Polls until `condition()` is true; returns its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)
