"""Every file and folder of the data directory is removed, emptied, truncated, filled with garbage or has one bit changed:
before a start, while the server works, alone and in pairs.

Whatever is damaged, the server gives no wrong answer, loses nothing else, neither dies nor hangs, and names a file if
it refuses to start; once the file is put back, nothing is missing. A run of the tests tries a random few, whose seed
is printed; `tests/run --long` tries them all and leaves a table in `damage.md` beside the logs of the tests.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest


from harness import damage_scene as scene
from harness.server import Server

LONG = os.environ.get("TESTS_LONG") == "1"
SEED = int(os.environ["TESTS_SEED"])
ALONE, PAIRS, DURING = (10_000, 120, 120) if LONG else (6, 3, 3)
KINDS = ("removed", "emptied", "cut", "garbage", "one bit")


def damage(path, kind, rng):
    """Damages a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        if kind == "removed":
            shutil.rmtree(path)
        else:
            for inside in sorted(path.rglob("*")):
                if inside.is_file():
                    damage(inside, kind, rng)
        return
    size = path.stat().st_size
    if kind == "removed":
        path.unlink()
    elif kind == "emptied":
        os.truncate(path, 0)
    elif kind == "cut":
        os.truncate(path, size // 2)
    elif kind == "garbage":
        with path.open("r+b") as file:
            file.write(rng.randbytes(min(size, 1 << 20)))
    elif size:
        with path.open("r+b") as file:
            place = rng.randrange(size)
            file.seek(place)
            byte = file.read(1)[0] ^ (1 << rng.randrange(8))
            file.seek(place)
            file.write(bytes([byte]))


def targets(data):
    """Every file below the data directory, and every folder that is not empty."""
    found = (path for path in data.rglob("*") if path.name != "reserve" and not is_empty(path))
    return sorted(str(path.relative_to(data)) for path in found)


def is_empty(path):
    return path.is_dir() and next(path.iterdir(), None) is None


def kinds_of(data, name):
    return ("removed", "emptied", "garbage") if (data / name).is_dir() else KINDS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return folder, scene.build(folder)


class Table(contextlib.closing):
    """A table in Markdown, a row at a time."""

    def __init__(self, path):
        self.file = path.open("w", buffering=1)
        super().__init__(self.file)
        self.append("when damage start finished running waiting small large".split())
        self.append(["---"] * 8)

    def __enter__(self):
        return self

    def append(self, row):
        self.file.write("| " + " | ".join(row) + " |\n")


@pytest.fixture(scope="module")
def table():
    """Keeps a row for each case. The long form writes them to a file as they are added."""
    if not LONG:
        yield []
        return
    with Table(Path(os.environ.get("TESTS_LOGS", ".")) / "damage.md") as kept:
        yield kept


def cases(data, count, rng):
    every = [(name, kind) for name in targets(data) for kind in kinds_of(data, name)]
    return rng.sample(every, min(count, len(every)))


def sampled_pairs(data, rng, count):
    names = targets(data)
    for _ in range(count):
        first, second = rng.sample(names, 2)
        yield [(name, rng.choice(kinds_of(data, name))) for name in (first, second)]


def test_damage_before_a_start(made, table, tmp_path):
    folder, expected = made
    problems = []
    for case in [[case] for case in cases(folder / "data", ALONE, random.Random(SEED))]:
        one(case, folder, expected, tmp_path / "case", table, problems)
    assert not problems, "\n\n".join(problems)


def test_damage_in_pairs(made, table, tmp_path):
    folder, expected = made
    problems = []
    for case in sampled_pairs(folder / "data", random.Random(SEED), PAIRS):
        one(case, folder, expected, tmp_path / "case", table, problems)
    assert not problems, "\n\n".join(problems)


def test_damage_while_it_works(made, table, tmp_path):
    folder, expected = made
    problems = []
    for case in cases(folder / "data", DURING, random.Random(SEED)):
        try:
            while_it_works(case, folder, expected, tmp_path / "case", table)
        except (AssertionError, OSError) as error:
            problems.append(f"{case}, while it works: {type(error).__name__} {error}")
    assert not problems, "\n\n".join(problems)


def test_encodings_of_another_upload_give_no_result(made, tmp_path):
    """Matrix and index of two uploads of one size are exchanged: each is whole, and in the wrong place."""
    folder, expected = made
    scene.copy(folder, tmp_path)
    projects = tmp_path / "data" / "objects" / "projects"
    one_of, other_of = (
        next((projects / project["project_id"] / "parties" / "0").iterdir())
        for project in (expected.waiting, expected.running)
    )
    for name in ("matrix", "index"):
        (one_of / name).rename(one_of / "aside")
        (other_of / name).rename(one_of / name)
        (one_of / "aside").rename(other_of / name)
    server = Server(tmp_path)
    assert start(server) is None
    answers = finish(server, expected)
    for project in ("waiting", "running"):
        # What the scene keeps of the reason.
        assert "/index is damaged: the block index is incon" in answers[project], answers


def one(case, folder, expected, place, table, problems):
    try:
        before_a_start(case, folder, expected, place, table)
    except AssertionError as error:
        problems.append(f"{case}: {error}")
    except OSError as error:
        problems.append(f"{case}: {type(error).__name__} {error}")


def apply(case, data, rng):
    for name, kind in case:
        if (data / name).exists():
            damage(data / name, kind, rng)


def before_a_start(case, folder, expected, place, table):
    rng = random.Random(f"{SEED}/{case}")
    scene.copy(folder, place)
    data = place / "data"
    apply(case, data, rng)
    damaged = scene.payload(data) if (data / "objects").exists() else {}
    server = Server(place)
    refusal = start(server)
    if refusal is not None:
        assert_refusal(refusal, case)
        after = scene.payload(data) if (data / "objects").exists() else {}
        assert after == damaged, f"a refused start changed objects: {refusal}"
        put_back(case, folder, data)
        server = Server(place)
        again = start(server)
        assert again is None, f"refused with everything put back: {again}"
        answers = finish(server, expected)
        # A refused start must not have changed any file: with everything put back, all answers are right.
        assert set(answers.values()) == {"right"}, f"with everything put back: {answers}\nafter: {refusal}"
        table.append(row("before", case, f"refused: {refusal}", {}))
        return
    answers = finish(server, expected)
    table.append(row("before", case, "starts", answers))
    assert_kept(case, damaged, data)


def while_it_works(case, folder, expected, place, table):
    rng = random.Random(f"{SEED}/{case}")
    scene.copy(folder, place)
    data = place / "data"
    server = Server(place, environment=scene.SLOW)
    assert start(server) is None
    time.sleep(rng.random() * 0.8)
    apply([case], data, rng)
    answers, code = {"finished": "not answered"}, None
    try:
        answers = scene.questions(server, expected) if server.process.poll() is None else {}
    finally:
        # The next case needs the folder.
        code = end(server)
        table.append(row("during", [case], f"exit {code}", answers))
    log = server.log.read_text(errors="replace")
    assert "panicked" not in log, server.tail()
    assert code is None or code >= 0, f"the process died of signal {-code}\n{server.tail()}"


def start(server):
    """Starts a server; returns None, or the error with which it refused to start."""
    try:
        server.__enter__()
    except AssertionError as error:
        assert server.process.returncode is not None and server.process.returncode > 0, f"no refusal: {error}"
        lines = server.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""
    return None


def assert_refusal(refusal, case):
    """Asserts that a refusal is one sentence that names the damage."""
    assert "panicked" not in refusal, refusal
    last = [Path(name) for name, _ in case]
    stems = {part for path in last for part in (path.parts[0], path.name)}
    stems |= {re.sub(r"-(wal|shm)$", "", stem) for stem in stems} | {"data directory", "objects"}
    assert any(stem in refusal for stem in stems), f"the refusal does not name {case}: {refusal}"


def finish(server, expected):
    """Asks every question, and stops the server cleanly."""
    try:
        answers = scene.questions(server, expected)
        assert server.process.poll() is None, f"the process has ended\n{server.tail()}"
    finally:
        code = end(server)
    assert code == 0, f"exit code {code}\n{server.tail()}"
    assert "panicked" not in server.log.read_text(errors="replace"), server.tail()
    return answers


def end(server):
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(timeout=90)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
        return None


def assert_kept(case, before, data):
    """Asserts that nothing but the damaged files is gone; other files may have moved."""
    names = [name for name, _ in case]
    after = {path.read_bytes() for path in data.rglob("*") if path.is_file() and path.stat().st_size < 1 << 22}
    for name, content in before.items():
        touched = any(name == other or name.startswith(f"{other}/") for other in names)
        assert touched or content in after, f"{name} was removed although only {names} was damaged"


def put_back(case, folder, data):
    for name, _ in case:
        source, target = folder / "data" / name, data / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)


def row(when, case, started, answers):
    named = ", ".join(f"{re.sub(r'[0-9a-f]{16,}', '…', name)} {kind}" for name, kind in case)
    cells = [answers.get(key, "") for key in ("finished", "running", "waiting", "small", "large")]
    return [when, named, started[:200], *cells]
