"""The image: read by skopeo and umoci, and run read-only as its user, with a volume and 256 MiB of memory."""

import json
import os
import subprocess

import pytest
from conftest import run
from containers import Container, Image, until, volume

pytestmark = pytest.mark.system


@pytest.fixture
def archive(only):
    return only("*-image-*.tar")


@pytest.fixture
def network():
    name = f"entityd-image-{os.getpid()}"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    yield name
    run("ip", "netns", "del", name)


def test_it_is_an_oci_layout_and_a_docker_archive(archive, tmp_path):
    seen = [
        json.loads(run("skopeo", "inspect", f"{kind}:{archive}").stdout) for kind in ["oci-archive", "docker-archive"]
    ]
    assert all(len(one["Layers"]) == 1 and one["Architecture"] == "amd64" and one["Os"] == "linux" for one in seen)
    assert "ENTITYD_DATA_DIR=/data" in seen[0]["Env"]
    config = json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{archive}").stdout)["config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/entityd"] and config["Cmd"] == ["serve"]
    # A copy through both formats has the same layer.
    for kind in ["oci-archive", "docker-archive"]:
        run("skopeo", "copy", "--quiet", "--insecure-policy", f"{kind}:{archive}", f"oci:{tmp_path / kind}:trial")
    run("umoci", "unpack", "--image", f"{tmp_path / 'oci-archive'}:trial", tmp_path / "bundle")
    root = tmp_path / "bundle/rootfs"
    assert sorted(path.name for path in root.iterdir()) == ["data", "entityd", "licences"]
    owner = (root / "data").stat()
    assert (owner.st_uid, owner.st_gid, owner.st_mode & 0o777) == (65532, 65532, 0o700)
    assert run(root / "entityd", "--version").stdout.startswith("entityd ")
    assert json.loads((tmp_path / "bundle/config.json").read_text())["process"]["user"]["uid"] == 65532


def test_it_runs_read_only_with_a_volume_and_256_mib(archive, network, tmp_path):
    image = Image.unpack(archive, tmp_path / "image")
    data = volume(tmp_path / "data", image.user)
    curl = ["ip", "netns", "exec", network, "curl", "-sf", "--max-time", "5"]
    for start in range(2):
        server = Container(
            image,
            f"image-{os.getpid()}-{start}",
            tmp_path,
            mounts=[(data, "/data", True)],
            network=network,
            memory=256 << 20,
            group=image.user,
        )
        try:
            server.start()
            until(
                lambda: (
                    subprocess.run([*curl, "http://127.0.0.1:8853/readyz"], check=False, capture_output=True).returncode
                    == 0
                ),
                60,
                server.log,
            )
            tester = Container(
                image,
                f"tester-{os.getpid()}-{start}",
                tmp_path,
                arguments=["selftest", "--server", "http://127.0.0.1:8851"],
                network=network,
                memory=128 << 20,
            )
            try:
                assert tester.start().wait(120) == 0, tester.log() + server.log()
            finally:
                tester.remove()
            assert server.stop(40) == 0, server.log()
        finally:
            server.remove()
    assert (data / "metadata.db").stat().st_uid == 65532
