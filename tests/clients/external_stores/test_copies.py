"""A worker's cache of store objects on its own disk: repeated fetches, and removals."""

import contextlib
import os
import re
import stat

import pytest
import requests

from harness.api import Api, Project
from harness.store_proxy import Proxy, until
from harness.stores import INTERNAL, Moto, meets

pytestmark = meets(Moto)

ENCODINGS = [[os.urandom(128) for _ in range(300)] for _ in range(2)]
ENCODINGS[1][:100] = ENCODINGS[0][:100]


@pytest.fixture(scope="module")
def proxy(store):
    with Proxy(store) as proxy:
        yield proxy


def start(folder, proxy, prefix, *flags):
    return proxy.behind.entityd(folder, prefix, proxy.url, *flags)


def uploaded(api):
    project = api.project()
    for party in range(2):
        project.upload_binary(party, ENCODINGS[party])
    return project


def again(api, project):
    """The same project through another server's client."""
    created = {"project_id": project.id, "result_token": project.token, "update_tokens": project.update_tokens}
    return Project(api, created)


def copies(server):
    folder = server.data / "cache"
    return sorted(folder.iterdir()) if folder.exists() else []


def of_each_copy(server, action):
    """Returns the results for the copies that exist. The temporary objects of a run may be purged meanwhile."""
    results = []
    for path in copies(server):
        with contextlib.suppress(FileNotFoundError):
            results.append(action(path))
    return results


def damage(path):
    with path.open("r+b") as copy:
        first = copy.read(1)
        copy.seek(0)
        copy.write(bytes([first[0] ^ 1]))


def figure(server, name):
    text = requests.get(f"http://127.0.0.1:{server.ops_port}/metrics", timeout=60).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE).group(1))


def test_a_cached_object_is_fetched_once_unless_damaged_and_removed_with_its_project(proxy, tmp_path):
    with start(tmp_path, proxy, "copies") as server, Api(server.url) as api:
        project = uploaded(api)
        assert len(project.run(0.95).result()["groups"]) == 100
        assert proxy.gets("/matrix") == 2, "each matrix is fetched once"
        assert len(project.run(0.9).result()["groups"]) == 100
        assert proxy.gets("/matrix") == 0
        assert stat.S_IMODE((server.data / "cache").stat().st_mode) == 0o700
        modes = of_each_copy(server, lambda path: stat.S_IMODE(path.stat().st_mode))
        assert len(modes) >= 2 and set(modes) == {0o600}
        taken = lambda: sum(of_each_copy(server, lambda path: path.stat().st_size))
        until("bytes are counted", lambda: figure(server, "entityd_object_cache_bytes") == taken())

    with start(tmp_path, proxy, "copies") as server, Api(server.url) as api:
        project = again(api, project)
        assert len(project.run(0.85).result()["groups"]) == 100
        assert proxy.gets("/matrix") == 0, "a restart keeps the copies"
        assert figure(server, "entityd_object_cache_hits_total") >= 4
        assert "damaged" not in server.log.read_text()
        assert len(of_each_copy(server, damage)) >= 2
        assert len(project.run(0.8).result()["groups"]) == 100
        assert proxy.gets("/matrix") == 2, "a damaged copy is fetched again"
        assert "a cached object is damaged" in server.log.read_text()
        assert project.delete().status_code == 204
        until("no copy is left", lambda: not copies(server))
        until("no byte is counted", lambda: figure(server, "entityd_object_cache_bytes") == 0)


def test_copies_are_removed_when_their_objects_are_gone(proxy, tmp_path):
    with start(tmp_path, proxy, "gone") as server, Api(server.url) as api:
        project = uploaded(api)
        project.run(0.95).complete()
        assert copies(server)
    store = proxy.behind
    for key in store.keys_in(INTERNAL):
        if key.startswith("gone/"):
            store.client().delete_object(Bucket=INTERNAL, Key=key)
    with start(tmp_path, proxy, "gone") as server, Api(server.url) as api:
        until("no copy is left", lambda: not copies(server))


def test_the_cache_limit_is_kept_and_0_disables_the_cache(proxy, tmp_path):
    one_matrix = 300 * 128 + 500
    with start(tmp_path, proxy, "bound", "--object-cache-bytes-max", str(one_matrix)) as server:
        with Api(server.url) as api:
            project = uploaded(api)
            assert len(project.run(0.95).result()["groups"]) == 100
            assert (server.data / "cache").exists()
            size = lambda: sum(of_each_copy(server, lambda path: path.stat().st_size))
            until("the limit is kept", lambda: size() <= one_matrix)
    with start(tmp_path, proxy, "bound", "--object-cache-bytes-max", "0") as server, Api(server.url) as api:
        assert not (server.data / "cache").exists()
        project = again(api, project)
        assert len(project.run(0.9).result()["groups"]) == 100
        assert not (server.data / "cache").exists()
        assert project.delete().status_code == 204
