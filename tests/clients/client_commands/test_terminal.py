"""A new user at a terminal, with nothing but the binary and its help: what is on the screen, and what is left on the disk."""

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pytest

from harness import people
from harness.commands import Commands, private
from harness.server import BINARY, clean_environment
from harness.wait import until

BAR = "█"
LONG_S = 60


class Screen:
    """A terminal in which one command runs, and what is on it."""

    def __init__(self, folder, *words, columns=100, to_pipe=False):
        self.main, terminal = pty.openpty()
        ioctl(terminal, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [BINARY, *map(str, words)], cwd=folder, stdin=terminal,
            env={**clean_environment(), "TERM": "xterm-256color", "TMPDIR": str(folder)},
            stdout=subprocess.PIPE if to_pipe else terminal, stderr=terminal, start_new_session=True)
        os.close(terminal)
        self.columns, self.shown = columns, b""

    def read(self, seconds=0.1):
        if select.select([self.main], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.main, 1 << 16)
            except OSError:  # The last process of the terminal has ended.
                return False
        return True

    def read_until(self, text):
        until(lambda: self.read() and text in self.shown.decode(errors="replace"), f"{text!r} is shown")

    def ended(self):
        deadline = time.monotonic() + LONG_S
        while self.read() and time.monotonic() < deadline:
            pass
        return self.process.wait(timeout=LONG_S)

    def remains(self):
        """The lines on the screen at the end, without what was overwritten or erased."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.shown.decode(errors="replace")):
            sequence = re.fullmatch(r"\x1b\[([0-9;?]*)([A-Za-z])", part)
            if part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part == "\r":
                column = 0
            elif not sequence:
                assert column + len(part) <= self.columns, f"the line is wider than the terminal: {part!r}"
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part):]
                column += len(part)
            elif sequence[2] == "K":
                lines[row] = {"": lines[row][:column], "2": ""}.get(sequence[1], lines[row])
            elif sequence[2] == "A":
                row = max(0, row - int(sequence[1] or 1))
            elif sequence[2] == "B":
                row = min(len(lines) - 1, row + int(sequence[1] or 1))
            else:
                assert sequence[2] in "mhlJ", part
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def folder(tmp_path):
    """Two CSVs of the user, a schema and a secret."""
    for party, rows in enumerate(people.small_tables(200)[:2]):
        people.write_csv(tmp_path / f"{party}.csv", rows)
    (tmp_path / "schema.json").write_text(json.dumps(people.SCHEMA))
    private(tmp_path / "secret", "horse\n")
    return tmp_path


ENCODE = ["--schema", "schema.json", "--secret-file", "secret"]


class Trickle:
    """A pipe through which a CSV arrives and does not end, so that a command is caught at work."""

    def __init__(self, folder):
        self.path = folder / "trickle.csv"
        os.mkfifo(self.path)
        lines = (folder / "0.csv").read_text().splitlines(keepends=True)
        self.text = (lines[0] + "".join(lines[1:]) * 200).encode()
        self.done = threading.Event()
        threading.Thread(target=self.write, daemon=True).start()

    def write(self):
        try:
            with open(self.path, "wb") as pipe:
                pipe.write(self.text)
                pipe.flush()
                self.done.wait(LONG_S)
        except BrokenPipeError:
            pass


def test_a_bar_on_a_terminal_and_a_line_in_a_pipe(folder):
    screen = Screen(folder, "encode", "0.csv", *ENCODE, "-o", "0.json")
    assert screen.ended() == 0
    assert BAR in screen.shown.decode() and "encoding 0.csv" in screen.shown.decode()
    assert screen.remains() == ["200 encodings of 128 bytes from 200 rows"], "the bar is removed"
    ended = Commands(folder).run("encode", "0.csv", *ENCODE, "-o", "1.json")
    assert ended.stderr == "encoding 0.csv\n200 encodings of 128 bytes from 200 rows\n" and ended.stdout == ""
    # On the terminal itself, encodings and a bar would mix.
    screen = Screen(folder, "encode", "0.csv", *ENCODE)
    assert screen.ended() == 0 and BAR not in screen.shown.decode()


def test_a_narrow_terminal_has_one_line_of_progress(folder):
    os.rename(folder / "0.csv", folder / "a-name-that-is-longer-than-the-terminal.csv")
    screen = Screen(folder, "encode", "a-name-that-is-longer-than-the-terminal.csv", *ENCODE, "-o", "0.bin", columns=50)
    assert screen.ended() == 0 and BAR in screen.shown.decode()
    assert screen.remains() == ["200 encodings of 128 bytes from 200 rows"]


def test_text_beside_a_bar_is_on_lines_of_its_own(folder):
    with open(folder / "truth.csv", "w", newline="") as file:
        csv.writer(file).writerows([["person", "party", "record"], *([row, party, row] for party in (0, 1) for row in range(200))])
    link = ["link", "0.csv", "1.csv", "--schema", "schema.json", "--threshold", "0.8"]
    screen = Screen(folder, *link, "--truth", "truth.csv", "-o", "linked.csv")
    assert screen.ended() == 0
    head, *lines, last = screen.remains()
    assert head.split() == ["threshold", "groups", "pairs", "precision", "recall", "F"] and len(lines) == 21
    with open(folder / "linked.csv", newline="") as file:
        linked = list(csv.DictReader(file))
    groups = len({row["group"] for row in linked})
    assert last == f"{groups} groups with {len(linked)} records are in linked.csv"


@pytest.mark.parametrize("words", [
    ["encode", "trickle.csv", *ENCODE, "-o", "out.json", "--report", "report.txt"],
    ["encode", "trickle.csv", *ENCODE, "-o", "out.bin.zst"],
    ["link", "0.csv", "trickle.csv", "--schema", "schema.json", "--threshold", "0.8", "-o", "linked.csv"],
], ids=lambda words: words[0])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_half_file(folder, words, how):
    trickle = Trickle(folder)
    before = sorted(folder.iterdir())
    screen = Screen(folder, *words)
    screen.read_until("trickle.csv")
    until(lambda: screen.read() and sorted(folder.iterdir()) != before, "the output is under way")
    screen.process.send_signal(how)
    assert screen.ended() == 130
    trickle.done.set()
    assert sorted(folder.iterdir()) == before
    assert screen.remains() == ["entityd: interrupted"], "no bar is left"


def test_the_examples_in_the_help_are_valid(folder):
    """A new user copies them."""
    commands = Commands(folder)

    def example(*words):
        text = commands.done(*words, "--help")
        return json.JSONDecoder().raw_decode(text, text.index("{\n" if words == ("schema",) else '{"type"'))[0]

    (folder / "mine.csv").write_text("id,name,born\n1,Anna Meyer,1970-01-02\n2,Jörg Müller,\n3,Ann Meyer,1970-01-02\n4,Bo Li,1980-03-04\n")
    (folder / "example.json").write_text(json.dumps(example("schema")))
    assert "a valid schema" in commands.done("schema", "check", "example.json")
    described = commands.done("schema", "describe", "example.json", "mine.csv")
    assert "4 rows" in described
    encode = ["encode", "mine.csv", "--schema", "example.json", "--secret-file", "secret", "-o", "mine.json"]
    assert "--few-features" in commands.refused(2, *encode)
    commands.done(*encode, "--few-features")
    (folder / "blocking.json").write_text(json.dumps(example("block")))
    commands.done("block", "mine.csv", "--config", "blocking.json", "-o", "blocks.json")
    assert json.loads((folder / "blocks.json").read_text())["blocks"]


def test_the_whole_way_with_blocks(folder, server):
    """Schema, encodings and blocks in one file, project, uploads, run, ids: each command as the one before suggests."""
    commands = Commands(folder, ENTITYD_SERVER=server.origin)
    blocking = {"type": "p-sig", "version": 1, "config": {
        "blocking-features": ["state"], "filter": {"type": "ratio", "min": 0, "max": 1.1},
        "blocking-filter": {"type": "bloom filter", "number-hash-functions": 4, "bf-len": 2048},
        "signatureSpecs": [[{"type": "feature-value", "feature": "state"}]]}}
    (folder / "blocking.json").write_text(json.dumps(blocking))
    commands.done("project", "create", "--blocks", "--save", "study")
    for party in (0, 1):
        commands.done("block", f"{party}.csv", "--config", "blocking.json", "-o", f"blocks-{party}.json")
        encode = ["encode", f"{party}.csv", *ENCODE]
        commands.done(*encode, "-o", f"{party}.json")
        commands.done(*encode, "--blocks", f"blocks-{party}.json", "-o", f"with-{party}.json")
    # A party uploads once. Encodings without blocks, which the server accepts as rows of bytes, would use the token up.
    assert "--blocks" in commands.refused(2, "upload", "0.json", "--profile", "study/party-0.toml")
    commands.done("upload", "with-0.json", "--profile", "study/party-0.toml")
    commands.done("upload", "1.json", "--blocks", "blocks-1.json", "--profile", "study/party-1.toml")
    assert "--again" in commands.refused(3, "upload", "with-0.json", "--profile", "study/party-0.toml")
    analyst = ["--profile", "study/analyst.toml"]
    commands.done("run", "create", "--threshold", "0.8", "--watch", *analyst)
    linked = commands.done("result", "get", *analyst, "--with", "0=0.csv", "--with", "1=1.csv", "--id", "rec_id")
    expected = json.loads(commands.done("link", "with-0.json", "with-1.json", "--threshold", "0.8"))["groups"]
    assert len(expected) > 50 and len(linked.splitlines()) == 1 + sum(map(len, expected))
