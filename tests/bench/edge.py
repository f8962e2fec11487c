#!/usr/bin/env python3
"""The cost of the HTTP layer, and the effect of many bad clients on the other ones.

    cargo build --release && python3 tests/bench/edge.py [crowd] [throttled] [wrk]

crowd      latency of GET /api/v1/status alone, beside 5,000 idle connections, and beside those and 500 slow senders
throttled  the time of a 256 MiB upload alone, and beside one of 2 GB at a very low rate
wrk        requests per second, and those of nginx with a file of the same size, with and without TLS (needs both), in turns
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from api import Api

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("BINARY", ROOT / "target/release/entityd")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")
IDLE, SLOW, REQUESTS, TURNS = 5_000, 500, 3_000, 7
MIB = 1 << 20
UNLIMITED = [f"--rate-limit{what}" for what in ("", "-uploads", "-results", "-failures")]


@contextlib.contextmanager
def entityd(folder, *flags):
    """Starts a server without rate limits; returns the port of its API."""
    command = [BINARY, "serve", "--data-dir", f"{folder}/data", "--log", "warn", *flags]
    for flag in ("--listen", "--s3-listen", "--ops-listen"):
        command += [flag, "127.0.0.1:0"]
    for flag in UNLIMITED:
        command += [flag, "off"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = next(int(re.search(r":(\d+)/api", line)[1]) for line in server.stdout if "API" in line)
        yield port
    finally:
        server.kill()
        server.wait()


def latencies(port):
    """Returns the sorted latencies of many requests, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", "/api/v1/status")
        if connection.getresponse().read() and connection.sock is None:
            sys.exit("the connection was closed")
        times.append((time.perf_counter() - began) * 1_000)
    return sorted(times)


def report(name, times):
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"{name:34} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   worst {times[-1]:7.2f} ms")


def connect(port, number):
    """Returns a connection from a loopback address that depends on `number`."""
    address = socket.inet_ntoa(struct.pack("!I", (127 << 24) + (1 << 16) + number))
    return socket.create_connection(("127.0.0.1", port), 30, (address, 0))


def crowd(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with entityd(folder) as port, contextlib.ExitStack() as held:
        report("alone", latencies(port))
        for number in range(IDLE):
            held.enter_context(connect(port, number))
        report(f"beside {IDLE:,} idle connections", latencies(port))
        slow = [held.enter_context(connect(port, IDLE + number)) for number in range(SLOW)]
        head = b"POST /api/v1/projects HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
        for talk in slow:
            talk.sendall(head)
        stop = threading.Event()

        def drip():
            while not stop.wait(0.1):
                for talk in slow:
                    with contextlib.suppress(OSError):
                        talk.send(b" " * 128)

        dripper = threading.Thread(target=drip)
        dripper.start()
        report(f"and {SLOW} slow senders", latencies(port))
        stop.set()
        dripper.join()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def upload(port, path, records, *options):
    """Starts an upload by curl; returns the process."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    wanted = json.dumps({"schema": {}, "result_type": "groups"})
    connection.request("POST", "/api/v1/projects", wanted, {"Content-Type": "application/json"})
    project = json.load(connection.getresponse())
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-T", path, *options]
    headers = {
        "Authorization": project["update_tokens"][0],
        "Content-Type": "application/octet-stream",
        "Hash-Count": records,
        "Hash-Size": 1_024,
    }
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    url = f"http://127.0.0.1:{port}/api/v1/projects/{project['project_id']}/binaryclks"
    return subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True)


def throttled(folder):
    fast, large = f"{folder}/fast", f"{folder}/large"
    for path, size in ((fast, 256 * MIB), (large, 2_048 * MIB)):
        with open(path, "wb") as file:
            file.truncate(size)

    def seconds(port):
        began = time.monotonic()
        said, _ = upload(port, fast, 256 * 1_024).communicate(timeout=100)
        if said != "201":
            sys.exit(f"the fast upload was answered {said}")
        return time.monotonic() - began

    with entityd(folder) as port:
        seconds(port)
        alone = min(seconds(port) for _ in range(3))
        crawl = upload(port, large, 2_048 * 1_024, "--limit-rate", "1M")
        time.sleep(2)
        beside = min(seconds(port) for _ in range(3))
        if crawl.poll() is not None:
            sys.exit("the throttled upload did not continue")
        crawl.kill()
        crawl.wait()
    print(f"256 MiB upload, best of 3: alone {alone:.2f} s, beside a throttled one of 2 GB {beside:.2f} s")


NGINX_CONFIG = """
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    types {{}} default_type application/json;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {pair};
        ssl_certificate_key {pair};
        root {folder}/static;
    }}
}}
"""


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextlib.contextmanager
def nginx(folder, content):
    static = Path(folder, "static")
    static.mkdir()
    (static / "status").write_bytes(content)
    plain, tls = free_port(), free_port()
    pair = f"{folder}/data/tls/self-signed.pem"
    # If it is started as root, nginx would switch to a user without access to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = NGINX_CONFIG.format(user=user, folder=folder, plain=plain, tls=tls, pair=pair)
    Path(folder, "nginx.conf").write_text(config)
    process = subprocess.Popen([NGINX, "-c", f"{folder}/nginx.conf", "-p", folder])
    time.sleep(0.5)
    try:
        yield plain, tls
    finally:
        process.terminate()
        process.wait()


def rate(url, script=None):
    """Returns the requests per second of wrk. All answers must be 2xx."""
    command = ["wrk", "-t2", "-c32", "-d2s", url] + (["-s", script] if script else [])
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(said)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


def completed_run(api):
    """Returns the path and the token of a run that has completed."""
    project = json.loads(api.ask("POST", "/projects", body='{"schema": {}, "result_type": "groups"}'))
    path, token = f"/projects/{project['project_id']}", project["result_token"]
    headers = {"Content-Type": "application/octet-stream", "Hash-Count": "1", "Hash-Size": "8"}
    for update_token in project["update_tokens"]:
        api.ask("POST", f"{path}/binaryclks", update_token, b"entityd!", headers)
    run = json.loads(api.ask("POST", f"{path}/runs", token, '{"threshold": 0.9}'))
    path = f"{path}/runs/{run['run_id']}/status"
    while json.loads(api.ask("GET", path, token))["state"] != "completed":
        time.sleep(0.01)
    return f"/api/v1{path}", token


def summary(rates):
    return f"best {max(rates):8,.0f}/s   median {sorted(rates)[len(rates) // 2]:8,.0f}/s"


def wrk(folder):
    new = Path(folder, "new.lua")
    new.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        'wrk.body = \'{"schema": {}, "result_type": "groups"}\'\n'
    )
    run_status = Path(folder, "run.lua")
    Path(folder, "plain").mkdir()
    with entityd(f"{folder}/plain") as plain, entityd(folder, "--tls", "self-signed") as tls:
        api = Api(f"127.0.0.1:{plain}")
        content = api.ask("GET", "/status")
        path, token = completed_run(api)
        run_status.write_text(f'wrk.headers["Authorization"] = "{token}"\n')
        with nginx(folder, content) as (peer, peer_tls):
            origin, origin_tls = f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"
            rows = {
                "nginx, a file": (f"http://127.0.0.1:{peer}/status", None),
                "GET status": (f"{origin}/api/v1/status", None),
                "nginx with TLS": (f"https://127.0.0.1:{peer_tls}/status", None),
                "GET status with TLS": (f"{origin_tls}/api/v1/status", None),
                "GET status of a run": (f"{origin}{path}", run_status),
                "POST projects": (f"{origin}/api/v1/projects", new),
                "POST projects with TLS": (f"{origin_tls}/api/v1/projects", new),
            }
            rates = {name: [] for name in rows}
            for _ in range(TURNS):
                for name, (url, script) in rows.items():
                    rates[name].append(rate(url, script))
    print(f"load {os.getloadavg()[0]:.1f}")
    for name, each in rates.items():
        print(f"{name:<24}{summary(each)}")
    for name, other in (("GET status", "nginx, a file"), ("GET status with TLS", "nginx with TLS")):
        ratios = sorted(one / peer for one, peer in zip(rates[name], rates[other]))
        print(f"{name} / {other}: median {ratios[len(ratios) // 2]:.2f}, of {', '.join(f'{r:.2f}' for r in ratios)}")


def main():
    parts = {"crowd": crowd, "throttled": throttled, "wrk": wrk}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all, if none is given")
    wanted = parser.parse_args().parts or parts
    unknown = [name for name in wanted if name not in parts]
    if unknown:
        parser.error(f"no part is named {unknown[0]}; give {', '.join(parts)}")
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](folder)


main()
