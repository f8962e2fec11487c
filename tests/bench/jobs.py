#!/usr/bin/env python3
"""Compares the rate of the job queue with Sidekiq and Celery on the same machine.

    apt-get install redis-server ruby-sidekiq python3-venv
    cargo build --release && python3 tests/bench/jobs.py

Each system enqueues and executes jobs that do nothing, with payloads of 128 bytes, in ten queues and in batches of a
hundred where it supports batches. Sidekiq and Celery have a worker process per core, `entityd` has one process. Redis
syncs its log once a second, and may lose a second of jobs; `entityd` answers after a sync. Celery is installed from PyPI
into `target/celery-venv`.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data

VENV = data.TARGET / "celery-venv"
QUEUES = [f"queue{number}" for number in range(10)]
CORES = os.cpu_count() or 2

JOBS = {"entityd": 500_000, "entityd, single enqueues": 150_000, "Sidekiq": 60_000, "Celery": 6_000}

SIDEKIQ_WORKER = """
class Empty
  include Sidekiq::Worker
  sidekiq_options retry: 3
  def perform(payload); end
end
url = { url: ENV.fetch("REDIS_URL") }
Sidekiq.configure_server { |config| config.redis = url }
Sidekiq.configure_client { |config| config.redis = url }
"""

SIDEKIQ_CLIENT = """
require "sidekiq"
require_relative "worker"
jobs, queues = ARGV[0].to_i, ARGV[1].split(",")
(jobs / 100).times do |batch|
  Sidekiq::Client.push_bulk("class" => Empty, "queue" => queues[batch % queues.size], "args" => [["x" * 128]] * 100)
end
"""

CELERY_APP = """
import os, sys
from celery import Celery
app = Celery(broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=64, worker_hijack_root_logger=False)

@app.task
def empty(payload):
    pass

if __name__ == "__main__":
    jobs, queues = int(sys.argv[1]), sys.argv[2].split(",")
    with app.producer_pool.acquire() as producer:
        for number in range(jobs):
            empty.apply_async(("x" * 128,), queue=queues[number % len(queues)], producer=producer)
"""


class Redis:
    """A private Redis server, and the two queries that are sent to it."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
             "--appendonly", "yes", "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        wait_until(lambda: self.answers(), 10, "Redis does not start")

    def answers(self):
        try:
            return self.ask("PING") == "PONG"
        except OSError:
            return False

    def ask(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.makefile().readline().strip()[1:]

    def waiting(self, prefix=""):
        return sum(int(self.ask("LLEN", prefix + queue)) for queue in QUEUES)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wait_until(done, seconds, otherwise):
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            sys.exit(otherwise)
        time.sleep(0.01)


def through(workers, client, redis, prefix, folder, name):
    """Returns the jobs per second, from the first enqueue until all queues are empty. The workers are started before."""
    environment = {**os.environ, "REDIS_URL": redis.url}
    log = open(f"{folder}/{name}.log", "wb")
    running = [subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) for command in workers]
    try:
        # The first jobs show that the workers have started, and are not measured.
        subprocess.run([*client, "1000", ",".join(QUEUES)], cwd=folder, env=environment, check=True, stdout=log, stderr=log)
        wait_until(lambda: redis.waiting(prefix) == 0, 60, f"{name} does not start; see {folder}/{name}.log")
        time.sleep(1)
        began = time.monotonic()
        subprocess.run([*client, str(JOBS[name]), ",".join(QUEUES)], cwd=folder, env=environment, check=True,
                       stdout=log, stderr=log)
        wait_until(lambda: redis.waiting(prefix) == 0, 300, f"{name} does not finish")
        return JOBS[name] / (time.monotonic() - began)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        log.close()


def sidekiq(redis, folder):
    Path(folder, "worker.rb").write_text(SIDEKIQ_WORKER)
    Path(folder, "client.rb").write_text(SIDEKIQ_CLIENT)
    queues = [part for queue in QUEUES for part in ("-q", queue)]
    worker = ["sidekiq", "-r", "./worker.rb", "-c", "10", "-e", "production", *queues]
    return through([worker] * CORES, ["ruby", "client.rb"], redis, "queue:", folder, "Sidekiq")


def celery(redis, folder):
    if not (VENV / "bin/celery").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "--quiet", "celery[redis]"], check=True)
    Path(folder, "bench_app.py").write_text(CELERY_APP)
    worker = [VENV / "bin/celery", "-A", "bench_app", "worker", "-c", str(CORES), "-Q", ",".join(QUEUES), "-l", "ERROR",
              "--without-gossip", "--without-mingle"]
    return through([worker], [VENV / "bin/python", "bench_app.py"], redis, "", folder, "Celery")


def ours(name, *flags):
    output = subprocess.run([data.BINARY, "bench", "queue", "--json", "--jobs", str(JOBS[name]), *flags], check=True,
                            capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])["jobs_per_second"]


def main():
    for tool in ("redis-server", "sidekiq"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install redis-server ruby-sidekiq")
    with tempfile.TemporaryDirectory() as folder:
        rates = {"entityd": ours("entityd")}
        rates["entityd, single enqueues"] = ours("entityd, single enqueues", "--batch", "1", "--clients", "16")
        redis = Redis(folder)
        try:
            rates["Sidekiq"] = sidekiq(redis, folder)
            redis.ask("FLUSHALL")
            rates["Celery"] = celery(redis, folder)
        finally:
            redis.stop()
    print(f"{'':26}{'jobs':>10}{'jobs/s':>12}{'to Sidekiq':>12}{'to Celery':>12}")
    for name, rate in rates.items():
        print(f"{name:26}{JOBS[name]:>10}{rate:>12.0f}{rate / rates['Sidekiq']:>11.1f}x{rate / rates['Celery']:>11.1f}x")
    if rates["entityd"] < 10 * rates["Sidekiq"]:
        sys.exit("entityd is less than ten times as fast as Sidekiq")


main()
