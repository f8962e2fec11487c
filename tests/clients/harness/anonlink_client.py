"""The original client's command line, as released on PyPI."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("anonlink")


def typed(folder, *words):
    """Runs a command in a folder, as a separate process; returns its standard output and standard error."""
    done = subprocess.run(
        [PROGRAM, *map(str, words)],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
