"""The static binary in an empty chroot: nothing but the file and a data directory, no /etc, /tmp, /proc or /dev."""

import re
import shutil
import subprocess
import sys
import tarfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import ROOT, run

pytestmark = pytest.mark.system
KEYS = {"ENTITYD_S3_ACCESS_KEY": "chroot-access-key", "ENTITYD_S3_SECRET_KEY": "chroot-secret-key"}


@pytest.fixture(scope="module")
def binary(only, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("binary")
    with tarfile.open(only("entityd-*-linux.tar.gz")) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.glob("*/entityd"))


@pytest.fixture
def jail(binary, tmp_path) -> Path:
    """A root with the binary and `data`, and nothing else."""
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    shutil.copy(binary, root / "entityd")
    return root


@pytest.fixture
def network():
    """A network namespace with only a loopback interface: its ports are free, and nothing outside is reachable."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "up\n"
    yield ["nsenter", "--net", f"--target={holder.pid}"]
    holder.kill()
    holder.wait()


def in_jail(network: list[str], jail: Path, *arguments: object) -> list[str]:
    return [*network, "chroot", str(jail), "/entityd", *map(str, arguments)]


@contextmanager
def started(command: list[str], log: Path, environment: dict | None = None):
    """Starts a command, and stops it with SIGTERM."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15), log.read_text()


def run_in(network: list[str], *command: object) -> subprocess.CompletedProcess:
    return subprocess.run([*network, *map(str, command)], capture_output=True, text=True, check=False)


def wait_until_ready(network: list[str], process: subprocess.Popen, log: Path, address: str) -> None:
    for _ in range(300):
        if run_in(network, "curl", "-ksf", f"{address}/readyz").returncode == 0:
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_the_file_is_static_and_small(binary):
    assert "INTERP" not in run("readelf", "-lW", binary).stdout
    assert "NEEDED" not in run("readelf", "-dW", binary).stdout
    assert binary.stat().st_size <= 40 << 20
    # No path of the build machine.
    content = binary.read_bytes()
    for path in [f"{Path.home()}/.cargo/registry", f"{ROOT}/src", f"{ROOT}/target"]:
        assert path.encode() not in content, path


@pytest.mark.parametrize(
    "command",
    [["--version"], ["demo", "--records", "300"], ["selftest", "--people", "200"]],
    ids=lambda words: words[0],
)
def test_commands(network, jail, command):
    done = subprocess.run(
        in_jail(network, jail, *command),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "TMPDIR": "/data"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in jail.iterdir()) == ["data", "entityd"]
    assert list((jail / "data").iterdir()) == []


def test_temporary_files_go_to_a_directory_that_exists(network, jail):
    done = subprocess.run(
        in_jail(network, jail, "demo", "--records", "200"),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "temporary files go to /" in done.stderr


def test_serve_with_tls_answers_and_resolves_localhost(network, jail, tmp_path):
    log = tmp_path / "log"
    with started(in_jail(network, jail, "serve", "--data-dir", "/data", "--tls", "self-signed"), log) as process:
        wait_until_ready(network, process, log, "https://127.0.0.1:8853")
        answer = run_in(
            network,
            "curl",
            "-sf",
            "--cacert",
            jail / "data/tls/certificate.pem",
            "https://localhost:8851/api/v1/status",
        )
        assert answer.returncode == 0, answer.stderr
        done = subprocess.run(
            in_jail(
                network, jail, "selftest", "--server", "https://localhost:8851", "--ca", "/data/tls/certificate.pem"
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_external_store_is_found_by_its_name(network, jail, tmp_path):
    """The store is another entityd. Only a DNS server knows its name, and there is no /etc/resolv.conf."""
    log, asked = tmp_path / "log", tmp_path / "asked"
    store_jail = tmp_path / "store"
    (store_jail / "data").mkdir(parents=True)
    shutil.copy(jail / "entityd", store_jail / "entityd")
    store = ["--listen", "127.0.0.1:8951", "--s3-listen", "127.0.0.1:9000", "--ops-listen", "127.0.0.1:8953"]
    url = "http://store.example:9000"
    with ExitStack() as stack:
        server = stack.enter_context(
            started(in_jail(network, store_jail, "serve", "--data-dir", "/data", *store), tmp_path / "store-log", KEYS)
        )
        stack.enter_context(
            started(
                [
                    *network,
                    sys.executable,
                    str(Path(__file__).with_name("nameserver.py")),
                    "store.example",
                    "127.0.0.1",
                ],
                asked,
            )
        )
        wait_until_ready(network, server, tmp_path / "store-log", "http://127.0.0.1:8953")
        # The SHA-256 of an empty body.
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        signed = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", ":".join(KEYS.values())]
        bucket = ["-X", "PUT", "-H", f"x-amz-content-sha256: {empty}", "http://127.0.0.1:9000/objects"]
        made = run_in(network, "curl", "-sf", *signed, *bucket)
        assert made.returncode == 0, made.stderr
        elsewhere = ["--objects", "s3://objects/prefix", "--objects-endpoint", url, "--external-uploads", "false"]
        command = in_jail(network, jail, "serve", "--data-dir", "/data", *elsewhere)
        process = stack.enter_context(started(command, log, KEYS))
        wait_until_ready(network, process, log, "http://127.0.0.1:8853")
        done = subprocess.run(
            in_jail(network, jail, "selftest", "--server", "http://localhost:8851"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        assert "store.example" in asked.read_text().split()


def test_the_resolver_of_the_c_library_is_never_called(binary, tmp_path):
    trace, token = tmp_path / "trace", tmp_path / "token"
    token.write_text("0123456789" * 4)
    command = [binary, "queue", "stats", "--server", "http://name.invalid:1", "--token-file", token]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=%file,connect", "-o", trace, *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "name.invalid" in done.stderr, done.stderr
    files = re.findall(r'"(/[^"]+)"', trace.read_text())
    assert "/etc/hosts" in files and "/etc/resolv.conf" in files
    own = {"/etc/hosts", "/etc/resolv.conf"}
    for word in ["nss", "nscd", "gai.conf", "ld.so", "libc.so", "host.conf"]:
        assert not [file for file in files if word in file and file not in own], word


def allowed_calls(unit: str) -> set[str]:
    """Returns the system calls that a unit's `SystemCallFilter=` allows."""
    groups: dict[str, list[str]] = {}
    for line in run("systemd-analyze", "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            group.append(line.strip())

    def members(name: str) -> set[str]:
        return {call for word in groups[name] for call in (members(word) if word.startswith("@") else [word])}

    calls: set[str] = set()
    for line in re.findall("^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        named = {call for word in line.lstrip("~").split() for call in members(word)}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def test_the_unit_allows_every_call_that_the_server_makes(network, binary, tmp_path):
    calls, log, data = tmp_path / "calls", tmp_path / "log", tmp_path / "data"
    data.mkdir(mode=0o700)
    shutil.chown(data, 65532, 65532)
    # The folders above belong to root, and other users cannot enter them.
    for folder in [tmp_path, *tmp_path.parents[:2], binary.parent, *binary.parents[1:2]]:
        folder.chmod(0o755)
    user = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups"]
    trace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", str(calls)]
    command = [*network, *trace, *user, str(binary), "serve", "--data-dir", str(data), "--tls", "self-signed"]
    with started(command, log) as process:
        wait_until_ready(network, process, log, "https://127.0.0.1:8853")
        ca = data / "tls/certificate.pem"
        done = run_in(network, binary, "selftest", "--server", "https://localhost:8851", "--ca", ca)
        assert done.returncode == 0, done.stdout + done.stderr
    # The calls before that are those of `setpriv`.
    text = calls.read_text().split(f'execve("{binary}"', 1)[1]
    used = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
    assert {"fdatasync", "accept4"} <= used
    assert used - allowed_calls((ROOT / "packaging/systemd/entityd.service").read_text()) == set()
