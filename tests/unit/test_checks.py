"""The checks on made-up images, against a server of the test's own in place of a container."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage import checks
from multistage.checks import Answer, CheckReport, CheckResult, ask, check_lab, matches
from multistage.errors import LearnerError
from multistage.images import ImageArchive
from multistage.labs import LabFolder, Request, read_lab
from tests.unit.made import MadeContainer, MadeEngine, made_build, write_lab

SMALL = {"base": 0, "app": 900}


class Pages(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
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
    Pages.asked.clear()
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


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    return read_lab(write_lab(tmp_path, "go") / "lab.toml")


class Clock:
    """A clock that goes on by some seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.read = 0.0, step, 0

    def __call__(self) -> float:
        self.read += 1
        self.now += self.step
        return self.now


def by_id(report: CheckReport) -> dict[str, CheckResult]:
    assert len({check.id for check in report.checks}) == len(report.checks)
    return {check.id: check for check in report.checks}


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("usr/local/go/bin/go", "usr/local/go", True),
        ("usr/local/go", "usr/local/go", True),
        ("usr/local/gopher", "usr/local/go", False),
        ("app/usr/local/go", "usr/local/go", False),
        ("usr/local", "usr/local/go", False),
        ("src/main.go", "src", True),
        ("app/src/main.go", "src", False),
        ("app/main.go", "*.go", True),
        ("SRC/main.go", "src", False),
        ("app/a/node_modules/x", "app/*/node_modules", True),
        ("bin/sh", "bin/[bs]*", True),
    ],
)
def test_a_glob_names_a_path_and_all_below_it(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


names = st.text("ab.", min_size=1, max_size=5)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(paths, paths)
def test_a_path_matches_itself_and_what_is_above_it(folder: str, below: str) -> None:
    assert matches(folder, folder)
    assert matches(f"{folder}/{below}", folder)
    assert not matches(folder, f"{folder}/{below}")


def test_an_image_that_is_right_passes_every_check_without_a_hint(
    lab: LabFolder, address: str
) -> None:
    engine = MadeEngine({"server": b"x" * 900}, MadeContainer(address))
    report = check_lab(engine, lab, made_build(SMALL))
    assert report.passed
    found = by_id(report)
    assert list(found) == ["multistage", "answers-/", "without-usr/local/go", "budget"]
    assert all(check.passed and check.required and not check.hint for check in report.checks)
    assert found["budget"].message == "It is 900 B."


def test_every_check_that_fails_has_a_hint(lab: LabFolder, address: str) -> None:
    engine = MadeEngine({"usr/local/go/bin/go": b"x"}, MadeContainer(address))
    wrong = replace(lab, requests=(replace(lab.requests[0], contains="goodbye"),))
    report = check_lab(engine, wrong, made_build({"base": 1001}, stages=1))
    assert not report.passed
    assert all(not check.passed and check.hint for check in report.checks)
    found = by_id(report)
    assert found["multistage"].message == "It has 1 stage. Not converted yet."
    assert found["answers-/"].message == "/ answered 200: hello from the crate"
    assert found["answers-/"].hint == lab.requests[0].hint
    assert found["without-usr/local/go"].message == "/usr/local/go/bin/go is in the image."
    assert found["without-usr/local/go"].hint == lab.forbidden[0].hint
    assert found["budget"].message == "It is 1 kB."


def test_the_budget_itself_is_still_within_the_budget(lab: LabFolder, address: str) -> None:
    engine = MadeEngine({}, MadeContainer(address))
    assert by_id(check_lab(engine, lab, made_build({"app": 1000})))["budget"].passed


def test_another_status_fails_though_the_text_is_right(lab: LabFolder, address: str) -> None:
    request = replace(lab.requests[0], path="/gone", contains="not here")
    engine = MadeEngine({}, MadeContainer(address))
    wrong = check_lab(engine, replace(lab, requests=(request,)), made_build(SMALL))
    assert by_id(wrong)["answers-/gone"].message == "/gone answered 404: not here"
    right = replace(lab, requests=(replace(request, status=404),))
    assert check_lab(engine, right, made_build(SMALL)).passed


def test_a_long_answer_is_cut_and_an_empty_one_called_nothing(
    lab: LabFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Answer(200, "x" * 5000), Answer(500, "  ")])
    monkeypatch.setattr(checks, "wait_until_it_answers", lambda _container: None)
    monkeypatch.setattr(checks, "ask", lambda _address, _path: next(answers))
    twice = replace(lab, requests=(lab.requests[0], replace(lab.requests[0], path="/b")))
    engine = MadeEngine({}, MadeContainer(address))
    found = by_id(check_lab(engine, twice, made_build(SMALL)))
    assert found["answers-/"].message == f"/ answered 200: {'x' * 300}"
    assert found["answers-/b"].message == "/b answered 500: nothing"


def test_a_container_that_ended_fails_the_start_and_the_other_checks_go_on(lab: LabFolder) -> None:
    engine = MadeEngine({}, MadeContainer("", ended=127, log="exec /server: no such file"))
    report = check_lab(engine, lab, made_build(SMALL))
    found = by_id(report)
    names = ["multistage", "starts", "answers-/", "without-usr/local/go", "budget"]
    assert list(found) == names
    assert not found["answers-/"].passed
    said = "The container ended with exit code 127: exec /server: no such file"
    assert found["starts"].message == said
    assert "ENTRYPOINT" in found["starts"].hint
    assert not report.passed
    assert found["budget"].passed


def test_without_a_network_what_needs_one_is_not_asked_and_not_required(
    lab: LabFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "reachable_upstream", lambda: None)
    upstream = Request("/upstream", 200, "answered", "HTTPS works", "a hint", needs_network=True)
    engine = MadeEngine({}, MadeContainer(address))
    both = replace(lab, requests=(*lab.requests, upstream))
    report = check_lab(engine, both, made_build(SMALL))
    result = by_id(report)["answers-/upstream"]
    assert (result.passed, result.required) == (False, False)
    assert "Not checked" in result.message
    assert result.hint
    assert report.passed
    assert "/upstream" not in Pages.asked
    assert engine.environments == [{}]


def test_with_a_network_the_app_is_told_whom_to_ask(
    lab: LabFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "reachable_upstream", lambda: "https://example.com/")
    engine = MadeEngine({}, MadeContainer(address))
    request = replace(lab.requests[0], needs_network=True)
    assert check_lab(engine, replace(lab, requests=(request,)), made_build(SMALL)).passed
    assert engine.environments == [{"UPSTREAM": "https://example.com/"}]


def test_a_lab_that_needs_no_network_does_not_look_for_one(
    lab: LabFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked() -> None:
        raise AssertionError("looked for a network")

    monkeypatch.setattr(checks, "reachable_upstream", looked)
    assert check_lab(MadeEngine({}, MadeContainer(address)), lab, made_build(SMALL)).passed


def test_the_report_as_json_has_every_check_and_the_verdict() -> None:
    failed = CheckResult("a", "A", True, False, "No.", "Try.")
    optional = CheckResult("b", "B", False, False, "Not checked.", "Connect.")
    assert not CheckReport("go", (failed, optional)).passed
    report = CheckReport("go", (optional,))
    assert report.to_json() == {
        "lab": "go",
        "passed": True,
        "checks": [
            {
                "id": "b",
                "title": "B",
                "required": False,
                "passed": False,
                "message": "Not checked.",
                "hint": "Connect.",
            }
        ],
    }


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
    monkeypatch.setattr("multistage.checks.requests.ask", lambda _address, _path: next(replies))
    monkeypatch.setattr("multistage.checks.requests.time.sleep", lambda _seconds: None)
    checks.wait_until_it_answers(MadeContainer(address), Clock(1))
    assert next(replies, None) is None


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
    assert clock.read == 2


def test_exit_code_zero_is_an_end_too() -> None:
    with pytest.raises(LearnerError, match="exit code 0"):
        checks.wait_until_it_answers(MadeContainer("", ended=0), Clock(1))


def test_waiting_ends_when_the_time_is_over_and_shows_the_log(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("multistage.checks.requests.time.sleep", slept.append)
    with pytest.raises(LearnerError) as raised:
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
        ("unable to find user nonroot: no matching entries in passwd file", "number"),
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


@pytest.mark.parametrize(
    ("user", "passed"), [("", False), ("root", False), ("0:0", False), ("65532:65532", True)]
)
def test_root_is_told_from_other_users(lab: LabFolder, user: str, passed: bool) -> None:
    image = ImageArchive({"config": {"User": user}}, ())
    assert checks._not_root(image).passed is passed


@pytest.mark.parametrize("path", ["bin/sh", "usr/bin/sh"])
def test_a_shell_is_found_where_bin_is_a_link(path: str) -> None:
    assert matches(path, "bin/sh")
