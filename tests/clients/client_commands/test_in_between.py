"""The client commands behind proxies, with other servers in place of the service, and on broken connections."""

import json
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import arrow
from harness.commands import Commands, private
from harness.samples import encodings
from harness.server import free_ports
from harness.api import texts_of

PROJECT, TOKEN, RUN = "a" * 48, "b" * 48, "c" * 48
PAGE = "<html>\r\n<head><title>{}</title></head>\r\n<body><center>nginx</center></body></html>"


class Double:
    """A server that answers each request as the test specifies, and records the requests."""

    def __init__(self):
        self.answers, self.requests = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if answer == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, text = answer
                data = text.encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()
                if int(dict(headers).get("Content-Length", len(data))) != len(data):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, *answers):
        self.answers, self.requests = list(answers), []


@pytest.fixture(scope="module")
def double():
    double = Double()
    yield double
    double.server.shutdown()
    double.server.server_close()
    double.thread.join()


@pytest.fixture
def commands(tmp_path, double):
    (tmp_path / "clks.json").write_text(json.dumps({"clks": texts_of(encodings(20))}))
    text = f'project_id = "{PROJECT}"\nresult_token = "{TOKEN}"\nupdate_token = "{TOKEN}"\n'
    private(tmp_path / "profile", text)
    return Commands(tmp_path, ENTITYD_SERVER=double.url, ENTITYD_PROFILE="profile")


def page(status, title):
    return status, {"Content-Type": "text/html"}, PAGE.format(title)


def ok(value, **headers):
    return 200, {"Content-Type": "application/json", **headers}, json.dumps(value, indent=4)


def test_a_proxy_that_rejects_large_bodies(commands, double):
    double.answer(page(413, "413 Request Entity Too Large"))
    said = commands.refused(3, "upload", "clks.json")
    assert "160 bytes" in said and "client_max_body_size" in said and "413 Request Entity Too Large" in said
    assert "--route store" in said and "<" not in said


def test_web_pages_in_place_of_responses(commands, double):
    for status, code in [(403, 1), (404, 1), (500, 1), (502, 1), (200, 1)]:
        double.answer(page(status, "Welcome"))
        said = commands.refused(code, "project", "show", "--retry", 0)
        assert "web page `Welcome`" in said and "proxy" in said, said
        assert TOKEN not in said
    double.answer((200, {"Content-Type": "text/plain"}, "hello"))
    assert "not JSON" in commands.refused(1, "project", "show")


def test_a_redirect_is_reported_and_not_followed(commands, double):
    double.answer((301, {"Location": "https://other.example/api/v1"}, ""))
    said = commands.refused(2, "project", "show")
    assert "https://other.example" in said and len(double.requests) == 1


def test_control_characters_of_a_server_are_removed(commands, double):
    problem = {"detail": "no\x1b[31m\nway", "status": 400}
    double.answer((400, {"Content-Type": "application/problem+json"}, json.dumps(problem)))
    said = commands.refused(3, "project", "show")
    assert "\x1b" not in said and "way" in said
    double.answer(ok({"name": "a\x1b]0;title\x07b", "notes": "x\ny"}))
    shown = commands.done("project", "show")
    assert "\x1b" not in shown and "x y" in shown


def test_requests_to_busy_servers_are_retried(commands, double):
    busy = (503, {"Retry-After": "1"}, "")
    double.answer(busy, page(503, "busy"), (429, {}, ""), ok({"name": "x"}))
    ended = commands.run("project", "show")
    assert ended.returncode == 0 and len(double.requests) == 4
    assert ended.stderr.count("retrying for") == 1
    double.answer(busy)
    began = time.monotonic()
    assert "busy (503)" in commands.refused(1, "project", "show", "--retry", 2)
    # By default it tries for longer than this.
    assert time.monotonic() - began < 50


def test_broken_connections(commands, double):
    double.answer("cut", page(502, "Bad Gateway"), ok({"name": "x"}))
    assert "x" in commands.done("project", "show")
    # A request that may have taken effect is not repeated.
    double.answer("cut", ok({"run_id": RUN}))
    assert "no answer" in commands.refused(1, "run", "create", "--threshold", "0.8")
    assert len(double.requests) == 1
    # The response to a repeated deletion shows that the first one took effect.
    refused = (403, {"Content-Type": "application/problem+json"}, json.dumps({"detail": "no such project"}))
    double.answer("cut", refused)
    commands.done("project", "delete")
    double.answer(refused)
    assert "no such project" in commands.refused(3, "project", "delete")


def test_an_upload_is_repeated_with_a_request_for_its_receipt(commands, double):
    double.answer("cut", (201, {}, json.dumps({"message": "Updated", "receipt_token": "d" * 48})))
    commands.done("upload", "clks.json")
    first, second = double.requests
    assert first[3] == second[3] and len(first[3]) == 160
    assert "receipt-again" not in {name.lower() for name in first[2]}
    assert {name.lower(): value for name, value in second[2].items()}["receipt-again"] == "true"
    assert f'receipt_token = "{"d" * 48}"' in (commands.folder / "profile").read_text()
    for method, path, headers, _ in double.requests:
        sent = {name.lower(): value for name, value in headers.items()}
        assert (method, path) == ("POST", f"/api/v1/projects/{PROJECT}/binaryclks")
        assert sent["authorization"] == TOKEN and sent["content-length"] == "160"
        assert (sent["hash-count"], sent["hash-size"]) == ("20", "8") and "transfer-encoding" not in sent


def test_results_in_the_layout_of_the_reference(commands, double):
    """Sorted, indented, with line breaks within the records."""
    result = {"groups": [[[0, 1], [1, 2]], [[0, 3], [1, 4], [2, 5]]]}
    double.answer(ok(result))
    assert json.loads(commands.done("result", "get", RUN)) == result
    csv = commands.done("result", "get", RUN, "--format", "csv")
    assert csv.split() == ["group,dataset,record", "0,0,1", "0,1,2", "1,0,3", "1,1,4", "1,2,5"]
    ndjson = commands.done("result", "get", RUN, "--format", "ndjson")
    assert [json.loads(line) for line in ndjson.splitlines()] == result["groups"]
    commands.done("result", "get", RUN, "--format", "arrow", "-o", "out.arrows")
    columns, rows = arrow.read((commands.folder / "out.arrows").read_bytes())
    assert (columns, rows) == (arrow.COLUMNS["groups"], arrow.rows_of(result["groups"], "groups"))


def test_an_arrow_stream_that_fails_is_not_written(commands, double):
    get = ["result", "get", RUN, "--format", "arrow"]
    for result, said in [
        ({"groups": [[[0, 1 << 32]]]}, "does not fit into the column record"),
        ({"mask": [1, 2]}, "does not fit into the column match"),
        ({"groups": [[["a", 1]]]}, "not the result of a run"),
    ]:
        double.answer(ok(result))
        assert said in commands.refused(3, *get, "-o", "out")
        assert not (commands.folder / "out").exists()


def test_a_result_that_ends_early_is_fetched_again(commands, double):
    short = ok({"mask": [1, 0]}, **{"Content-Length": "4000"})
    double.answer(short, ok({"mask": [1, 0]}))
    assert json.loads(commands.done("result", "get", RUN)) == {"mask": [1, 0]}
    double.answer(short)
    assert "broke 3 times" in commands.refused(1, "result", "get", RUN, "-o", "out")
    assert not (commands.folder / "out").exists()
    double.answer(ok({"groups": [[["a"]]]}))
    assert "not the result of a run" in commands.refused(3, "result", "get", RUN, "--format", "csv", "-o", "out")
    assert not (commands.folder / "out").exists()


def test_no_server_is_listening(commands):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    began = time.monotonic()
    said = commands.refused(1, "project", "show", "--server", url, "--retry", 1)
    assert "no answer" in said and time.monotonic() - began < 50
    for wrong in ["ftp://x", "host:1", "http://u:p@host"]:
        said = commands.refused(2, "project", "show", "--server", wrong)
        assert "--server" in said and "u:p" not in said


def test_clear_text_beyond_this_machine_is_warned_about(commands):
    ended = commands.run("project", "show", "--server", "http://entityd.invalid", "--retry", 0)
    assert ended.returncode == 1 and "clear text" in ended.stderr

COMMANDS = {
    "project": [("create",), ("list",), ("show",), ("delete",)],
    "run": [("create", "--threshold", "0.8"), ("list",), ("watch", RUN), ("delete", RUN)],
    "upload": [("clks.json", "--route", "api")],
    "result": [("get", RUN), ("get", RUN, "--format", "csv")],
    "forecast": [()],
}
EACH = [(name, *words) for name, lines in COMMANDS.items() for words in lines]


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_an_answer_of_another_server_is_no_success(commands, double, words):
    """JSON of another form would be an empty table, and an upload that was never stored."""
    for other in ("a text", 7, ["x"], {"other": 1}):
        if words[:2] in (("project", "list"), ("run", "list")) and isinstance(other, list):
            continue
        double.answer(ok(other))
        if words[:2] == ("result", "get") and isinstance(other, dict) and "csv" not in words:
            continue  # what a result holds is for its reader
        said = commands.run(*words, "--retry", 0)
        assert said.returncode in (1, 3) and said.stdout == "", (other, said)
    if "delete" not in words:
        double.answer((200, {}, ""))
        assert commands.run(*words, "--retry", 0).returncode in (1, 3)


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_texts_of_a_server_control_no_terminal(commands, double, words):
    evil = "\x1b]0;title\x07a\x9b2J\u202eb\n"
    answers = [{name: evil for name in ("project_id", "result_token", "run_id", "state", "receipt_token", "name",
                                        "time_added", "message", "detail", "title")} | {"thresholds": [{"threshold": evil}]},
               [{"project_id": evil, "run_id": evil, "state": evil, "time_added": evil}]]
    for status in (200, 400, 403, 500):
        for answer in answers:
            if status == 200 and words[:2] in (("result", "get"), ("run", "watch")):
                continue  # a result is data; a state that is not known is waited for
            double.answer((status, {"Content-Type": "application/json"}, json.dumps(answer)))
            ended = commands.run(*words, "--retry", 0)
            shown = ended.stdout + ended.stderr
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), shown


@pytest.mark.parametrize("words", [words for words in EACH if words[0] != "result"], ids=" ".join)
def test_an_answer_without_an_end_is_not_read_to_it(commands, double, words):
    double.answer((200, {"Content-Type": "application/json"}, '{"state": "' + "a" * (65 << 20)))
    assert "longer than 64 MiB" in commands.refused(1, *words, "--retry", 0)


def test_a_result_that_is_a_page_or_cut_off_is_none(commands, double):
    double.answer(page(200, "Sign in"))
    assert "Sign in" in commands.refused(1, "result", "get", RUN, "-o", "out")
    double.answer((200, {"Content-Type": "application/json"}, '{"groups": [[[0, 1], [1,'))
    assert "truncated" in commands.refused(1, "result", "get", RUN, "-o", "out")
    assert not (commands.folder / "out").exists()


def test_a_wait_that_a_server_asks_for_may_be_any_number(commands, double):
    for wait in (2**64 - 1, 2**80, -1, "soon"):
        double.answer((503, {}, ""), (503, {}, ""), (503, {}, ""), (503, {"Retry-After": str(wait)}, ""))
        assert "busy (503)" in commands.refused(1, "project", "show", "--retry", 3)


class Early:
    """Answers 503 before it has read the body, and reads the second request whole."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.body = b""
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with self.listener:
            first, _ = self.listener.accept()
            if first.recv(65536).startswith(b"OPTIONS"):
                # This server does not accept uploads in several requests.
                first.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                first.close()
                first, _ = self.listener.accept()
                first.recv(65536)
            first.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n")
            second, _ = self.listener.accept()
            threading.Thread(target=self.drain, args=(first,), daemon=True).start()
            received = b""
            while b"\r\n\r\n" not in received:
                received += second.recv(65536)
            head, _, self.body = received.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            while len(self.body) < length and (piece := second.recv(65536)):
                self.body += piece
            answer = json.dumps({"message": "Updated", "receipt_token": "d" * 48}).encode()
            second.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
            second.close()

    @staticmethod
    def drain(talk):
        with talk:
            while talk.recv(65536):
                pass


def test_an_upload_after_an_early_refusal_sends_the_file_whole(commands):
    early = Early()
    content = random.Random(1).randbytes(16_000_000)
    (commands.folder / "rows.bin").write_bytes(content)
    commands.done("upload", "rows.bin", "--encoding-bytes", 8, "--route", "api", "--server", early.url, "--retry", 100)
    assert early.body == content
