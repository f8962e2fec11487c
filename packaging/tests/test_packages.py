"""The packages as files: complete, clean, signed and reproducible."""

import hashlib
import json
import os
import re
import subprocess
import tarfile
import tomllib

import pytest
import yaml
from conftest import ROOT, run

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def exposure(unit) -> float:
    lines = run("systemd-analyze", "security", "--offline=true", unit).stdout.splitlines()
    return float(re.search(r"exposure level for .*: ([0-9.]+)", lines[-1]).group(1))


def test_the_exposure_level_of_the_unit_is_at_most_1_5(tmp_path):
    assert exposure(ROOT / "packaging/systemd/entityd.service") <= 1.5


def test_systemd_accepts_the_unit_and_its_settings_exist(tmp_path):
    text = (ROOT / "packaging/systemd/entityd.service").read_text()
    unit = tmp_path / "entityd.service"
    unit.write_text(text.replace("/usr/bin/entityd", "/bin/true").replace("Documentation", "#"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    for option in ["Type=notify", "WatchdogSec=", "DynamicUser=yes", "StateDirectory=", "LoadCredential=admin-token:"]:
        assert option in text
    known = set(tomllib.loads((ROOT / "config/all.toml").read_text()))
    assert set(tomllib.loads((ROOT / "packaging/systemd/entityd.toml").read_text())) <= known


def test_the_deb_is_clean(packages, only):
    # The binary of a trial build is linked with libraries of this machine.
    trial = (
        ["--suppress-tags", "undeclared-elf-prerequisites,missing-dependency-on-libc"]
        if "trial" in packages.name
        else []
    )
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", *trial, only("*.deb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not re.search("^[EW]:", done.stdout, re.MULTILINE), done.stdout


def test_deb_and_rpm_contain_the_same_files(only):
    deb = {
        line.split()[5].lstrip(".")
        for line in run("dpkg-deb", "-c", only("*.deb")).stdout.splitlines()
        if not line.startswith("d")
    }
    rpm = set(run("rpm", "-qlp", only("*.rpm")).stdout.split())
    for file in [
        "/usr/bin/entityd",
        "/etc/entityd/entityd.toml",
        "/usr/share/man/man1/entityd-serve.1.gz",
        "/usr/share/doc/entityd/all.toml",
    ]:
        assert file in deb and file in rpm, file
    own = re.compile("^/usr/share/(doc|lintian|zsh)/|^/etc/entityd$")
    assert {file for file in deb if not own.search(file)} == {file for file in rpm if not own.search(file)}


def test_every_page_of_the_manual_can_be_read(only, tmp_path):
    run("dpkg-deb", "-x", only("*.deb"), tmp_path)
    pages = sorted((tmp_path / "usr/share/man/man1").iterdir())
    assert len(pages) > 12
    for page in pages:
        done = run("man", "--warnings", "--local-file", page, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        assert "NAME" in done.stdout and not done.stderr.strip(), done.stderr


def test_every_crate_is_in_the_bill_and_has_a_licence(packages, only):
    bill = json.loads(only("*.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    refs = [one["bom-ref"] for one in bill["components"]]
    assert len(refs) == len(set(refs)) > 200
    named = {ref for entry in bill["dependencies"] for ref in [entry["ref"], *entry["dependsOn"]]}
    assert named == {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert all(one["licenses"] and one["hashes"] for one in bill["components"])
    with tarfile.open(only("entityd-*-linux.tar.gz")) as tar:
        folder = tar.getnames()[0]
        binary = hashlib.sha256(tar.extractfile(f"{folder}/entityd").read()).hexdigest()
        texts = tar.extractfile(f"{folder}/third-party-licences.txt").read().decode()
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": binary}]
    for one in bill["components"]:
        assert f"\n{one['name']} {one['version']}: " in texts


def test_the_checksums_cover_everything(packages):
    run("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS", cwd=packages)
    listed = {line.split()[1] for line in (packages / "SHA256SUMS").read_text().splitlines()}
    assert listed == {file.name for file in packages.iterdir() if not file.name.startswith("SHA256SUMS")}


def test_compose_runs_the_image_that_was_built(only):
    with tarfile.open(only("*-image-*.tar")) as tar:
        tags = json.load(tar.extractfile("manifest.json"))[0]["RepoTags"]
    service = yaml.safe_load((ROOT / "packaging/compose.yaml").read_text())["services"]["entityd"]
    assert service["image"] in tags == [f"entityd:{VERSION}"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    chart = yaml.safe_load((ROOT / "packaging/helm/entityd/Chart.yaml").read_text())
    base = yaml.safe_load((ROOT / "packaging/kustomize/base/kustomization.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == base["images"][0]["newTag"] == VERSION


def test_the_bundle_installs_without_a_network(only, tmp_path):
    run("tar", "-xf", only("*-airgap-*.tar"), "-C", tmp_path)
    folder = next(tmp_path.iterdir())
    no_network = ["unshare", "--net"]
    assert "The files are complete." in run(*no_network, "./install.sh", cwd=folder).stdout
    assert run(*no_network, "./install.sh", "binary", tmp_path / "bin", cwd=folder).stdout == f"entityd {VERSION}\n"
    for tool in ["docker", "podman"]:
        fake = tmp_path / "tools" / tool
        fake.parent.mkdir(exist_ok=True)
        fake.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        fake.chmod(0o755)
        path = f"{fake.parent}:/usr/bin:/bin"
        said = run(*no_network, "./install.sh", "image", cwd=folder, env={"PATH": path}).stdout
        assert said == f"{tool} load --input entityd-{VERSION}-image-amd64.tar\n"
        fake.unlink()
        if tool == "docker" and os.path.exists("/usr/bin/docker"):
            break
    taken = tmp_path / "taken"
    (taken / "entityd").mkdir(parents=True)
    # On a full disk nothing is left.
    full = (
        'mount -t tmpfs -o size=1m none /mnt && { ./install.sh binary /mnt; code=$?; [ -z "$(ls -A /mnt)" ] && exit $code; }'
    )
    for words, sentence in [
        (["./install.sh", "everything"], "unknown command everything; README lists all"),
        (["./install.sh", "binary", "/dev/null/x"], "binary: cannot make the folder /dev/null/x"),
        (["./install.sh", "binary", "a", "b"], "binary: one folder, not 2"),
        (["./install.sh", "binary", taken], f"binary: {taken}/entityd is a folder; name another one"),
        (["./install.sh", "image", "a", "b"], "image: one registry, not 2"),
        (["unshare", "-m", "sh", "-c", full], "binary: cannot write to /mnt"),
    ]:
        wrong = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert wrong.returncode == 1 and wrong.stderr.endswith(f"install.sh: {sentence}\n"), wrong.stderr
    assert not list((taken / "entityd").iterdir())
    chart = next(folder.glob("*-chart-*.tgz"))
    chart.rename(tmp_path / "chart")
    wrong = subprocess.run(["./install.sh"], cwd=folder, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and wrong.stderr == "install.sh: the bundle has no chart: copy it again\n"
    (tmp_path / "chart").rename(chart)
    with (folder / "README").open("a") as file:
        file.write("altered")
    wrong = subprocess.run(
        ["./install.sh", "binary", tmp_path], cwd=folder, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1 and "the bundle is damaged: copy it again" in wrong.stderr


def test_packages_are_reproducible_and_signed(packages, only, tmp_path):
    run("dpkg-deb", "-x", only("*.deb"), tmp_path / "deb")
    key, password = tmp_path / "key", {**os.environ, "MINISIGN_PASSWORD": ""}
    run("minisign", "-G", "-W", "-s", key, "-p", tmp_path / "key.pub")
    # That of the packages, which may have been built at an earlier commit.
    with tarfile.open(only("*-linux.tar.gz")) as packed:
        epoch = str(int(packed.next().mtime))
    again = tmp_path / "again"
    build = ROOT / "packaging/build"
    # The same binary, built into packages in another folder and at another time of day.
    binary = tmp_path / "deb/usr/bin/entityd"
    is_static = "INTERP" not in run("readelf", "-lW", binary).stdout
    run(
        build,
        "--binary" if is_static else "--trial",
        binary,
        "--output",
        again,
        "--sign",
        key,
        env={**password, "SOURCE_DATE_EPOCH": epoch},
    )
    run("minisign", "-V", "-q", "-p", tmp_path / "key.pub", "-m", again / "SHA256SUMS")
    assert (again / "SHA256SUMS").read_text() == (packages / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--signed"], "unknown option --signed; the first lines of this file list all"),
        (["--sign"], "--sign needs a value"),
        (["--sign", "/none"], "--sign /none: no readable file"),
        (["--binary", "/etc/passwd"], "/etc/passwd is no executable file"),
        (
            ["--binary", "/bin/true", "--output", "/etc"],
            "--output /etc: it holds files that are not packages; name a new folder",
        ),
        (["--binary", "/bin/true", "--output", "new"], "is not static: build it with -C target-feature=+crt-static"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(words, sentence, tmp_path):
    words = [tmp_path / "new" if word == "new" else word for word in words]
    done = subprocess.run([ROOT / "packaging/build", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("packaging/build: "), done.stderr
    assert done.stderr.strip().endswith(sentence), done.stderr
