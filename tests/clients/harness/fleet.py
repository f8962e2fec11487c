"""Several API nodes that share PostgreSQL, Redis with Sentinels and an S3 store, and workers that join all of them."""

import contextlib
import itertools
from pathlib import Path

from .api import Api
from .nodes import LEASE_MS, ApiNode, WorkerNode
from .postgres import PASSWORD, Cutter, Postgres
from .redis import Sentinels
from .server import BINARY
from .store_proxy import Proxy
from .stores import INTERNAL, Moto


class SpreadApi(Api):
    """A client whose requests go to the nodes in turn."""

    def __init__(self, nodes):
        super().__init__(nodes[0].url)
        self.turns = itertools.cycle([node.url for node in nodes])

    def call(self, method, path, token=None, headers=None, **rest):
        self.url = next(self.turns)
        return super().call(method, path, token, headers, **rest)


class Engines(contextlib.AbstractContextManager):
    """The database, queue and object store that all nodes share. With `seed`, nodes reach the database and the store
    through proxies that inject faults."""

    def __init__(self, folder, seed=None):
        self.folder = Path(folder)
        self.seed = seed
        self.cutter = self.proxy = None
        self.postgres = Postgres(self.folder)
        self.sentinels = Sentinels(self.folder / "redis")
        (self.folder / "store").mkdir(parents=True, exist_ok=True)
        self.store = Moto(self.folder / "store")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for engine in (self.postgres, self.sentinels, self.store):
                stack.enter_context(engine)
            self.postgres.create("fleet")
            if self.seed is not None:
                self.cutter = stack.enter_context(Cutter(self.postgres.port, self.seed, 0))
                self.proxy = stack.enter_context(Proxy(self.store))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *details):
        return self.stack.__exit__(*details)

    def password_file(self):
        path = self.folder / "database-password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(PASSWORD)
        return path

    def flags(self):
        database = self.postgres.url("fleet", port=self.cutter and self.cutter.port)
        _, access = self.store.access((self.proxy or self.store).url)
        return ["--database", database, "--database-password-file", self.password_file(),
                "--queue", self.sentinels.url, "--objects", f"s3://{INTERNAL}/fleet", *access]

    def environment(self):
        environment, _ = self.store.access(self.store.url)
        return environment

    def api_node(self, folder, *flags, role="api", without=(), lease_ms=LEASE_MS):
        """An API node. It uses the embedded form of the engines that are in `without`."""
        shared = [str(flag) for flag in self.flags()]
        for name in without:
            at = shared.index(f"--{name}")
            del shared[at : at + 2]
        given = ("--lease-ms", str(lease_ms), *shared, *flags)
        return ApiNode(folder, *given, role=role, environment=self.environment())


@contextlib.contextmanager
def fleet(folder, nodes=2, workers=2, flags=(), worker_flags=(), seed=None, binary=BINARY, lease_ms=LEASE_MS):
    """The engines, the API nodes and the workers. With `seed`, there are proxies before the database and the store."""
    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        engines = stack.enter_context(Engines(folder / "engines", seed))
        serving, token = [], None
        for number in range(nodes):
            node = engines.api_node(folder / f"api-{number}", *flags, lease_ms=lease_ms)
            node.binary = binary
            node.admin_token = serving[0].admin_token if serving else None
            serving.append(stack.enter_context(node))
        token = serving[0].join_token()
        urls = [node.join_url for node in serving]
        joined = [WorkerNode(folder / f"worker-{number}", urls, token, *worker_flags) for number in range(workers)]
        for worker in joined:
            worker.binary = binary
            stack.enter_context(worker)
        for worker in joined:
            worker.wait_until_said("no telemetry")
        yield engines, serving, joined
