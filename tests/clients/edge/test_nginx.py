"""Behind Debian's nginx, with the one setting that uploads need."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from urllib.parse import urljoin

import pytest
import requests

from harness.server import Server, free_ports

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")
RECORDS, ENCODING_BYTES = 1 << 20, 1 << 10
CONFIG = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location {path} {{
            proxy_pass {origin};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            {setting}
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder, origin, setting, path="/"):
    """Runs nginx in front of the server; yields its origin."""
    folder.mkdir()
    (port,) = free_ports(1)
    # As root, nginx would switch to a user who may not use the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = CONFIG.format(user=user, folder=folder, port=port, origin=origin, setting=setting, path=path)
    (folder / "nginx.conf").write_text(config)
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=2)
                break
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("entityd"), "--trusted-proxies", "127.0.0.1") as running:
        yield running


def upload(url, project, path):
    """Sends the file with curl, which streams it; returns the status."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-T", path]
    headers = {
        "Authorization": project["update_tokens"][0],
        "Content-Type": "application/octet-stream",
        "Hash-Count": RECORDS,
        "Hash-Size": ENCODING_BYTES,
    }
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"{url}/api/v1/projects/{project['project_id']}/binaryclks")
    return int(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout)


def test_a_gibibyte_passes_with_only_the_body_size_raised(server, tmp_path):
    body = tmp_path / "encodings"
    with body.open("wb") as file:
        file.truncate(RECORDS * ENCODING_BYTES)
    created = requests.post(f"{server.url}/projects", json={"schema": {}, "result_type": "groups"}, timeout=60).json()
    with nginx(tmp_path / "narrow", server.origin, "") as url:
        assert upload(url, created, body) == 413
    with nginx(tmp_path / "wide", server.origin, "client_max_body_size 10000m;") as url:
        assert upload(url, created, body) == 201
    headers = {"Authorization": created["result_token"]}
    path = f"{server.url}/projects/{created['project_id']}"
    assert requests.get(path, headers=headers, timeout=60).json()["parties_contributed"] == 1
    assert requests.delete(path, headers=headers, timeout=60).status_code == 204


FORWARDED = "proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto $scheme;"


@pytest.mark.parametrize("told", ["by the proxy", "by a flag", "by a flag, and it is left in the path"])
def test_below_a_path_every_link_works_and_uploads_go_to_the_public_name(told, tmp_path):
    flags = ("--base-path", "/pprl") if "flag" in told else ()
    setting = FORWARDED + ("" if flags else "proxy_set_header X-Forwarded-Prefix /pprl;")
    (tmp_path / "entityd").mkdir()
    with Server(tmp_path / "entityd", "--trusted-proxies", "127.0.0.1", *flags) as server:
        # nginx replaces the path of the location with a path in the origin.
        origin = server.origin + ("" if "left" in told else "/")
        with nginx(tmp_path / "nginx", origin, setting, path="/pprl/") as url:
            for page in ("/pprl/", "/pprl/docs", "/pprl/docs/", "/pprl/docs/deletion/"):
                shown = requests.get(url + page, timeout=60)
                assert shown.status_code == 200, page
                links = re.findall(r'(?:href|src)="([^"#]+)"', shown.text)
                assert links
                for link in links:
                    there = urljoin(shown.url, link)
                    assert there.startswith(f"{url}/pprl/"), (page, link)
                    assert requests.get(there, timeout=60).status_code == 200, (page, link)
            for base in ("/pprl/api/v1", "/pprl/api/v1/"):
                assert requests.get(f"{url}{base}", timeout=60).url == f"{url}/pprl/docs"
            host = {"Host": "linkage.example"}
            described = requests.get(f"{url}/pprl/api/v1/openapi.json", headers=host, timeout=60).json()
            assert described["servers"] == [{"url": "http://linkage.example/pprl"}]
            body = {"schema": {}, "result_type": "groups"}
            created = requests.post(f"{url}/pprl/api/v1/projects", json=body, timeout=60).json()
            path = f"{url}/pprl/api/v1/projects/{created['project_id']}/authorize-external-upload"
            headers = {**host, "Authorization": created["update_tokens"][0]}
            granted = requests.get(path, headers=headers, timeout=60)
            assert granted.json()["upload"]["endpoint"] == f"linkage.example:{server.s3_port}"
