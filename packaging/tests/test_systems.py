"""The deb and the rpm, installed and removed in a system of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import run

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def debian(tmp_path_factory) -> Path:
    """A minimal Debian 12. If DEBIAN_ROOT names an existing one, that is copied."""
    root = tmp_path_factory.mktemp("debian") / "root"
    if made := os.environ.get("DEBIAN_ROOT"):
        run("cp", "-a", made, root)
    else:
        run("debootstrap", "--variant=minbase", "bookworm", root)
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
