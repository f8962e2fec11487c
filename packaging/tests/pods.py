"""A miniature cluster: the pods of rendered manifests, each in its own network namespace, probed as the kubelet does.

Pods are joined by a bridge. A Service is an address on the bridge, from which a proxy forwards to the ready pods; names
are in the /etc/hosts of each pod. Volumes and secrets are folders with the owners that the kubelet gives them.
"""

import base64
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from conftest import run
from containers import Container, Image, volume

UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def size(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def key(one: dict) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


@dataclass
class Pod:
    """A pod that was started. Its container is restarted when its liveness probe fails, as the kubelet does."""

    name: str
    labels: dict
    spec: dict
    address: str
    container: Container
    restarts: int = 0

    def probe(self, node: str, kind: str) -> bool:
        """Runs one probe once."""
        spec = self.spec["containers"][0]
        get = spec[f"{kind}Probe"]["httpGet"]
        port = next(port["containerPort"] for port in spec["ports"] if port["name"] == get["port"])
        seconds = spec[f"{kind}Probe"].get("timeoutSeconds", 1)
        scheme = get.get("scheme", "HTTP").lower()
        url = f"{scheme}://{self.address}:{port}{get['path']}"
        return (
            subprocess.run(
                ["ip", "netns", "exec", node, "curl", "-ksf", "--max-time", str(seconds), url],
                check=False,
                capture_output=True,
            ).returncode
            == 0
        )

    def wait_until(self, node: str, kind: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.probe(node, kind):
            assert self.container.process.poll() is None, f"{self.name} ended: {self.container.log()}"
            assert time.monotonic() < end, f"{self.name} is not {kind}: {self.container.log()}"
            time.sleep(0.1)


@dataclass
class Cluster:
    """The node: a bridge, folders, and the objects that were applied."""

    image: Image
    folder: Path
    name: str = field(default_factory=lambda: f"entityd-{os.getpid()}")
    objects: dict = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    proxies: dict[str, subprocess.Popen] = field(default_factory=dict)
    addresses: int = 10
    services: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> "Cluster":
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self.name, "address", "add", "10.88.0.1/16", "dev", "bridge")
        run("ip", "-n", self.name, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.pods):
            self.delete_pod(name, force=True)
        for proxy in self.proxies.values():
            proxy.kill()
            proxy.wait()
        run("ip", "netns", "del", self.name)

    def inside(self, *command: object) -> subprocess.CompletedProcess:
        """Runs a command of this machine on the node."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *map(str, command)], capture_output=True, text=True, check=False
        )

    # Objects.

    def apply(self, documents: list[dict]) -> None:
        """Replaces the objects by those of a release, and starts a proxy for each Service."""
        kept = {name: one for name, one in self.objects.items() if name[0] == "PersistentVolumeClaim"}
        self.objects = kept | {key(one): one for one in documents}
        for kind, name in self.objects:
            if kind == "Service" and name not in self.services:
                self.addresses += 1
                self.services[name] = f"10.88.1.{self.addresses}"
                run("ip", "-n", self.name, "address", "add", f"{self.services[name]}/32", "dev", "bridge")

    def of_kind(self, kind: str) -> list[dict]:
        return [one for (found, _), one in self.objects.items() if found == kind]

    def route(self) -> None:
        """Routes every Service to its ready pods, or to all of them with `publishNotReadyAddresses`."""
        for service in self.of_kind("Service"):
            spec, name = service["spec"], service["metadata"]["name"]
            is_chosen = lambda pod, spec=spec: spec["selector"].items() <= pod.labels.items()  # noqa: E731
            pods = [pod for pod in self.pods.values() if is_chosen(pod)]
            if not spec.get("publishNotReadyAddresses"):
                pods = [pod for pod in pods if pod.probe(self.name, "readiness")]
            routes = []
            for port in spec["ports"]:
                for pod in pods:
                    ports = {one["name"]: one["containerPort"] for one in pod.spec["containers"][0].get("ports", [])}
                    routes.append(f"{self.services[name]}:{port['port']}={pod.address}:{ports[port['targetPort']]}")
            if old := self.proxies.pop(name, None):
                old.kill()
                old.wait()
            command = [
                "ip",
                "netns",
                "exec",
                self.name,
                sys.executable,
                str(Path(__file__).with_name("proxy.py")),
                *routes,
            ]
            self.proxies[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert self.proxies[name].stdout.readline() == "ready\n"

    # Pods.

    def start_pod(self, name: str, template: dict, arguments: list[str] | None = None) -> Pod:
        """Starts a pod from a template (`metadata` and `spec`) with its environment, volumes, user and limits."""
        spec = template["spec"]
        container = spec["containers"][0]
        assert len(spec["containers"]) == 1 and not spec.get("initContainers")
        security = spec["securityContext"]
        assert security["runAsUser"] == self.image.user and container["securityContext"]["readOnlyRootFilesystem"]
        network, address = self.add_network()
        hosts = self.folder / f"{name}.hosts"
        lines = [f"{self.services[service]} {service}" for service in self.services]
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{line}\n" for line in lines))
        mounts = [(hosts, "/etc/hosts", False)]
        volumes = {one["name"]: one for one in spec.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            source = self.source(name, volumes[mount["name"]], security["fsGroup"])
            mounts.append((source, mount["mountPath"], not mount.get("readOnly", False)))
        self.prepare_targets(target for _, target, _ in mounts)
        made = Container(
            self.image,
            f"{self.name}-{name}",
            self.folder,
            arguments=arguments or container["args"],
            environment=self.environment(container),
            mounts=mounts,
            network=network,
            memory=size(container["resources"]["limits"]["memory"]),
            group=security["fsGroup"],
        )
        pod = Pod(name, template["metadata"].get("labels", {}), spec, address, made.start())
        self.pods[name] = pod
        return pod

    def delete_pod(self, name: str, force: bool = False) -> int:
        """Stops a pod within its grace period: preStop, SIGTERM, SIGKILL. Returns the exit code of its container."""
        pod = self.pods.pop(name)
        code = -9
        if not force:
            grace = pod.spec["terminationGracePeriodSeconds"]
            sleep = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            self.route()
            time.sleep(sleep)
            code = pod.container.stop(grace - sleep)
        pod.container.remove()
        run("ip", "netns", "del", pod.container.network)
        return code

    def add_network(self) -> tuple[str, str]:
        self.addresses += 1
        number = self.addresses
        network, address = f"{self.name}-{number}", f"10.88.0.{number}"
        run("ip", "netns", "add", network)
        run("ip", "-n", network, "link", "set", "lo", "up")
        run(
            "ip",
            "-n",
            self.name,
            "link",
            "add",
            f"pod{number}",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            network,
        )
        run("ip", "-n", self.name, "link", "set", f"pod{number}", "master", "bridge", "up")
        run("ip", "-n", network, "address", "add", f"{address}/16", "dev", "eth0")
        run("ip", "-n", network, "link", "set", "eth0", "up")
        return network, address

    def prepare_targets(self, targets) -> None:
        """Creates missing mount points in the unpacked files; a real runtime creates them in its writable layer."""
        for target in targets:
            path = self.image.root / target.lstrip("/")
            if target == "/etc/hosts":
                path.parent.mkdir(exist_ok=True)
                path.touch()
            else:
                path.mkdir(parents=True, exist_ok=True)

    def environment(self, container: dict) -> dict[str, str]:
        found = {}
        for source in container.get("envFrom", []):
            found |= self.objects["ConfigMap", source["configMapRef"]["name"]]["data"]
        for one in container.get("env", []):
            if "value" in one:
                found[one["name"]] = one["value"]
            else:
                reference = one["valueFrom"]["secretKeyRef"]
                found[one["name"]] = self.secret(reference["name"])[reference["key"]].decode()
        return found

    def secret(self, name: str) -> dict[str, bytes]:
        return {item: base64.b64decode(value) for item, value in self.objects["Secret", name]["data"].items()}

    def claim(self, name: str) -> Path:
        """The folder of a volume claim."""
        return self.folder / "claims" / name

    def source(self, pod: str, spec: dict, group: int) -> Path:
        if "persistentVolumeClaim" in spec:
            name = spec["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", name) in self.objects, f"no claim {name}"
            return volume(self.claim(name), group)
        if "emptyDir" in spec:
            return volume(self.folder / "empty" / pod / spec["name"], group)
        folder = self.folder / "secrets" / pod / spec["name"]
        folder.mkdir(parents=True, exist_ok=True)
        secret = self.secret(spec["secret"]["secretName"])
        for item in spec["secret"].get("items") or [{"key": name, "path": name} for name in secret]:
            file = folder / item["path"]
            file.write_bytes(secret[item["key"]])
            os.chown(file, 0, group)
            file.chmod(spec["secret"]["defaultMode"])
        return folder


def render(chart: Path, values: dict, release: str = "trial") -> list[dict]:
    """The objects of a release, hooks included."""
    done = subprocess.run(
        ["helm", "template", release, chart, "--kube-version", "1.37.0", "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=True,
    )
    return [document for document in yaml.safe_load_all(done.stdout) if document]
