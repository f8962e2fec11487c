"""The chart: linting, rendering, validation, and the errors for values that contradict each other."""

import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT, run

CHART = ROOT / "packaging/helm/entityd"
# The oldest Kubernetes that the chart supports, one with a preStop sleep, and the newest that can be validated.
VERSIONS = ["1.27.0", "1.30.0", "1.37.0"]
GOOD = {
    "default": {},
    "no-volume": {"persistence": {"enabled": False}, "networkPolicy": {"enabled": False}, "tests": {"enabled": False}},
    "everything": {
        "fullnameOverride": "linkage",
        "image": {"repository": "registry.example/entityd", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "settings": {"retention_days": 90, "log": "debug", "lease_ms": "30s", "run_pairs_max": 500_000_000},
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "auth": {"existingSecret": "tokens", "adminTokenKey": "token", "requireAdminToken": True},
        "tls": {"mode": "secret", "existingSecret": "certificate", "clientCaSecret": "ca"},
        "bindAddress": "[::]",
        "drainTimeoutSeconds": 120,
        "preStopSeconds": 10,
        "persistence": {
            "storageClass": "-",
            "size": "1Ti",
            "accessModes": ["ReadWriteOncePod"],
            "annotations": {"a": "b"},
            "keep": False,
        },
        "objectStore": {
            "location": "s3://bucket/prefix",
            "endpoint": "https://s3.example",
            "region": "eu",
            "existingSecret": "bucket",
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": {"a": "b"},
            "labels": {"c": "d"},
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        },
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"a": "b"},
            "hosts": [{"host": "a.example", "paths": [{"path": "/pprl", "pathType": "Exact"}]}, {"host": "b.example"}],
            "tls": [{"hosts": ["a.example"], "secretName": "a"}],
            "trustedProxies": ["10.244.0.0/16"],
        },
        "networkPolicy": {"from": [{"podSelector": {}}], "opsFrom": [{"namespaceSelector": {}}]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podDisruptionBudget": {"enabled": True},
        "serviceAccount": {"name": "linkage", "annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    },
    "external-database": {
        "database": {
            "url": "postgres://user@host/name?sslmode=verify-full",
            "existingSecret": "database",
            "passwordKey": "word",
            "caSecret": "database-ca",
            "clientCertSecret": "database-cert",
        }
    },
    "external-queue": {
        "queue": {
            "url": "redis://host:6379/0",
            "existingSecret": "queue",
            "passwordKey": "word",
            "caSecret": "queue-ca",
            "clientCertSecret": "queue-cert",
        }
    },
    "haproxy": {
        "ingress": {"enabled": True, "controller": "haproxy", "hosts": [{"host": "a.example"}]},
        "tls": {"mode": "self-signed"},
    },
    "reference": {
        "anonlink": {
            "config": {"MIN_ENCODING_SIZE": 1, "SOLVER_MAX_CANDIDATE_PAIRS": 200_000_000},
            "objectstore": {
                "uploadEnabled": True,
                "uploadServer": "s3.example:443",
                "uploadSecure": False,
                "uploadBucket": {"name": "in"},
            },
        },
        "workers": {"CHUNK_SIZE_AIM": 300_000_000, "celery": {"CONCURRENCY": 2}},
        "minio": {"defaultBucket": {"name": "results"}},
    },
}
GOOD["cluster"] = yaml.safe_load((CHART / "values-cluster.yaml").read_text())
GOOD["secure-cluster"] = {
    "tls": {"mode": "secret", "existingSecret": "certificate"},
    "cluster": {
        "enabled": True,
        "existingSecret": "join",
        "joinTokenKey": "token",
        "workers": {"autoscaling": {"enabled": True, "backlogSeconds": 60}, "podDisruptionBudget": {"enabled": False}},
        "highMemoryWorkers": {"replicas": 2, "nodeSelector": {"memory": "much"}, "affinity": {"nodeAffinity": {}}},
    },
}
GOOD["several"] = {
    "cluster": {"enabled": True, "apiReplicas": 3},
    "database": {"url": "postgres://user@host/name?sslmode=verify-full"},
    "queue": {"url": "redis-sentinel://a,b,c/name/0"},
    "objectStore": {"location": "s3://bucket/prefix", "existingSecret": "store"},
    "podDisruptionBudget": {"enabled": True},
}
# Values that are rejected, and words of the error.
WRONG = [
    ({"image": {"tag": 3}}, "/image/tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"replicas": 2}, "replicas"),
    ({"persistence": {"size": "big"}}, "/persistence/size"),
    (
        {"persistence": {"accessModes": ["ReadOnlyMany"]}},
        "persistence.accessModes: ReadOnlyMany cannot be written; give ReadWriteOnce",
    ),
    (
        {"persistence": {"enabled": False, "existingClaim": "a"}},
        "persistence.existingClaim is set and persistence.enabled is false",
    ),
    ({"tls": {"mode": "secret"}}, "name the Secret with tls.crt and tls.key in tls.existingSecret"),
    ({"tls": {"existingSecret": "a"}}, "set tls.mode to secret"),
    ({"tls": {"clientCaSecret": "a"}}, "tls.clientCaSecret needs TLS"),
    ({"tls": {"mode": "on"}}, "/tls/mode"),
    ({"objectStore": {"location": "s3://bucket"}}, "objectStore.location needs credentials"),
    ({"objectStore": {"existingSecret": "a"}}, "give objectStore.location, such as s3://bucket/prefix"),
    (
        {"objectStore": {"location": "az://box", "existingSecret": "a"}},
        "for az:// and gs:// put the credentials into extraEnv",
    ),
    (
        {"objectStore": {"location": "s3://bucket", "existingSecret": "a", "ambientCredentials": True}},
        "exclude each other",
    ),
    ({"objectStore": {"location": "ftp://bucket"}}, "/objectStore/location"),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.hosts"),
    (
        {"ingress": {"enabled": True, "hosts": [{"host": "a"}], "tls": [{"hosts": ["b"]}]}},
        "names the host b, which is not in ingress.hosts",
    ),
    ({"ingress": {"trustedProxies": ["proxy"]}}, "/ingress/trustedProxies/0"),
    ({"settings": {"data_dir": "/srv"}}, "settings.data_dir has a value of its own: set persistence instead"),
    ({"settings": {"Lease-ms": 1}}, "settings.Lease-ms is not the name of a setting"),
    ({"settings": {"database_password": "a"}}, "set database.existingSecret instead"),
    ({"settings": {"queue_password": "a"}}, "set queue.existingSecret instead"),
    ({"settings": {"lese_ms": 1}}, "settings.lese_ms is not the name of a setting of this version"),
    ({"extraEnv": [{"name": "ENTITYD_LEASE_MS", "value": "1"}]}, "set settings.lease_ms instead"),
    ({"settings": {"proxy_header": "forwarded"}}, "set ingress.trustedProxies"),
    ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "needs service.type LoadBalancer"),
    ({"serviceMonitor": {"enabled": True}}, "name its namespace in networkPolicy.opsFrom"),
    ({"cluster": {"enabled": True}, "tls": {"mode": "self-signed"}}, "set tls.mode to secret or off"),
    ({"cluster": {"enabled": True, "workers": {"replicas": 0}}}, "no pod would compare"),
    (
        {
            "cluster": {
                "enabled": True,
                "workers": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 2}},
            }
        },
        "minReplicas 9 exceeds maxReplicas 2",
    ),
    (
        {"cluster": {"enabled": True}, "settings": {"queues": "compute=1"}},
        "set cluster.workers and cluster.highMemoryWorkers",
    ),
    ({"cluster": {"existingSecret": "join"}}, "cluster.enabled is false"),
    ({"cluster": {"apiReplicas": 2}}, "cluster.apiReplicas is set and cluster.enabled is false"),
    (
        {"cluster": {"enabled": True, "apiReplicas": 2}, "queue": {"url": "redis://host:6379/0"}},
        "set database.url, queue.url and objectStore.location",
    ),
    ({"database": {"existingSecret": "a"}}, "give database.url, such as postgres://user@host/name?sslmode=verify-full"),
    ({"database": {"url": "postgres://user:b@host/name?sslmode=verify-full"}}, "database.url holds a password"),
    ({"queue": {"clientCertSecret": "a"}}, "give queue.url, such as redis://host:6379/0"),
    ({"database": {"url": "mysql://a"}}, "/database/url"),
    ({"queue": {"existingSecret": "a"}}, "give queue.url, such as redis://host:6379/0"),
    ({"queue": {"url": "redis://a:b@host:6379/0"}}, "queue.url holds a password"),
    ({"queue": {"url": "mysql://a"}}, "/queue/url"),
    ({"bindAddress": "10.0.0.1"}, "/bindAddress"),
    ({"drainTimeoutSeconds": -1}, "/drainTimeoutSeconds"),
    ({"auth": {"existingSecret": "Not_a_name"}}, "/auth/existingSecret"),
]


def helm(*words: object, values: dict | None = None) -> subprocess.CompletedProcess:
    given = ["--values", "-"] if values is not None else []
    text = yaml.safe_dump(values) if values is not None else None
    return subprocess.run(["helm", *map(str, words), *given], input=text, capture_output=True, text=True, check=False)


def render(values: dict, version: str = VERSIONS[-1]) -> list[dict]:
    done = helm("template", "trial", CHART, "--kube-version", version, values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict], kind: str) -> dict:
    found = [one for one in documents if one["kind"] == kind]
    assert len(found) == 1, f"{kind}: {len(found)}"
    return found[0]


def pod_specs(documents: list[dict]) -> list[dict]:
    templates = [one["spec"]["template"]["spec"] for one in documents if "template" in one.get("spec", {})]
    return templates + [one["spec"] for one in documents if one["kind"] == "Pod"]


def validate(file, version: str) -> None:
    short = ".".join(version.split(".")[:2])
    run("kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", short, file)


def test_the_chart_passes_lint():
    for values in GOOD.values():
        done = helm("lint", "--strict", CHART, values=values)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", GOOD)
def test_rendered_manifests_are_valid(name, tmp_path):
    for version in VERSIONS:
        # ServiceMonitor is not a kind of Kubernetes itself.
        documents = [one for one in render(GOOD[name], version) if one["kind"] != "ServiceMonitor"]
        file = tmp_path / "rendered.yaml"
        file.write_text(yaml.safe_dump_all(documents))
        validate(file, version)


@pytest.mark.parametrize("name", GOOD)
def test_every_pod_keeps_to_the_restricted_profile(name):
    for spec in pod_specs(render(GOOD[name])):
        assert (
            spec["securityContext"]["runAsNonRoot"]
            and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        )
        assert not spec["automountServiceAccountToken"] and not spec["enableServiceLinks"]
        for container in spec["containers"]:
            security = container["securityContext"]
            assert not security["allowPrivilegeEscalation"] and security["readOnlyRootFilesystem"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("values", "words"), WRONG)
def test_wrong_values_are_refused_with_a_clear_error(values, words):
    done = helm("template", "trial", CHART, values=values)
    assert done.returncode != 0 and words in done.stderr, done.stderr


def test_the_values_of_the_reference_work_or_are_refused_with_the_new_name():
    config = of_kind(render(GOOD["reference"]), "ConfigMap")["data"]
    expected = {
        "MIN_ENCODING_SIZE": "1",
        "SOLVER_MAX_CANDIDATE_PAIRS": "200000000",
        "ENTITYD_EXTERNAL_UPLOADS": "true",
        "ENTITYD_UPLOAD_ENDPOINT": "s3.example:443",
        "ENTITYD_UPLOAD_SECURE": "false",
        "ENTITYD_UPLOAD_BUCKET": "in",
        "ENTITYD_COMPARISONS_PER_JOB": "300000000",
        "ENTITYD_WORKER_THREADS": "2",
        "ENTITYD_DOWNLOAD_BUCKET": "results",
    }
    assert {name: config.get(name) for name in expected} == expected
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for entry in yaml.safe_load((CHART / "files/reference-values.yaml").read_text()):
        values = 1
        for name in reversed(entry["value"].split(".")):
            values = {name: values}
        done = helm("template", "trial", CHART, values=values)
        if "works" in entry:
            assert done.returncode == 0 or "/" in done.stderr, done.stderr
        else:
            assert done.returncode != 0 and entry["value"] in done.stderr, (entry, done.stderr)
            assert entry.get("use", entry.get("remove")) in done.stderr
        new = entry.get("use", entry.get("works"))
        if new and new.split(".")[0] not in ("settings", "variables of the container"):
            at = defaults
            for name in new.split("."):
                assert name in at, f"{entry['value']} names {new}, which is not a value"
                at = at[name]


def test_the_page_lists_every_value_of_the_reference():
    page = (ROOT / "assets/docs/kubernetes.md").read_text()
    for entry in yaml.safe_load((CHART / "files/reference-values.yaml").read_text()):
        assert f"`{entry['value']}`" in page, entry["value"]


def test_every_value_is_in_the_schema_and_explained():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def names(value, path=()):
        yield path
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from names(inner, (*path, name))

    for path in names(values):
        at = schema
        for name in path:
            if "properties" not in at:
                # Kubernetes objects have a schema of their own.
                break
            at = at["properties"][name]
        assert not path or at.get("description"), path


def test_settings_of_the_chart_are_settings_of_the_server():
    known = {
        f"ENTITYD_{name.upper()}"
        for name in re.findall(r"^(\w+) = ", (ROOT / "config/all.toml").read_text(), re.MULTILINE)
    }
    # The chart refuses others before a pod is restarted with them.
    listed = (CHART / "files/settings.txt").read_text().split()
    assert {f"ENTITYD_{name.upper()}" for name in listed} == known and listed == sorted(listed)
    for values in GOOD.values():
        documents = render(values)
        used = {name for one in documents if one["kind"] == "ConfigMap" for name in one["data"]}
        used |= {one["name"] for spec in pod_specs(documents) for one in spec["containers"][0].get("env", [])}
        used = {name for name in used if name.startswith("ENTITYD_")}
        assert used <= known, used - known


def test_the_grace_period_covers_the_drain():
    spec = of_kind(render(GOOD["everything"]), "StatefulSet")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 10
    assert spec["terminationGracePeriodSeconds"] > 120 + 10
    config = of_kind(render(GOOD["everything"]), "ConfigMap")["data"]
    assert config["ENTITYD_DRAIN_TIMEOUT_MS"] == "120s"
    oldest = of_kind(render({}, VERSIONS[0]), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert "lifecycle" not in oldest


def test_only_the_public_ports_are_exposed():
    policy = of_kind(render({}), "NetworkPolicy")["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "api"}, {"port": "s3"}]}]
    services = [one for one in render({}) if one["kind"] == "Service"]
    exposed = {
        port["targetPort"]
        for one in services
        if one["spec"].get("clusterIP") != "None"
        for port in one["spec"]["ports"]
    }
    assert exposed == {"api", "s3"}


def test_workers_reach_the_worker_listener_and_nothing_else():
    documents = render(GOOD["cluster"])
    policies = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"}
    server, workers = policies["trial-entityd"], policies["trial-entityd-workers"]
    assert [rule["ports"] for rule in server["ingress"]] == [[{"port": "api"}, {"port": "s3"}], [{"port": "workers"}]]
    assert server["ingress"][1]["from"][0]["podSelector"]["matchExpressions"][0]["values"] == [
        "worker",
        "high-memory-worker",
    ]
    assert "ingress" not in workers and workers["policyTypes"] == ["Ingress", "Egress"]
    assert workers["egress"][0]["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"
    deployments = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment"
    }
    assert set(deployments) == {"trial-entityd-worker", "trial-entityd-high-memory-worker"}
    for spec in deployments.values():
        assert {one["name"] for one in spec["volumes"]} == {"data", "cluster"} and spec["topologySpreadConstraints"]


def test_the_kustomize_base_is_valid(tmp_path):
    base = tmp_path / "base"
    run("cp", "-r", ROOT / "packaging/kustomize/base", base)
    (base / "admin-token").write_text("0123456789" * 4)
    file = tmp_path / "rendered.yaml"
    file.write_text(run("kubectl", "kustomize", base).stdout)
    validate(file, VERSIONS[-1])
    selectors = [
        one["spec"]["podSelector"] for one in yaml.safe_load_all(file.read_text()) if one["kind"] == "NetworkPolicy"
    ]
    assert selectors == [{"matchLabels": {"app.kubernetes.io/name": "entityd"}}]


def test_the_packed_chart_equals_its_source(only):
    archive = only("entityd-chart-*.tgz")
    assert yaml.safe_load(run("helm", "show", "chart", archive).stdout) == yaml.safe_load(
        (CHART / "Chart.yaml").read_text()
    )
    done = helm("template", "trial", archive, "--set", "auth.existingSecret=a")
    assert done.stdout == helm("template", "trial", CHART, "--set", "auth.existingSecret=a").stdout
