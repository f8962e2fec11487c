"""An HTTP proxy in front of an object store. It counts requests and injects faults."""

import contextlib
import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

WAIT_S = 180


class Proxy(contextlib.AbstractContextManager):
    """
    Forwards requests to a store, unless one of these faults is set:

    - `hang`: accept requests and never answer,
    - `stall`: answer a GET with the headers and half of the body, and then nothing more,
    - `refuse`: answer with a status and an S3 error code, always or a number of times,
    - `slow`: forward each request after a delay.
    """

    def __init__(self, behind):
        self.behind = behind
        self.store = urlsplit(behind.url).netloc
        self.asked = []
        self.refusals = 0
        self._fault = None
        self._over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.behave()
        self.server.shutdown()
        self.server.server_close()

    def hang(self):
        self._over.clear()
        self._fault = ("hang",)

    def stall(self):
        self._over.clear()
        self._fault = ("stall",)

    def refuse(self, status, code, times=None):
        self.refusals = 0
        self._fault = ("refuse", status, code, times)

    def slow(self, seconds):
        self._fault = ("slow", seconds)

    def behave(self):
        """Clears the fault. Clients that wait for a response are disconnected."""
        self._fault = None
        self._over.set()

    def gets(self, ending):
        """Returns the number of GETs for keys with this ending since the last call."""
        asked, self.asked = self.asked, []
        return sum(method == "GET" and path.endswith(ending) for method, path in asked)

    def fault(self):
        """Returns the fault for the next request, or None to forward it."""
        fault = self._fault
        if fault and fault[0] == "refuse":
            self.refusals += 1
            if fault[3] is not None and self.refusals >= fault[3]:
                self._fault = None
        return fault

    def wait(self):
        self._over.wait(WAIT_S)

    def _handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.asked.append((self.command, unquote(self.path.partition("?")[0])))
                fault = proxy.fault()
                if fault == ("hang",):
                    proxy.wait()
                    self.close_connection = True
                elif fault and fault[0] == "refuse":
                    _, status, code, _ = fault
                    text = f"<?xml version='1.0'?>\n<Error>\n<Code>{code}</Code>\n<Message>No.</Message></Error>"
                    self.answer(status, [("Content-Type", "application/xml")], text.encode())
                else:
                    if fault and fault[0] == "slow":
                        time.sleep(fault[1])
                    self.ask(body, stalls=fault == ("stall",) and self.command == "GET")

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

            def ask(self, body, stalls):
                with contextlib.closing(http.client.HTTPConnection(proxy.store, timeout=WAIT_S)) as store:
                    store.request(self.command, self.path, body, dict(self.headers))
                    answer = store.getresponse()
                    skipped = ("content-length", "transfer-encoding", "connection")
                    headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
                    length = answer.getheader("Content-Length")
                    data = answer.read()
                if self.command == "HEAD" and length is not None:
                    headers.append(("Content-Length", length))
                self.answer(answer.status, headers, data, stalls)

            def answer(self, status, headers, data, stalls=False):
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if stalls and data:
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    proxy.wait()
                    self.close_connection = True
                elif self.command != "HEAD":
                    self.wfile.write(data)

            def handle(self):
                # The client may have closed the connection.
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *_):
                pass

        return Handler


def until(what, done, limit_s=120):
    """Waits until `done` returns a true value; returns that value."""
    deadline = time.monotonic() + limit_s
    while not (answer := done()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        time.sleep(0.1)
    return answer
