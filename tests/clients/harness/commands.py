"""Runs the client commands of the binary as a user would."""

import os
import subprocess

from harness.server import BINARY, clean_environment

TIMEOUT_S = 180


class Commands:
    """Runs commands in a folder, with environment variables."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = environment

    def run(self, *words, **more):
        return subprocess.run(
            [BINARY, *map(str, words)],
            cwd=self.folder,
            env={**clean_environment(), **self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def done(self, *words, **more):
        """Runs a command that must succeed; returns its output."""
        ended = self.run(*words, **more)
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
        return ended.stdout

    def refused(self, code, *words, **more):
        """Runs a command that must fail with this code; returns its one-line error."""
        ended = self.run(*words, **more)
        assert ended.returncode == code, (words, ended.returncode, ended.stdout, ended.stderr)
        assert ended.stdout == "", ended.stdout
        said = [line for line in ended.stderr.splitlines() if line.startswith("entityd: ")]
        assert said, ended.stderr
        assert "panicked" not in ended.stderr
        return said[-1]


def private(path, text):
    """Writes a file that only its owner may read."""
    path.write_text(text)
    os.chmod(path, 0o600)
    return path
