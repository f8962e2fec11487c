"""Containers from the image's unpacked files, started by crun as a container runtime would."""

import json
import os
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from conftest import run

# crun rejects a machine that mounts both cgroup versions, so it sees only version 1.
CRUN = ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"', "crun"]


@dataclass
class Image:
    """An image: its files and its configuration."""

    root: Path
    entrypoint: list[str]
    command: list[str]
    environment: list[str]
    user: int
    folder: str

    @classmethod
    def unpack(cls, archive: Path, folder: Path) -> "Image":
        """Unpacks the only layer of an archive, with its owners."""
        root = folder / "rootfs"
        root.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            read = lambda name: tar.extractfile(name).read()  # noqa: E731
            manifest = json.loads(read("manifest.json"))[0]
            assert len(manifest["Layers"]) == 1
            config = json.loads(read(manifest["Config"]))["config"]
            layer = folder / "layer.tar.gz"
            layer.write_bytes(read(manifest["Layers"][0]))
        run("tar", "--numeric-owner", "--same-owner", "-xzf", layer, "-C", root)
        return cls(
            root,
            config["Entrypoint"],
            config["Cmd"],
            config["Env"],
            int(config["User"].split(":")[0]),
            config["WorkingDir"],
        )


@dataclass
class Container:
    """A container of an image. `mounts` are (source, target, writable)."""

    image: Image
    name: str
    folder: Path
    arguments: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    mounts: list[tuple[Path, str, bool]] = field(default_factory=list)
    network: str | None = None
    memory: int | None = None
    group: int | None = None
    process: subprocess.Popen | None = None

    def spec(self) -> dict:
        image = self.image
        names = ["pid", "mount", "ipc", "uts"]
        namespaces = [{"type": name} for name in names]
        path = {"path": f"/var/run/netns/{self.network}"} if self.network else {}
        namespaces.append({"type": "network", **path})
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ]
        for source, target, is_writable in self.mounts:
            mode = "rw" if is_writable else "ro"
            mounts.append({"destination": target, "type": "bind", "source": str(source), "options": ["rbind", mode]})
        resources = {"memory": {"limit": self.memory, "swap": self.memory}} if self.memory else {}
        return {
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": image.user, "gid": image.user, "additionalGids": [self.group] if self.group else []},
                "args": [*image.entrypoint, *(self.arguments if self.arguments is not None else image.command)],
                "env": [*image.environment, *(f"{name}={value}" for name, value in self.environment.items())],
                "cwd": image.folder,
                "noNewPrivileges": True,
                "capabilities": {kind: [] for kind in ["bounding", "effective", "permitted", "inheritable", "ambient"]},
            },
            "root": {"path": str(image.root), "readonly": True},
            "hostname": self.name,
            "mounts": mounts,
            "linux": {"namespaces": namespaces, "resources": resources},
        }

    def start(self) -> "Container":
        bundle = self.folder / f"bundle-{self.name}"
        bundle.mkdir(parents=True, exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(self.spec()))
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                [*CRUN, "run", "--bundle", str(bundle), self.name], stdout=log, stderr=subprocess.STDOUT
            )
        return self

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def log(self) -> str:
        return self.log_file.read_text()

    def signal(self, name: str) -> None:
        subprocess.run([*CRUN, "kill", self.name, name], check=False, capture_output=True)

    def stop(self, grace: float) -> int:
        """Stops it as the kubelet does: SIGTERM, then SIGKILL after the grace period; returns the exit code."""
        self.signal("TERM")
        try:
            return self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.signal("KILL")
            return self.process.wait(10)

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal("KILL")
            raise

    def remove(self) -> None:
        if self.process and self.process.poll() is None:
            self.signal("KILL")
            self.process.wait(10)
        subprocess.run([*CRUN, "delete", "--force", self.name], check=False, capture_output=True)


def volume(folder: Path, group: int) -> Path:
    """A volume as the kubelet prepares it: owned by the pod's group."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, group)
    folder.chmod(0o2775)
    return folder


def until(condition, seconds: float, otherwise) -> None:
    """Waits until the condition holds; fails with the text that `otherwise` returns."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError(otherwise())
