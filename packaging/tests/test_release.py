"""helm install, upgrade and uninstall against an API that keeps objects: which are created, kept and removed."""

import base64
import os

from conftest import ROOT, run
from fake_cluster import fake_cluster

CHART = ROOT / "packaging/helm/entityd"


def named(objects: dict, kind: str) -> dict[str, dict]:
    return {
        one["metadata"]["name"]: one
        for one in objects.values()
        if one["kind"] == kind and "sh.helm" not in one["metadata"]["name"]
    }


def test_secrets_are_made_once_and_the_volume_is_kept(tmp_path):
    with fake_cluster(tmp_path) as (objects, environment):
        environment = {**os.environ, **environment}

        def helm(*words: str) -> str:
            return run("helm", *words, env=environment).stdout

        # test_chart.py validates the rendered objects, with schemas that this API does not have.
        blind = "--disable-openapi-validation"
        notes = helm("install", "trial", str(CHART), blind)
        assert "helm test trial" in notes and "get secret trial-entityd" in notes
        secret = named(objects, "Secret")["trial-entityd"]["data"]
        token = base64.b64decode(secret["admin-token"]).decode()
        assert len(token) == 43 and len(set(secret.values())) == 3
        assert set(named(objects, "StatefulSet")) == {"trial-entityd"}

        before = named(objects, "StatefulSet")["trial-entityd"]["spec"]["template"]
        helm("upgrade", "trial", str(CHART), "--set", "settings.log=debug", blind)
        after = named(objects, "StatefulSet")["trial-entityd"]["spec"]["template"]
        assert named(objects, "Secret")["trial-entityd"]["data"] == secret
        # Changed settings replace the pod; equal settings leave it alone.
        assert before != after
        helm("upgrade", "trial", str(CHART), "--reuse-values", blind)
        assert named(objects, "StatefulSet")["trial-entityd"]["spec"]["template"] == after

        helm("uninstall", "trial")
        left = {(one["kind"], one["metadata"]["name"]) for one in objects.values()}
        assert left == {("Secret", "trial-entityd"), ("PersistentVolumeClaim", "trial-entityd-data")}
        helm("install", "trial", str(CHART), "--set", "persistence.keep=false", blind)
        assert named(objects, "Secret")["trial-entityd"]["data"] == secret
        helm("uninstall", "trial")
        assert not objects
