"""The compose file, with Docker and with Podman: up, used, restarted, down, and up again with the same data."""

import json
import shutil
import tarfile

import pytest
from conftest import ROOT
from containers import until
from engines import Engine, missing

pytestmark = pytest.mark.system


@pytest.fixture(params=["docker", "podman"])
def engine(request):
    lacks = missing(request.param)
    if lacks:
        pytest.skip(f"{request.param} is not here: no {', '.join(lacks)}")
    engine = Engine(request.param)
    yield engine
    engine.remove()


def test_compose_serves_and_keeps_the_volume(engine, only, tmp_path):
    archive = only("*-image-*.tar")
    shutil.copy(ROOT / "packaging/compose.yaml", engine.folder)
    with tarfile.open(only("*-linux.tar.gz")) as tar:
        (member,) = (one for one in tar.getmembers() if one.name.endswith("/entityd"))
        (tmp_path / "entityd").write_bytes(tar.extractfile(member).read())
    (tmp_path / "entityd").chmod(0o755)
    curl = ["curl", "--silent", "--fail", "--max-time", "5"]
    api = "http://127.0.0.1:8851/api/v1"
    assert "entityd:0.1.0" in engine.run(engine.kind, "load", "--input", archive)

    def container(form: str) -> str:
        name = engine.run(engine.kind, "ps", "--all", "--quiet").split()
        assert len(name) == 1, name
        return engine.run(engine.kind, "inspect", "--format", form, *name).strip()

    def wait_until_ready() -> None:
        def ready() -> bool:
            return engine.run("sh", "-c", f"{' '.join(curl)} http://127.0.0.1:8853/readyz || true") != ""

        until(ready, 60, lambda: engine.compose("logs"))

    def project() -> dict:
        right = ["--header", f"Authorization: {made['result_token']}"]
        return json.loads(engine.run(*curl, *right, f"{api}/projects/{made['project_id']}"))

    engine.compose("up", "--detach")
    wait_until_ready()
    assert "admin token" in engine.compose("logs")
    selftest = ["selftest", "--server", "http://127.0.0.1:8851"]
    assert "works" in engine.compose("exec", "-T", "entityd", "/entityd", *selftest)
    assert "works" in engine.run(tmp_path / "entityd", *selftest)
    host = container("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}}")
    assert host.startswith("true [no-new-privileges") and host.endswith(f" {2 << 30}"), host
    assert container("{{.Config.User}}") == "65532:65532"

    body = json.dumps({"schema": {}, "result_type": "groups", "number_parties": 2})
    sent = ["--header", "Content-Type: application/json", "--data", body]
    made = json.loads(engine.run(*curl, *sent, f"{api}/projects"))
    engine.compose("restart")
    wait_until_ready()
    assert project()["project_id"] == made["project_id"]

    # A process that dies is started again.
    process = container("{{.State.Pid}}")
    engine.run("kill", "-9", process)
    until(lambda: container("{{.State.Pid}}") not in ["0", process], 30, lambda: engine.compose("logs"))
    wait_until_ready()
    assert project()["project_id"] == made["project_id"]

    engine.compose("stop")
    assert container("{{.State.ExitCode}}") == "0", engine.compose("logs")
    engine.compose("down")
    engine.compose("up", "--detach")
    wait_until_ready()
    assert project()["project_id"] == made["project_id"]
    engine.compose("down", "--volumes")
    assert engine.run(engine.kind, "volume", "ls", "--quiet") == ""
