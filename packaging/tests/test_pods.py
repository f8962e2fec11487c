"""The rendered pods, started and probed: install, linkage, restart, upgrade, uninstall with and without data."""

import json

import pytest
from conftest import ROOT
from containers import Image, until
from pods import Cluster, render

pytestmark = pytest.mark.system
CHART = ROOT / "packaging/helm/entityd"
VALUES = {"preStopSeconds": 1, "drainTimeoutSeconds": 10, "resources": {"limits": {"memory": "256Mi"}}}


@pytest.fixture
def cluster(only, tmp_path):
    image = Image.unpack(only("*-image-*.tar"), tmp_path / "image")
    with Cluster(image, tmp_path) as cluster:
        yield cluster


def install(cluster: Cluster, documents: list[dict]) -> None:
    """Applies the objects, and starts the pod of the StatefulSet as its controller does."""
    cluster.apply([one for one in documents if "helm.sh/hook" not in one["metadata"].get("annotations", {})])
    (stateful,) = cluster.of_kind("StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    name = f"{stateful['metadata']['name']}-0"
    if name in cluster.pods:
        # One pod at a time uses the volume: the old one has ended before the new one starts.
        assert cluster.delete_pod(name) == 0
    pod = cluster.start_pod(name, stateful["spec"]["template"])
    pod.wait_until(cluster.name, "startup", 60)
    pod.wait_until(cluster.name, "liveness", 10)
    pod.wait_until(cluster.name, "readiness", 30)
    cluster.route()


def helm_test(cluster: Cluster, documents: list[dict]) -> None:
    (pod,) = [one for one in documents if one["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"]
    started = cluster.start_pod(pod["metadata"]["name"], pod)
    code = started.container.wait(120)
    assert code == 0, started.container.log()
    cluster.delete_pod(pod["metadata"]["name"], force=True)


class Api:
    """The API at the address of the Service, from the node."""

    def __init__(self, cluster: Cluster, service: str) -> None:
        self.cluster = cluster
        self.base = f"http://{cluster.services[service]}/api/v1"

    def __call__(self, path: str, token: str = "", body: object = None, method: str = "") -> dict:
        send = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        done = self.cluster.inside(
            "curl",
            "-sf",
            *(["-X", method] if method else []),
            *send,
            "-H",
            f"Authorization: {token}",
            f"{self.base}{path}",
        )
        assert done.returncode == 0, (path, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else {}


def start_linkage(api: Api) -> tuple[str, str]:
    """Two parties upload, and a run is posted; returns its path and the token."""
    project = api("/projects", body={"schema": {}, "result_type": "groups"})
    path, token = f"/projects/{project['project_id']}", project["result_token"]
    for update, clks in zip(
        project["update_tokens"], [["AAECAwQFBgc=", "//79/Pv6+fg="], ["//79/Pv6+fg=", "AAECAwQFBgY="]], strict=True
    ):
        api(f"{path}/clks", update, {"clks": clks})
    run = api(f"{path}/runs", token, {"threshold": 0.8})
    return f"{path}/runs/{run['run_id']}", token


def groups(api: Api, run: str, token: str) -> list:
    until(lambda: api(f"{run}/status", token)["state"] == "completed", 60, lambda: api(f"{run}/status", token))
    return sorted(map(sorted, api(f"{run}/result", token)["groups"]))


EXPECTED = [[[0, 0], [1, 1]], [[0, 1], [1, 0]]]


def test_install_link_restart_upgrade_and_uninstall(cluster):
    first = render(CHART, VALUES)
    install(cluster, first)
    helm_test(cluster, first)
    api = Api(cluster, "trial-entityd")
    run, token = start_linkage(api)

    # A rolling restart keeps the run that was posted before it.
    install(cluster, first)
    assert groups(api, run, token) == EXPECTED

    # The pod of a lost node is killed; the next one continues with the volume.
    cluster.delete_pod("trial-entityd-0", force=True)
    install(cluster, first)
    assert groups(api, run, token) == EXPECTED

    # An upgrade with other settings. Helm finds the old secret and keeps it; here the test passes it on.
    secret = next(one for one in first if one["kind"] == "Secret")
    second = [
        one
        for one in render(CHART, VALUES | {"settings": {"log": "debug"}, "tls": {"mode": "self-signed"}})
        if one["kind"] != "Secret"
    ]
    template = lambda documents: next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]  # noqa: E731
    assert template(first)["metadata"]["annotations"] != template(second)["metadata"]["annotations"]
    install(cluster, [*second, secret])
    answer = cluster.inside(
        "curl",
        "-ksf",
        "-H",
        f"Authorization: {token}",
        api.base.replace("http://", "https://").replace("/api", ":80/api") + f"{run}/result",
    )
    assert json.loads(answer.stdout)["groups"], answer.stderr

    # After an uninstall that keeps the data and a new install, nothing is missing.
    assert cluster.delete_pod("trial-entityd-0") == 0
    keep = lambda one: one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"  # noqa: E731
    kept = {(one["kind"], one["metadata"]["name"]) for one in first if keep(one)}
    assert kept == {("PersistentVolumeClaim", "trial-entityd-data"), ("Secret", "trial-entityd")}
    install(cluster, first)
    assert groups(api, run, token) == EXPECTED
    assert cluster.delete_pod("trial-entityd-0") == 0

    # Without `keep` nothing is left in the cluster.
    assert not [one for one in render(CHART, VALUES | {"persistence": {"keep": False}}) if keep(one)]


def test_a_pod_that_hangs_is_restarted_and_one_that_drains_leaves_the_service(cluster):
    documents = render(CHART, VALUES)
    install(cluster, documents)
    pod = cluster.pods["trial-entityd-0"]
    assert pod.probe(cluster.name, "readiness")
    pod.container.signal("STOP")
    assert not pod.probe(cluster.name, "liveness")
    pod.container.signal("CONT")
    until(lambda: pod.probe(cluster.name, "liveness"), 10, pod.container.log)
    # The operations listener answers until the drain ends, and reports that the pod is not ready.
    pod.container.signal("TERM")
    assert pod.container.process.wait(20) == 0, pod.container.log()


def test_every_value_that_can_be_served_here_is_served(cluster):
    secret = {
        "kind": "Secret",
        "metadata": {"name": "tokens"},
        "data": {
            name: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OQ=="
            for name in ["admin-token", "s3-access-key", "s3-secret-key"]
        },
    }
    values = VALUES | {
        "auth": {"existingSecret": "tokens", "requireAdminToken": True},
        "anonlink": {"config": {"MIN_ENCODING_SIZE": 8}},
        "workers": {"celery": {"CONCURRENCY": 1}},
        "settings": {"retention_days": 90, "lease_ms": "30s", "run_pairs_max": 500_000_000},
        "persistence": {"enabled": False},
    }
    documents = [*render(CHART, values), secret]
    install(cluster, documents)
    helm_test(cluster, documents)
    refused = cluster.inside(
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"schema": {}, "result_type": "groups"}',
        f"http://{cluster.services['trial-entityd']}/api/v1/projects",
    )
    assert refused.stdout in ("401", "403"), refused.stdout


def test_workers_join_and_a_lost_worker_changes_no_result(cluster):
    small = {"resources": {"limits": {"memory": "256Mi"}}}
    nodes = {"enabled": True, "workers": {"replicas": 2, **small}, "highMemoryWorkers": {"replicas": 1, **small}}
    documents = render(CHART, VALUES | {"cluster": nodes, "settings": {"lease_ms": "2s"}})
    install(cluster, documents)
    templates = {one["metadata"]["name"]: one["spec"]["template"] for one in cluster.of_kind("Deployment")}
    compare, finish = templates["trial-entityd-worker"], templates["trial-entityd-high-memory-worker"]
    for name, template in [("worker-0", compare), ("worker-1", compare), ("finisher-0", finish)]:
        cluster.start_pod(name, template).wait_until(cluster.name, "readiness", 60)
    helm_test(cluster, documents)
    api = Api(cluster, "trial-entityd")
    run, token = start_linkage(api)
    cluster.delete_pod("worker-0", force=True)
    assert groups(api, run, token) == EXPECTED

    # Scaling to another number of workers, then a rolling restart of both kinds of node.
    cluster.start_pod("worker-2", compare).wait_until(cluster.name, "readiness", 60)
    assert cluster.delete_pod("worker-1") == 0
    install(cluster, documents)
    run, token = start_linkage(api)
    assert groups(api, run, token) == EXPECTED
    for name in ["worker-2", "finisher-0", "trial-entityd-0"]:
        assert cluster.delete_pod(name) == 0
