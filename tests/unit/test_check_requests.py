"""Asking a container over HTTP, waiting for it, and the hint for one that does not start."""

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from multistage import checks
from multistage.checks import Answer, ask
from multistage.checks.requests import NoAnswerError
from multistage.errors import LearnerError
from tests.unit.made import MadeContainer


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/": (200, "hello from the crate"),
            "/gone": (404, "not here"),
            "/broken": (500, "it broke"),
            "/bytes": (200, "\udcff"),
            "/endless": (200, "x" * (3 << 20)),
        }.get(self.path, (404, ""))
        self.send_response(status)
        if self.path == "/":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode("utf-8", "surrogateescape"))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def refused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


class Clock:
    """A clock that goes on by some seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.read = 0.0, step, 0

    def __call__(self) -> float:
        self.read += 1
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "hello from the crate"),
        ("/gone", 404, "not here"),
        ("/broken", 500, "it broke"),
        ("/bytes", 200, "\ufffd"),
    ],
)
def test_asking_returns_the_status_and_the_text_whatever_they_are(
    address: str, path: str, status: int, text: str
) -> None:
    answer = ask(address, path)
    assert (answer.status, answer.text) == (status, text)


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_two_answers_can_be_compared_by_their_bytes_and_kind(address: str) -> None:
    page, bytes_that_are_no_text = ask(address, "/"), ask(address, "/bytes")
    assert page.content_type == "text/html; charset=utf-8"
    assert (page.length, page.digest) == (20, digest(b"hello from the crate"))
    assert bytes_that_are_no_text.content_type == ""
    assert bytes_that_are_no_text.length == 1  # and three as the text it is shown as
    assert bytes_that_are_no_text.digest == digest(b"\xff")
    assert ask(address, "/") == page


def test_an_answer_without_end_is_read_to_the_limit(address: str) -> None:
    answer = ask(address, "/endless")
    assert answer.length == len(answer.text) == 1 << 20
    assert answer.digest == digest(b"x" * (1 << 20))


@pytest.mark.parametrize(
    ("kind", "page"),
    [("text/html", True), ("TEXT/HTML; charset=x", True), ("Application/XHTML+xml", True),
     ("text/plain", False), ("", False)],
)  # fmt: skip
def test_a_page_is_told_by_its_type_in_capitals_or_not(kind: str, page: bool) -> None:
    assert Answer(200, "", kind).is_page is page


def test_a_refused_connection_is_an_answer_with_status_zero(refused: str) -> None:
    answer = ask(refused, "/")
    assert (answer.status, answer.content_type, answer.length, answer.digest) == (0, "", 0, "")
    assert answer.text.startswith("no answer: ")


def test_the_machines_proxy_is_not_asked(
    address: str, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, refused)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(address, "/").status == 200


def test_waiting_ends_with_the_first_answer_even_an_error(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = iter([Answer(0, "no answer"), Answer(0, "no answer"), Answer(500, "broken")])
    monkeypatch.setattr("multistage.checks.requests.ask", lambda *_: next(replies))
    monkeypatch.setattr("multistage.checks.requests.time.sleep", lambda _seconds: None)
    checks.wait_until_it_answers(MadeContainer(address), Clock(1))
    assert next(replies, None) is None


def test_the_longer_the_wait_the_longer_an_answer_may_take(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def slow(_address: str, _path: str, seconds: float) -> Answer:
        tries.append(seconds)
        clock.now += min(seconds, 5)
        return Answer(200 if seconds >= 5 else 0, "")

    clock = Clock(0)
    monkeypatch.setattr("multistage.checks.requests.ask", slow)
    monkeypatch.setattr("multistage.checks.requests.time.sleep", lambda _seconds: None)
    checks.wait_until_it_answers(MadeContainer(address), clock)
    assert tries == [1, 2, 4, 8]


def test_no_try_lasts_beyond_the_end_of_the_wait(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_address: str, _path: str, seconds: float) -> Answer:
        clock.now += seconds
        return Answer(0, "")

    clock = Clock(0)
    monkeypatch.setattr("multistage.checks.requests.ask", silent)
    monkeypatch.setattr("multistage.checks.requests.time.sleep", lambda _seconds: None)
    with pytest.raises(NoAnswerError):
        checks.wait_until_it_answers(MadeContainer(address), clock)
    assert clock.now == 30


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("x" * 900 + "panic: no page", "x" * 386 + "panic: no page"),
        ("one\ntwo\nthree\nfour\n", ": two / three / four"),
        ("", ", and wrote nothing to its log."),
    ],
)
def test_waiting_stops_at_once_when_the_container_ended(log: str, said: str) -> None:
    clock = Clock(1)
    with pytest.raises(LearnerError) as raised:
        checks.wait_until_it_answers(MadeContainer("", ended=2, log=log), clock)
    assert raised.value.what.startswith("The container ended with exit code 2")
    assert raised.value.what.endswith(said)
    assert "ENTRYPOINT" in raised.value.mend
    assert not isinstance(raised.value, NoAnswerError)
    assert clock.read == 2


def test_exit_code_zero_is_an_end_too() -> None:
    with pytest.raises(LearnerError, match="exit code 0"):
        checks.wait_until_it_answers(MadeContainer("", ended=0), Clock(1))


def test_waiting_ends_when_the_time_is_over_and_shows_the_log(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("multistage.checks.requests.time.sleep", slept.append)
    with pytest.raises(NoAnswerError) as raised:
        checks.wait_until_it_answers(MadeContainer(refused, log="listening on :9"), Clock(10))
    said = "The container runs but did not answer within 30 seconds: listening on :9"
    assert raised.value.what == said
    assert "EXPOSE" in raised.value.mend
    assert len(slept) == 2


def test_no_upstream_gives_the_app_no_address() -> None:
    assert checks.upstream_environment(None) == {}


@pytest.mark.parametrize("path", ["healthz", "/a b", "/é", "/time?zone=Europe/Paris"])
def test_any_path_can_be_asked_for(address: str, path: str) -> None:
    assert ask(address, path).status > 0


def test_what_does_not_speak_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_say_hello, args=(listener,))
        thread.start()
        answer = ask(f"http://127.0.0.1:{listener.getsockname()[1]}", "/")
        thread.join()
    assert answer.status == 0
    assert "no answer" in answer.text


@contextmanager
def closing(*replies: bytes, reset: bool = False) -> Iterator[tuple[str, list[int]]]:
    """Serve one reply to each connection, nothing to the later ones; count them."""
    connections: list[int] = []

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if not (request := connection.recv(1000)):
                    return
                assert request.startswith(b"GET /")
                number = len(connections)
                connections.append(number)
                if number < len(replies):
                    connection.sendall(replies[number])
                if reset and not replies[number : number + 1]:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", connections
        finally:
            with socket.create_connection(("127.0.0.1", port)):
                pass
            thread.join()


OK = b"HTTP/1.0 200 OK\r\n\r\nhello"


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_was_lost_before_an_answer_is_made_once_more(reset: bool) -> None:
    with closing(b"", OK, reset=reset) as (address, connections):
        assert ask(address, "/").text == "hello"
    assert len(connections) == 2


@pytest.mark.parametrize("reset", [False, True])
def test_who_closes_every_connection_is_asked_twice_and_no_more(reset: bool) -> None:
    with closing(reset=reset) as (address, connections):
        assert ask(address, "/").status == 0
    assert len(connections) == 2


@pytest.mark.parametrize("reply", [b"hello\r\n", b"HTTP/1.0 500 x\r\n\r\n", b"HTTP/1.0 \r\n"])
def test_whoever_answered_is_not_asked_again(reply: bytes) -> None:
    with closing(reply) as (address, connections):
        ask(address, "/")
    assert len(connections) == 1


def test_a_refused_connection_is_not_made_again(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    connect = socket.create_connection

    def counted(*arguments: Any, **keywords: Any) -> socket.socket:
        made.append(arguments)
        return connect(*arguments, **keywords)

    monkeypatch.setattr(socket, "create_connection", counted)
    assert ask(refused, "/").status == 0
    assert len(made) == 1


def _say_hello(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"hello\r\n")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("exec /server: no such file or directory", "CGO_ENABLED=0"),
        ('exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown', "brackets"),
        ('exec: "/server": is a directory: unknown: permission denied', "the file itself"),
        ("exec /server: exec format error", "GOOS=linux"),
        ("unable to find user nonroot: no matching entries in passwd file", "number"),
        ("/bin/sh: [nginx,: not found", "double quotes"),
        ("/bin/sh: 1: ['nginx',: not found", "double quotes"),
        ("The container ended with exit code 0: [notice] 1#1: nginx/1.26.3", "daemon off"),
        ("The container ended with exit code 1: exit code 0", "ENTRYPOINT and CMD"),
        ("/docker-entrypoint.sh: exec: line 7: npm: not found", "ENTRYPOINT and CMD"),
    ],
)
def test_a_container_that_does_not_start_gets_a_hint_for_its_reason(said: str, hint: str) -> None:
    assert hint in checks.start_hint(said)


def test_a_redirect_is_not_followed(address: str) -> None:
    class Redirect(Pages):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{address}/")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        answer = ask(f"http://127.0.0.1:{server.server_address[1]}", "/")
    finally:
        server.shutdown()
        server.server_close()
    assert (answer.status, answer.text) == (302, "")


def test_a_container_that_has_ended_is_no_answer() -> None:
    assert ask("", "/").status == 0
