"""The deb and the rpm, installed and removed in a system of their own, and the service under its systemd."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import run
from containers import until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def debian(tmp_path_factory) -> Path:
    """A minimal Debian 12. If DEBIAN_ROOT names an existing one, that is copied."""
    root = tmp_path_factory.mktemp("debian") / "root"
    if made := os.environ.get("DEBIAN_ROOT"):
        run("cp", "-a", made, root)
    else:
        run("debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", "bookworm", root)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def test_the_deb_is_installed_upgraded_and_purged(debian, only):
    def inside(*command: str) -> subprocess.CompletedProcess:
        return run("chroot", debian, *command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})

    before = {path.relative_to(debian) for path in debian.rglob("*")}
    shutil.copy(only("*.deb"), debian / "entityd.deb")
    inside("dpkg", "-i", "/entityd.deb")
    assert inside("entityd", "--version").stdout.startswith("entityd ")
    assert (
        inside("sh", "-c", "cd / && TMPDIR=/tmp entityd demo --records 200 >/dev/null && echo done").stdout == "done\n"
    )
    token = debian / "etc/entityd/credentials/admin-token"
    made = token.read_text()
    assert len(made) == 60 and token.stat().st_mode & 0o777 == 0o600 and token.parent.stat().st_mode & 0o777 == 0o700
    assert (debian / "etc/systemd/system/multi-user.target.wants/entityd.service").is_symlink()
    inside("dpkg", "-i", "/entityd.deb")
    assert token.read_text() == made
    # An installation that was cut off may have left an empty token.
    token.write_text("")
    inside("dpkg", "-i", "/entityd.deb")
    assert len(token.read_text()) == 60 and token.stat().st_mode & 0o777 == 0o600
    inside("dpkg", "--remove", "entityd")
    assert token.exists() and not (debian / "usr/bin/entityd").exists()
    data = debian / "var/lib/private/entityd"
    data.mkdir(parents=True)
    purged = inside("dpkg", "--purge", "entityd")
    assert "the data in /var/lib/private/entityd is kept" in purged.stderr and data.is_dir()
    shutil.rmtree(debian / "var/lib/private")
    (debian / "entityd.deb").unlink()
    left = {path.relative_to(debian) for path in debian.rglob("*")} - before
    assert not [path for path in left if "entityd" in str(path)], left


@pytest.fixture
def booted(debian):
    """The system with its systemd running; returns a function that runs a shell command in it."""
    if not shutil.which("systemd-nspawn") or not (debian / "lib/systemd/systemd").exists():
        pytest.skip("systemd-nspawn is not here, or the system has no systemd")
    flags = ["--register=no", "--keep-unit", f"--machine=entityd-{os.getpid()}", "--private-network", "--console=pipe"]
    machine = subprocess.Popen(
        ["systemd-nspawn", "--quiet", *flags, "-D", str(debian), "--boot"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{machine.pid}/task/{machine.pid}/children")

    def inside(command: str) -> subprocess.CompletedProcess:
        (first, *_) = children.read_text().split()
        place = [f"--root=/proc/{first}/root", f"--wd=/proc/{first}/root"]
        names = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        enter = ["nsenter", "--target", first, *names, *place, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return subprocess.run([*enter, "sh", "-c", command], capture_output=True, text=True, check=False)

    try:
        until(lambda: children.read_text().strip(), 20, lambda: "systemd-nspawn started nothing")
        until(lambda: "running" in inside("systemctl is-system-running").stdout, 60, lambda: "systemd does not run")
        yield inside
    finally:
        machine.terminate()
        try:
            machine.wait(20)
        except subprocess.TimeoutExpired:
            machine.kill()


def test_the_service_runs_under_systemd(booted, debian, only):
    def well(command: str) -> str:
        done = booted(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{log()}"
        return done.stdout.strip()

    def log() -> str:
        return booted("journalctl --unit entityd --output cat --no-pager").stdout

    def main_pid() -> str:
        return well("systemctl show --property MainPID --value entityd")

    shutil.copy(only("*.deb"), debian / "entityd.deb")
    well("dpkg -i /entityd.deb")
    # Type=notify: it is active once the server is ready.
    assert well("systemctl is-active entityd") == "active"
    selftest = "TMPDIR=/tmp entityd selftest --server http://127.0.0.1:8851"
    assert "works" in well(selftest)
    token = "ENTITYD_ADMIN_TOKEN=$(cat /etc/entityd/credentials/admin-token)"
    well(f"{token} entityd backup --to /backups")
    user = well("stat -c %u /var/lib/private/entityd/metadata.db")
    assert int(user) > 61000 and "entityd" not in well("cat /etc/passwd")

    # A server that hangs is started again by the watchdog, and one that was killed by its unit.
    for signal in ["STOP", "KILL"]:
        before = main_pid()
        well(f"kill -{signal} {before}")
        until(lambda before=before: main_pid() not in ["0", before], 60, log)
        until(lambda: booted("systemctl is-active entityd").stdout == "active\n", 60, log)
    assert "Watchdog timeout" in log()
    assert "works" in well(selftest)

    # A restore by root belongs to the user of the service once it starts.
    well("systemctl stop entityd")
    assert well("systemctl show --property ExecMainStatus --value entityd") == "0"
    well("mv /var/lib/private/entityd /var/lib/private/entityd.before")
    well("entityd restore /backups --into /var/lib/private/entityd && systemctl start entityd")
    assert "works" in well(selftest)

    # A wrong setting is named once, and the unit does not start again and again.
    well("echo 'lease_ms = 1' >> /etc/entityd/entityd.toml")
    assert booted("systemctl restart entityd").returncode != 0
    assert log().count("entityd: lease_ms") == 1, log()
    assert well("systemctl show --property SubState --value entityd") == "failed"
    well("dpkg --purge entityd && rm -rf /var/lib/private/entityd* /backups /entityd.deb")


def test_the_rpm_is_installed_and_removed(only, tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    rpm = ["rpm", "--root", root]
    run(*rpm, "--initdb")
    run(*rpm, "-i", "--nodeps", "--noscripts", only("*.rpm"))
    assert run(root / "usr/bin/entityd", "--version").stdout.startswith("entityd ")
    assert run(*rpm, "-V", "--nodeps", "entityd").stdout == ""
    (root / "etc/entityd/entityd.toml").write_text("# changed\n")
    run(*rpm, "-e", "--noscripts", "entityd")
    assert not (root / "usr/bin/entityd").exists()
    assert (root / "etc/entityd/entityd.toml.rpmsave").read_text() == "# changed\n"
