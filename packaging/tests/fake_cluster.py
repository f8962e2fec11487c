"""The part of the Kubernetes API that helm needs: it keeps objects in memory and starts no pods."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml

# API version -> its kinds, each with its plural name in URL paths.
KINDS = {
    "v1": {
        "ConfigMap": "configmaps",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "Pod": "pods",
        "Namespace": "namespaces",
    },
    "apps/v1": {"StatefulSet": "statefulsets", "Deployment": "deployments"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
}


PLURALS = {plural: (version, kind) for version, kinds in KINDS.items() for kind, plural in kinds.items()}


def root(version: str) -> str:
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"


def discovery() -> dict[str, dict]:
    """The discovery documents, by path: API groups and their kinds."""
    groups = [version for version in KINDS if "/" in version]
    versions = [{"groupVersion": version, "version": version.split("/")[1]} for version in groups]
    found = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": one["groupVersion"].split("/")[0], "versions": [one], "preferredVersion": one}
                for one in versions
            ],
        },
    }
    for version, kinds in KINDS.items():
        verbs = ["create", "delete", "get", "list", "patch", "update"]
        resources = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": kind != "Namespace",
                "kind": kind,
                "verbs": verbs,
            }
            for kind, plural in kinds.items()
        ]
        found[root(version)] = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": resources,
        }
    return found


def fields(message: bytes):
    """Yields the field numbers and values of a protobuf message."""

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    at = 0
    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2
            length = varint()
            yield tag >> 3, message[at : at + length]
            at += length


def entries(message: bytes, number: int) -> dict[str, bytes]:
    """Returns a map field of a protobuf message."""
    pairs = [dict(fields(value)) for found, value in fields(message) if found == number]
    return {pair[1].decode(): pair.get(2, b"") for pair in pairs}


def secret(body: bytes) -> dict:
    """Decodes the protobuf form in which helm stores a release as a Secret."""
    raw = dict(fields(body.removeprefix(b"k8s\0")))[2]
    metadata = dict(fields(raw))[1]
    labels = {name: value.decode() for name, value in entries(metadata, 11).items()}
    data = {name: base64.b64encode(value).decode() for name, value in entries(raw, 2).items()}
    name = dict(fields(metadata))[1].decode()
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "type": "helm.sh/release.v1",
        "data": data,
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, dict]
    documents = discovery()

    def answer(self, value: dict, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def missing(self) -> None:
        self.answer(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
                "message": self.path,
            },
            404,
        )

    def body(self) -> dict:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Type") == "application/vnd.kubernetes.protobuf":
            return secret(content) if self.command != "DELETE" else {}
        return yaml.safe_load(content) or {}

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path in self.documents:
            self.answer(self.documents[path])
        elif path in self.objects:
            self.answer(self.objects[path])
        elif kind := PLURALS.get(path.rsplit("/", 1)[1]):
            wanted = dict(pair.split("=") for pair in query.get("labelSelector", [""])[0].split(",") if "=" in pair)
            items = [one for at, one in self.objects.items() if at.startswith(f"{path}/")]
            items = [one for one in items if wanted.items() <= one["metadata"].get("labels", {}).items()]
            self.answer({"kind": f"{kind[1]}List", "apiVersion": kind[0], "metadata": {}, "items": items})
        else:
            self.missing()

    def store(self, path: str) -> None:
        self.objects[path] = self.body()
        self.answer(self.objects[path], 201)

    def do_POST(self) -> None:
        made = self.body()
        self.objects[f"{urlsplit(self.path).path}/{made['metadata']['name']}"] = made
        self.answer(made, 201)

    def do_PUT(self) -> None:
        self.store(urlsplit(self.path).path)

    def do_PATCH(self) -> None:
        # helm sends whole objects by server-side apply.
        assert "apply" in self.headers["Content-Type"], self.headers["Content-Type"]
        self.store(urlsplit(self.path).path)

    def do_DELETE(self) -> None:
        self.body()
        gone = self.objects.pop(urlsplit(self.path).path, None)
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}) if gone else self.missing()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_cluster(folder: Path):
    """Serves a cluster; yields its objects by path, and the environment for helm and kubectl."""
    objects: dict[str, dict] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"objects": objects}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    try:
        yield objects, {"KUBECONFIG": str(file), "HOME": str(folder), "HELM_CACHE_HOME": str(folder / "cache")}
    finally:
        server.shutdown()
        server.server_close()
