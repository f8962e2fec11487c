"""The binary for ARM processors, on this machine by qemu: it starts, links and serves."""

import json
import platform
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import run

pytestmark = pytest.mark.system
# qemu is some ten times slower than the processor.
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def entityd(packages, tmp_path_factory) -> list[str]:
    """The command that runs the binary."""
    folder = packages.with_name(f"{packages.name}-aarch64")
    found = list(folder.glob("entityd-*-aarch64-linux.tar.gz"))
    if not found:
        pytest.skip(f"{folder} has no packages: packaging/build --arch aarch64 makes them")
    runner = [] if platform.machine() == "aarch64" else [shutil.which("qemu-aarch64-static")]
    if None in runner:
        pytest.skip("qemu-aarch64-static is missing")
    place = tmp_path_factory.mktemp("aarch64")
    with tarfile.open(found[0]) as tar:
        tar.extractall(place, filter="data")
    return [*runner, str(next(place.glob("*/entityd")))]


def can_start_itself(entityd: list[str]) -> bool:
    """Returns true if the kernel runs files for ARM processors, so that the binary can start another one."""
    return len(entityd) == 1 or Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()


def done(command: list[str], *words: object, codes: tuple[int, ...] = (0,)) -> str:
    ended = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert ended.returncode in codes, (words, ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout


def test_the_file_is_static_and_for_this_processor(entityd):
    assert "AArch64" in run("readelf", "-hW", entityd[-1]).stdout
    assert "INTERP" not in run("readelf", "-lW", entityd[-1]).stdout
    assert Path(entityd[-1]).stat().st_size <= 40 << 20


def test_its_version_is_that_of_the_packages(entityd, only):
    assert done(entityd, "--version").split()[1] == only("entityd-*-linux.tar.gz").name.split("-")[1]


def test_check_examines_the_machine(entityd, tmp_path):
    report = json.loads(done(entityd, "check", "--json", "--data-dir", tmp_path / "data", codes=(0, 1)))
    assert report, report


def test_demo_links(entityd):
    assert done(entityd, "demo", "--records", 200)


def test_selftest_passes(entityd):
    if not can_start_itself(entityd):
        pytest.skip("the kernel does not run files for ARM processors by itself (binfmt_misc)")
    assert "the known answer" in done(entityd, "selftest", "--people", 200)


def test_a_server_passes_the_selftest(entityd, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as api, socket.create_server(("127.0.0.1", 0)) as ops:
        ports = [listener.getsockname()[1] for listener in (api, ops)]
    api, ops = (f"127.0.0.1:{port}" for port in ports)
    words = ["--data-dir", tmp_path / "data", "--listen", api, "--ops-listen", ops, "--s3-listen", "127.0.0.1:0"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*entityd, "serve", *map(str, words)], stdout=log, stderr=log)
    try:
        wait_until_ready(server, f"http://{ops}/readyz", tmp_path / "log")
        report = json.loads(done(entityd, "selftest", "--server", f"http://{api}", "--json"))
        assert report["passed"], report
    finally:
        server.terminate()
        assert server.wait(120) == 0, (tmp_path / "log").read_text()


def wait_until_ready(server: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
