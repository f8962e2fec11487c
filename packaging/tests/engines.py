"""Docker or Podman with everything of its own: processes, mounts, network and folder end with the test."""

import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from conftest import run
from containers import until

# A machine that mounts both cgroup versions shows only version 1: crun rejects both.
BEGIN = "umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs run /run && ip link set lo up && exec sleep 3600"
NAMESPACES = ["--mount", "--pid", "--net", "--ipc"]
NEEDS = {
    "docker": ["dockerd", "docker", "iptables", "nsenter", "ip"],
    "podman": ["podman", "iptables", "nsenter", "ip"],
}


class Engine:
    """A container engine in namespaces of its own. Ports that it publishes can be reached from `run` alone."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # The paths of sockets in it must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="entityd-"))
        self.environment = dict(os.environ)
        self.daemon: subprocess.Popen | None = None
        own = ["unshare", *NAMESPACES, "--mount-proc", "--fork", "--kill-child"]
        self.holder = subprocess.Popen([*own, "sh", "-c", BEGIN])
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        until(lambda: children.read_text().strip(), 10, lambda: "unshare started nothing")
        self.inside = children.read_text().strip()
        until(lambda: b"sleep" in self.file("cmdline"), 10, lambda: "the namespaces were not made ready")
        {"docker": self.start_docker, "podman": self.set_up_podman}[kind]()

    def file(self, name: str) -> bytes:
        return Path(f"/proc/{self.inside}/{name}").read_bytes()

    def enter(self, *command: object) -> list[str]:
        """Returns the command as it is started in the namespaces."""
        return ["nsenter", "--target", self.inside, *NAMESPACES, "--wd=.", *(str(word) for word in command)]

    def run(self, *command: object, **options: object) -> str:
        return run(*self.enter(*command), env=self.environment, cwd=self.folder, **options).stdout

    def compose(self, *command: object) -> str:
        return self.run(*composer(self.kind), *command)

    def start_docker(self) -> None:
        place = self.folder
        self.environment["DOCKER_HOST"] = f"unix://{place}/socket"
        folders = ["--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid"]
        with (place / "log").open("w") as log:
            self.daemon = subprocess.Popen(
                self.enter("dockerd", *folders, "--host", f"unix://{place}/socket"), stdout=log, stderr=log
            )

        def answers() -> bool:
            version = self.enter("docker", "version")
            return subprocess.run(version, env=self.environment, capture_output=True, check=False).returncode == 0

        until(answers, 60, (place / "log").read_text)

    def set_up_podman(self) -> None:
        place = self.folder
        storage, containers = place / "storage.conf", place / "containers.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\nrunroot = "{place}/run"\ngraphroot = "{place}/data"\n')
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        most = {name: resource.getrlimit(limit)[1] for name, limit in limits.items()}
        ulimits = ", ".join(f'"{name}={value}:{value}"' for name, value in most.items())
        containers.write_text(
            f"[containers]\ndefault_ulimits = [{ulimits}]\n"
            f'[network]\nnetwork_config_dir = "{place}/networks"\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "{place}/tmp"\n'
        )
        self.environment |= {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)}

    def remove(self) -> None:
        """Ends every process of the namespaces; the mounts go with them."""
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
        self.holder.kill()
        self.holder.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def composer(kind: str) -> list[str]:
    """Returns the command that reads compose files: Docker's plugin, or else the program."""
    plugin = ["docker", "compose"]
    if kind == "docker" and not subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode:
        return plugin
    return [f"{kind}-compose"]


def missing(kind: str) -> list[str]:
    """Returns the programs that the engine lacks here."""
    lacks = [name for name in NEEDS[kind] if not shutil.which(name)]
    return lacks or [name for name in composer(kind) if not shutil.which(name)]
