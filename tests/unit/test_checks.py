"""A lab's checks on made-up images, against servers of the test's own in place of containers."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multistage.checks import (
    CheckReport,
    CheckResult,
    behaviour,
    build_and_check,
    check_lab,
    contents,
    does_not_build,
)
from multistage.checks.requests import NoAnswerError
from multistage.checks.results import result
from multistage.errors import LearnerError, MachineError, NotPossibleHereError
from multistage.images.streams import Readable
from multistage.labs import LabFolder, Request, read_lab
from tests.unit.made import (
    TWO_STAGES,
    MadeContainer,
    MadeEngine,
    made_build,
    made_layers,
    write_lab,
)

SMALL = {"base": 0, "app": 900}
HTML = "text/html; charset=utf-8"
PAGE = (
    '<link rel="stylesheet" href="/assets/a.css"><p>hello</p>'
    '<script type="module" src="/assets/a.js"></script><img src="https://example.com/x.png">'
)
SITE = {
    "/": (200, HTML, PAGE),
    "/assets/a.css": (200, "text/css", "p { color: teal }"),
    "/assets/a.js": (200, "text/javascript", "hello()"),
}
Site = Mapping[str, tuple[int, str, str]]


@dataclass
class Served:
    """A container that serves a site, and what it was asked for."""

    container: MadeContainer
    asked: list[str]


@contextmanager
def serving(site: Site) -> Iterator[Served]:
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, kind, body = site.get(self.path, (404, "text/plain", "not here"))
            self.send_response(status)
            if kind:
                self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Served(MadeContainer(f"http://127.0.0.1:{server.server_port}"), asked)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    """Return a lab whose Dockerfile is converted, and whose page must be as before."""
    made = read_lab(write_lab(tmp_path, "go") / "lab.toml")
    made.dockerfile.write_text(TWO_STAGES, "utf-8")
    return replace(made, requests=(replace(made.requests[0], same=True),))


Checked = Callable[..., dict[str, CheckResult]]


@pytest.fixture
def checked(lab: LabFolder) -> Checked:
    """Return a function that checks a site against the one of the before image."""

    def check(
        site: Site = SITE, before: Site = SITE, **lab_fields: object
    ) -> dict[str, CheckResult]:
        with serving(site) as after, serving(before) as old:
            engine = MadeEngine({}, after.container, before=MadeEngine({}, old.container))
            wanted = replace(lab, **lab_fields)  # type: ignore[arg-type]
            return by_id(check_lab(engine, wanted, made_build(SMALL)))

    return check


def by_id(report: CheckReport) -> dict[str, CheckResult]:
    assert len({check.id for check in report.checks}) == len(report.checks)
    return {check.id: check for check in report.checks}


STYLE = ["stage-names", "copies-by-name", "not-latest", "stages-needed"]
ORDER = [
    "builds", "multistage", "starts", "answers-/", "assets", "stops", "without-toolchain",
    "budget", "nonroot", "secrets", *STYLE,
]  # fmt: skip


def test_an_image_that_is_right_passes_every_required_check_without_a_hint(
    checked: Checked,
) -> None:
    found = checked()
    assert [check.id for check in found.values() if not check.passed] == ["nonroot"]
    assert not found["nonroot"].required
    assert all(not check.hints and not check.hint for check in found.values() if check.passed)
    assert found["budget"].message == "It is 900 B."
    assert found["assets"].message == "2 files."


def test_checks_come_in_one_order_whatever_is_right(checked: Checked) -> None:
    assert list(checked()) == ORDER
    assert list(checked({"/": (500, "", "")})) == ORDER
    required = [check.id for check in checked().values() if check.required]
    assert required == [name for name in ORDER if name not in {"nonroot", *STYLE}]


def test_a_container_that_does_not_start_changes_no_order(lab: LabFolder) -> None:
    with serving(SITE) as old:
        container = MadeContainer("", ended=127, log="exec /server: no such file or directory")
        engine = MadeEngine({}, container, before=MadeEngine({}, old.container))
        report = check_lab(engine, lab, made_build(SMALL))
    found = by_id(report)
    assert list(found) == ORDER
    assert [name for name in ORDER[:6] if found[name].passed] == ["builds", "multistage"]
    said = "The container ended with exit code 127: exec /server: no such file or directory"
    assert found["starts"].message == said
    assert "CGO_ENABLED=0" in found["starts"].hints[1]
    assert all("not run" in found[name].message for name in ("answers-/", "assets", "stops"))
    assert found["budget"].passed
    assert not report.passed


def test_several_requests_come_in_one_order_whether_it_starts_or_not(lab: LabFolder) -> None:
    site = {**SITE, "/healthz": (200, "text/plain", "hello")}
    both = replace(lab, requests=(*lab.requests, replace(lab.requests[0], path="/healthz")))
    orders = []
    with serving(site) as after, serving(site) as old:
        for container in (
            after.container,
            MadeContainer("", ended=1),
            Breaks(after.container.address),
        ):
            engine = MadeEngine({}, container, before=MadeEngine({}, old.container))
            orders.append(list(by_id(check_lab(engine, both, made_build(SMALL)))))
    assert orders[0][2:7] == ["starts", "answers-/", "answers-/healthz", "assets", "stops"]
    assert orders == [orders[0]] * 3


def test_a_comment_behind_an_instruction_is_named_when_the_container_does_not_start(
    lab: LabFolder,
) -> None:
    failed = MadeContainer("", ended=1, log="unable to find user # nobody")
    hints = []
    for comment in (" # nobody", ""):
        lab.dockerfile.write_text(f"{TWO_STAGES}USER 65532{comment}\n", "utf-8")
        with serving(SITE) as old:
            engine = MadeEngine({}, failed, before=MadeEngine({}, old.container))
            hints.append(by_id(check_lab(engine, lab, made_build(SMALL)))["starts"].hints)
    said = "Line 4: behind an instruction a comment is part of it. Give it its own line."
    assert hints[0] == (*hints[1], said)
    assert len(hints[1]) == 2


def test_a_container_that_does_not_answer_gets_hints_about_the_port_that_is_asked(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_container: object) -> None:
        raise NoAnswerError("It did not answer.", mend="unseen")

    monkeypatch.setattr(behaviour, "wait_until_it_answers", silent)
    with serving(SITE) as old:
        report = check_lab(MadeEngine({}, old.container), lab, made_build(SMALL))
    found = by_id(report)
    assert list(found) == ORDER
    assert found["starts"].message == "It did not answer."
    assert ["8080" in hint for hint in found["starts"].hints] == [True, True, False]
    assert found["answers-/"].message == "Not asked: the container does not answer."


def test_every_check_that_fails_has_a_hint(lab: LabFolder) -> None:
    lab.dockerfile.write_text("FROM golang\nCMD hello\n", "utf-8")
    with serving({}) as after, serving(SITE) as old:
        after.container.stops_after = None
        engine = MadeEngine({"usr/local/go/VERSION": b"x", "root/.env": b"x"}, after.container,
                            before=MadeEngine({}, old.container))  # fmt: skip
        report = check_lab(engine, replace(lab, nonroot=True), made_build({"base": 1001}, stages=1))
    assert not report.passed
    found = by_id(report)
    failed = [name for name, check in found.items() if not check.passed]
    right = {"builds", "starts", *STYLE}
    style = ["exec-form", "not-latest"]
    assert failed == [*(name for name in ORDER if name not in right), *style]
    assert all(check.hint and all(check.hints) for check in found.values() if not check.passed)
    assert found["answers-/"].message == "/ answered 404, not 200: not here"
    assert found["answers-/"].hints == lab.requests[0].hints
    assert found["without-toolchain"].message == "/usr/local/go/VERSION is in the image."
    assert found["without-toolchain"].hints == lab.absent[0].hints
    assert found["budget"].message == "It is 1 kB."
    assert found["budget"].hints[-1] == "Its largest layer, 1 kB, is from the base image"
    assert found["nonroot"].required


def test_the_budgets_last_hint_names_the_line_of_the_largest_layer(lab: LabFolder) -> None:
    with serving(SITE) as after:
        report = check_lab(
            MadeEngine({}, after.container), lab, made_build({"base": 5, "app": 996})
        )
    hint = by_id(report)["budget"].hints[-1]
    assert hint == "Its largest layer, 996 B, is from line 2: COPY . ."


def test_a_long_instruction_is_cut_in_the_budgets_hint(lab: LabFolder) -> None:
    large = made_build({"app": 1001})
    layer = replace(large.layers[0], created_by=f"RUN {'x' * 500}")
    with serving(SITE) as after:
        report = check_lab(MadeEngine({}, after.container), lab, replace(large, layers=(layer,)))
    assert by_id(report)["budget"].hints[-1].endswith(f" is from line 1: RUN {'x' * 76}")


class Layers(MadeEngine):
    """An engine whose after image has several layers."""

    layers: tuple[dict[str, bytes], ...] = ()

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        yield io.BytesIO(made_layers(*self.layers))


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({}, "/usr/local/go/VERSION is in the image."),
        ({"usr/local/go/.wh.VERSION": b""},
         "/usr/local/go/VERSION is in a layer of the image, where a later layer only hides it."),
        ({"usr/local/.wh.go": b""},
         "/usr/local/go/VERSION is in a layer of the image, where a later layer only hides it."),
        ({"usr/local/.wh.go": b"", "usr/local/go/VERSION": b"again"},
         "/usr/local/go/VERSION is in the image."),
    ],
    ids=["in sight", "deleted", "with its folder", "and there again"],
)  # fmt: skip
def test_what_a_later_layer_hides_is_shipped_and_said_to_be_hidden(
    lab: LabFolder, later: dict[str, bytes], said: str
) -> None:
    with serving(SITE) as after:
        engine = Layers({}, after.container)
        engine.layers = ({"usr/local/go/VERSION": b"go1.27", "server": b"x"}, later)
        found = by_id(check_lab(engine, lab, made_build(SMALL)))["without-toolchain"]
    assert (found.passed, found.message) == (False, said)


def test_the_budget_itself_is_still_within_the_budget(lab: LabFolder) -> None:
    with serving(SITE) as after:
        report = check_lab(MadeEngine({}, after.container), lab, made_build({"app": 1000}))
    assert by_id(report)["budget"].passed


@pytest.mark.parametrize(
    ("user", "passed"),
    [
        ("", False), ("root", False), ("0", False), ("0:0", False), ("root:65532", False),
        ("00", False), ("00:1", False), ("+0", False), ("-0", False), ("+1", True),
        ("65532", True), ("65532:65532", True), ("nonroot", True), ("node:0", True),
    ],
)  # fmt: skip
def test_root_is_told_from_other_users(lab: LabFolder, user: str, passed: bool) -> None:
    with serving(SITE) as after:
        engine = MadeEngine({}, after.container, config={"config": {"User": user}})
        found = by_id(check_lab(engine, lab, made_build(SMALL)))["nonroot"]
    assert found.passed is passed
    assert found.message == f"It runs as {user or 'root'}."


USERS = "root:x:0:0:root:/root:/bin/sh\n# app:x:0:0\n\nweb:x:101:101::/:\n"


@pytest.mark.parametrize(
    ("user", "users", "passed", "said"),
    [
        ("app", "app:x:0:0:app:/:/sbin/nologin\n", False, "app, who is root."),
        ("app:app", "app:x:0:0\n", False, "app:app, who is root."),
        ("app", f"{USERS}app:x:0:0\n", False, "app, who is root."),
        ("app", "app:x:1000:0\napp:x:0:0\n", True, "app."),
        ("app", f"{USERS}apple:x:0:0\n", True, "app."),
        ("app", "app:x:here:0\n", False, "app, who is root."),  # engines read 0
        ("web", USERS, True, "web."),
        ("65532", USERS, True, "65532."),
        ("7", "7:x:0:0\n", False, "7, who is root."),
        ("", "app:x:1000:0\n", False, "root."),
        ("app", ":::\n::\n\udcff\n", True, "app."),
        ("app", "", True, "app."),
        ("app", f"app:x:{'0' * 5000}:0\n", False, "app, who is root."),
        ("app", f"app:x:{'9' * 5000}:0\n", True, "app."),
    ],
)
def test_a_user_is_told_from_root_by_the_number_in_the_images_list(
    lab: LabFolder, user: str, users: str, passed: bool, said: str
) -> None:
    files = {"etc/passwd": users.encode("utf-8", "surrogateescape"), "app/passwd": b"app:x:0:0\n"}
    with serving(SITE) as after:
        engine = MadeEngine(files, after.container, config={"config": {"User": user}})
        found = by_id(check_lab(engine, lab, made_build(SMALL)))["nonroot"]
    assert (found.passed, found.message) == (passed, f"It runs as {said}")


def test_what_a_copy_brings_is_told_with_its_line(lab: LabFolder) -> None:
    with serving(SITE) as after:
        engine = MadeEngine({"usr/local/go/VERSION": b"go"}, after.container)
        by_base = by_id(check_lab(engine, lab, made_build({"base": 5})))["without-toolchain"]
        by_copy = by_id(check_lab(engine, lab, made_build({"app": 5})))["without-toolchain"]
    assert by_base.hints == lab.absent[0].hints
    assert by_copy.hints == (
        lab.absent[0].hints[0],
        "Line 1 brings it. Copy the artifact alone, not what lies around it.",
    )


def test_a_lab_may_have_hints_of_its_own_for_the_user(lab: LabFolder) -> None:
    own = ("Who writes the pid file?", "USER nginx")
    users = {"etc/passwd": b"root:x:0:0::/:\nnginx:x:101:101::/:\n"}
    for hints, files in (((), users), (own, users), (own, {})):
        with serving(SITE) as after:
            wanted = replace(lab, nonroot_hints=hints)
            report = check_lab(MadeEngine(files, after.container), wanted, made_build(SMALL))
        said = by_id(report)["nonroot"].hints
        assert said == (own if hints and files else contents._USER_HINTS)


# What the container answers, measured by the before image.


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, HTML, PAGE), "/ answered 404, not 200: "),
        ((200, HTML, "<p>good bye</p>"), '/ answered 200, without "hello" in it: <p>good bye</p>'),
        ((200, HTML, ""), '/ answered 200, without "hello" in it: nothing'),
        (
            (200, HTML, "<p>\n  good\n\n</p>"),
            '/ answered 200, without "hello" in it: <p> good </p>',
        ),
        ((200, "text/plain", PAGE), "as the before image: type text/plain, not text/html."),
        ((200, "", PAGE), "as the before image: type not said, not text/html."),
    ],
    ids=["status", "text", "nothing", "lines", "type", "no type"],
)
def test_a_page_unlike_that_of_the_before_image_is_told_by_what_differs(
    checked: Checked, answer: tuple[int, str, str], said: str
) -> None:
    found = checked({**SITE, "/": answer})["answers-/"]
    assert not found.passed
    assert said in found.message
    assert found.hints == ("Is the binary in the image?", "Copy it.")


def test_a_page_may_be_built_anew_when_what_it_loads_is_there(checked: Checked) -> None:
    page = PAGE.replace("/assets/a.js", "/assets/b.js")
    found = checked({**SITE, "/": (200, HTML, page), "/assets/b.js": (200, "text/javascript", "b")})
    assert found["answers-/"].passed
    assert (found["assets"].passed, found["assets"].message) == (True, "2 files.")
    assert not checked({**SITE, "/": (200, HTML, page)})["assets"].passed


def test_a_page_that_loads_nothing_has_no_reason_to_differ(checked: Checked) -> None:
    before = {"/": (200, HTML, "<p>hello</p>")}
    found = checked({"/": (200, HTML, "<p>hello</p> ")}, before)["answers-/"]
    assert not found.passed
    assert found.message == (
        "/ answered 200, but not as the before image: another content, of 13 bytes, not 12."
    )


@pytest.mark.parametrize(
    "answer", [(404, HTML, PAGE), (200, HTML, "<p>good bye</p>"), (200, "text/plain", PAGE)]
)
def test_what_a_wrong_page_loads_is_not_asked_for(
    checked: Checked, answer: tuple[int, str, str]
) -> None:
    found = checked({"/": answer})
    assert not found["answers-/"].passed
    assert not found["assets"].passed
    assert found["assets"].message == "Not asked: the page is not right."
    assert found["assets"].hints == ("First mend the page.",)


def test_a_wrong_answer_that_is_no_page_keeps_no_file_from_being_asked_for(
    checked: Checked, lab: LabFolder
) -> None:
    both = (*lab.requests, replace(lab.requests[0], path="/healthz"))
    before = {**SITE, "/healthz": (200, "text/plain", "hello")}
    found = checked(SITE, before, requests=both)
    assert not found["answers-/healthz"].passed
    assert (found["assets"].passed, found["assets"].message) == (True, "2 files.")


def test_what_is_no_page_is_compared_byte_by_byte(checked: Checked) -> None:
    before = {"/": (200, "text/plain", "hello from the crate")}
    assert checked(before, before)["answers-/"].passed
    found = checked({"/": (200, "text/plain", "hello from the crate!")}, before)["answers-/"]
    assert not found.passed
    assert found.message == (
        "/ answered 200, but not as the before image: another content, of 21 bytes, not 20."
    )


@pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=iso-8859-1"])
def test_parameters_and_case_of_a_type_do_not_matter(checked: Checked, kind: str) -> None:
    assert checked({**SITE, "/": (200, kind, PAGE)})["answers-/"].passed


def test_a_long_answer_is_cut(checked: Checked) -> None:
    found = checked({**SITE, "/": (200, HTML, "x" * 5000)})["answers-/"]
    assert found.message == f'/ answered 200, without "hello" in it: {"x" * 300}'


def test_an_answer_that_need_not_be_the_same_is_judged_by_its_text(
    checked: Checked, lab: LabFolder
) -> None:
    other = replace(lab.requests[0], same=False)
    assert checked({"/": (200, "", "hello again")}, requests=(other,))["answers-/"].passed


def test_another_status_fails_though_the_text_is_right(checked: Checked, lab: LabFolder) -> None:
    gone = replace(lab.requests[0], path="/gone", contains="not here", same=False)
    found = checked(requests=(gone,))["answers-/gone"]
    assert (found.passed, found.message) == (False, "/gone answered 404, not 200: not here")
    assert checked(requests=(replace(gone, status=404),))["answers-/gone"].passed


@pytest.mark.parametrize("kind", ["application/javascript", "application/x-javascript"])
def test_javascript_has_several_types_that_are_alike(checked: Checked, kind: str) -> None:
    script = (200, kind, SITE["/assets/a.js"][2])
    assert checked({**SITE, "/assets/a.js": script})["assets"].passed
    style = (200, kind, SITE["/assets/a.css"][2])
    assert not checked({**SITE, "/assets/a.css": style})["assets"].passed


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "", ""), "/assets/a.css answered 404."),
        ((200, "text/css", "other"), "another content, of 5 bytes, not 17."),
        (SITE["/"], "/assets/a.css is not as in the before image: type text/html, not text/css."),
    ],
    ids=["missing", "another content", "the page for whatever is asked"],
)
def test_a_file_that_the_page_loads_must_be_there_as_before(
    checked: Checked, answer: tuple[int, str, str], said: str
) -> None:
    found = checked({**SITE, "/assets/a.css": answer})
    assert found["answers-/"].passed
    assert not found["assets"].passed
    assert said in found["assets"].message
    assert len(found["assets"].hints) == 3


def test_a_page_in_place_of_a_new_file_is_no_such_file(checked: Checked) -> None:
    page = PAGE.replace("/assets/a.js", "/assets/b.js")
    found = checked({**SITE, "/": (200, HTML, page), "/assets/b.js": (200, HTML, page)})["assets"]
    said = "/assets/b.js answered with a page, in place of what it should be."
    assert (found.passed, found.message) == (False, said)


def test_a_page_that_loads_nothing_any_more_has_lost_its_files(checked: Checked) -> None:
    found = checked({**SITE, "/": (200, HTML, "<p>hello</p>")})
    assert found["answers-/"].passed
    said = "The page loads nothing; that of the before image does."
    assert (found["assets"].passed, found["assets"].message) == (False, said)


def test_the_files_of_all_pages_are_checked_once(checked: Checked, lab: LabFolder) -> None:
    other = replace(lab.requests[0], path="/b/")
    both = (*lab.requests, other)
    site = {**SITE, "/b/": (200, HTML, f'{PAGE}<img src="c.png">'), "/b/c.png": (200, "", "c")}
    found = checked(site, site, requests=both)["assets"]
    assert (found.passed, found.message) == (True, "3 files.")
    del site["/b/c.png"]
    gone = checked(site, {**site, "/b/c.png": (200, "", "c")}, requests=both)["assets"]
    assert (gone.passed, gone.message) == (False, "/b/c.png answered 404.")


def test_a_page_that_loads_nothing_has_no_check_of_assets(checked: Checked) -> None:
    site = {"/": (200, HTML, "<p>hello</p>")}
    found = checked(site, site)
    assert list(found) == [name for name in ORDER if name != "assets"]


def test_what_other_servers_have_is_not_asked_for(lab: LabFolder) -> None:
    with serving(SITE) as after:
        assert check_lab(MadeEngine({}, after.container), lab, made_build(SMALL)).passed
    assert not [path for path in after.asked if "x.png" in path]


# It ends.


@pytest.mark.parametrize(
    ("after", "passed", "said"),
    [
        (0.0, True, "It ended 0.0 s after its stop signal."),
        (9.94, True, "It ended 9.9 s after its stop signal."),
        (None, False, "It did not end within 10 s of its stop signal, SIGTERM: it was killed."),
    ],
)
def test_a_container_has_ten_seconds_to_end(
    lab: LabFolder, after: float | None, passed: bool, said: str
) -> None:
    with serving(SITE) as served:
        served.container.stops_after = after
        found = by_id(check_lab(MadeEngine({}, served.container), lab, made_build(SMALL)))["stops"]
    assert (found.passed, found.message) == (passed, said)
    assert served.container.asked_to_stop == [10.0]
    assert len(found.hints) == (0 if passed else 2)


def test_a_shell_that_does_not_end_may_keep_the_signal_for_itself(lab: LabFolder) -> None:
    for command, words in {"Cmd": ["/bin/sh", "-c", "x"], "Entrypoint": ["bash", "x.sh"]}.items():
        with serving(SITE) as served:
            served.container.stops_after = None
            engine = MadeEngine({}, served.container, config={"config": {command: words}})
            found = by_id(check_lab(engine, lab, made_build(SMALL)))["stops"]
        assert "A shell in front" in found.hints[1]


def test_a_signal_that_the_image_names_is_named_when_the_container_does_not_end(
    lab: LabFolder,
) -> None:
    with serving(SITE) as served:
        served.container.stops_after = None
        engine = MadeEngine({}, served.container, config={"config": {"StopSignal": "SIGWINCH"}})
        found = by_id(check_lab(engine, lab, made_build(SMALL)))["stops"]
    assert found.message == (
        "It did not end within 10 s of its stop signal, SIGWINCH, which STOPSIGNAL names: "
        "it was killed."
    )


@pytest.mark.parametrize("name", ["SIGKILL", "KILL", "9"])
def test_a_container_that_is_killed_at_once_does_not_end_when_it_is_asked_to(
    lab: LabFolder, name: str
) -> None:
    with serving(SITE) as served:
        engine = MadeEngine({}, served.container, config={"config": {"StopSignal": name}})
        found = by_id(check_lab(engine, lab, made_build(SMALL)))["stops"]
    assert (found.passed, len(found.hints)) == (False, 3)
    assert found.message == "Its stop signal is SIGKILL: it is killed, and not asked."


@pytest.mark.parametrize("name", ["SIGQUIT", "SIGTERM", "15", "", None])
def test_any_other_stop_signal_is_asked_with(lab: LabFolder, name: str | None) -> None:
    with serving(SITE) as served:
        engine = MadeEngine({}, served.container, config={"config": {"StopSignal": name}})
        assert by_id(check_lab(engine, lab, made_build(SMALL)))["stops"].passed


class Breaks(MadeContainer):
    """A container that the engine loses while it stops."""

    def stop(self, seconds: float) -> float | None:
        raise LearnerError("It is gone.")


def test_what_was_found_before_a_container_was_lost_is_kept(lab: LabFolder) -> None:
    with serving(SITE) as after, serving(SITE) as old:
        engine = MadeEngine({}, Breaks(after.container.address),
                            before=MadeEngine({}, old.container))  # fmt: skip
        found = by_id(check_lab(engine, lab, made_build(SMALL)))
    assert list(found) == ORDER
    assert [n for n in ORDER[2:6] if found[n].passed] == ["starts", "answers-/", "assets"]


@dataclass
class EndsSoon(MadeContainer):
    """A container that answers, and has ended when it is looked at again.

    The engine knows of that only when it has been asked some times more.
    """

    unknown_for: int = 0
    looks: int = 0

    def exit_code(self) -> int | None:
        self.looks += 1
        if self.looks > 1:  # nothing listens any more
            self.address = ""
        return None if self.looks <= 1 + self.unknown_for else 0


@pytest.mark.parametrize("unknown_for", [0, 3])
def test_a_container_that_answers_and_then_ends_has_not_started(
    lab: LabFolder, unknown_for: int
) -> None:
    lab.dockerfile.write_text(f'{TWO_STAGES}CMD ["nginx"]\n', "utf-8")
    with serving(SITE) as after, serving(SITE) as old:
        container = EndsSoon(after.container.address, unknown_for=unknown_for)
        engine = MadeEngine({}, container, before=MadeEngine({}, old.container))
        found = by_id(check_lab(engine, lab, made_build(SMALL)))
    assert list(found)[2:6] == ["starts", "answers-/", "assets", "stops"]
    assert [name for name in ORDER[2:6] if found[name].passed] == ["answers-/", "assets"]
    assert found["starts"].message.startswith("The container ended with exit code 0")
    assert "in the foreground" in found["starts"].hints[1]
    assert found["starts"].hints[2] == 'Line 4: CMD ["nginx", "-g", "daemon off;"]'


# Where the machine does not allow it.


def test_where_no_container_can_run_its_checks_are_left_out(lab: LabFolder) -> None:
    error = NotPossibleHereError("No container can run here.", mend="Use Docker.")
    engine = MadeEngine({}, fails=error)
    report = check_lab(engine, lab, made_build(SMALL))
    found = by_id(report)
    assert report.passed
    asked = found["answers-/"]
    assert (asked.passed, asked.required, asked.hint) == (False, False, "Use Docker.")
    assert asked.message == "Not checked: No container can run here."
    assert not {"starts", "assets", "stops"} & set(found)


def test_an_engine_that_falls_short_is_no_fault_of_the_learner(lab: LabFolder) -> None:
    with serving(SITE) as old:
        engine = MadeEngine({}, fails=MachineError("No disk."),
                            before=MadeEngine({}, old.container))  # fmt: skip
        with pytest.raises(MachineError, match="No disk"):
            check_lab(engine, lab, made_build(SMALL))


UPSTREAM = Request("/upstream", 200, "answered", "HTTPS works", ("a hint",), needs_network=True)


def test_without_a_network_what_needs_one_is_not_asked_and_not_required(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "reachable_upstream", lambda: None)
    with serving(SITE) as after, serving(SITE) as old:
        engine = MadeEngine({}, after.container, before=MadeEngine({}, old.container))
        both = replace(lab, requests=(*lab.requests, UPSTREAM))
        report = check_lab(engine, both, made_build(SMALL))
    found = by_id(report)["answers-/upstream"]
    assert (found.passed, found.required) == (False, False)
    assert "Not checked" in found.message
    assert found.hint
    assert report.passed
    assert "/upstream" not in after.asked
    assert engine.environments == [{}]


def test_with_a_network_the_app_is_told_whom_to_ask(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "reachable_upstream", lambda: "https://example.com/")
    site = {**SITE, "/upstream": (200, "", "upstream answered 200 OK")}
    with serving(site) as after, serving(SITE) as old:
        engine = MadeEngine({}, after.container, before=MadeEngine({}, old.container))
        wanted = replace(lab, requests=(*lab.requests, UPSTREAM))
        assert check_lab(engine, wanted, made_build(SMALL)).passed
    assert engine.environments == [{"UPSTREAM": "https://example.com/"}]


def test_a_lab_that_needs_no_network_does_not_look_for_one(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked() -> None:
        raise AssertionError("looked for a network")

    monkeypatch.setattr(behaviour, "reachable_upstream", looked)
    assert checked()["answers-/"].passed


# Building and checking in one, and the report.


class Refuses(MadeEngine):
    """An engine on which no learner's Dockerfile builds."""

    def build(self, *_arguments: object, **_keywords: object) -> str:
        raise LearnerError("go: not found", where="Dockerfile:3", mend="Add it.")


def test_a_dockerfile_that_does_not_build_has_that_check_alone(lab: LabFolder) -> None:
    report, built = build_and_check(Refuses(), lab)
    assert built is None
    assert not report.passed
    [found] = report.checks
    assert (found.id, found.required) == ("builds", True)
    assert found.message == "go: not found (Dockerfile:3)"
    assert found.hints == ("Add it.",)


class Empty(MadeEngine):
    """An engine whose images have no layers, and that may refuse to hand them out."""

    refuses = ""

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        if self.refuses:
            raise MachineError(self.refuses)
        yield io.BytesIO(made_layers())


@pytest.mark.parametrize("refuses", ["", "The engine says: empty export - not implemented"])
def test_an_image_that_holds_nothing_is_the_learners_fault(lab: LabFolder, refuses: str) -> None:
    engine = Empty()
    engine.refuses = refuses
    report, built = build_and_check(engine, lab)
    assert built is None
    [found] = report.checks
    assert found.message.startswith("The final image holds nothing")
    assert found.message.endswith("Dockerfile:2)")
    assert "COPY --from=<stage>" in found.hints[-1]


def test_an_engine_that_hands_out_no_image_is_no_fault_of_the_learner(lab: LabFolder) -> None:
    engine = Empty()
    engine.refuses = "No disk."
    with pytest.raises(MachineError, match="No disk"):
        build_and_check(engine, lab)


def test_an_error_without_a_mend_leaves_no_empty_hint(lab: LabFolder) -> None:
    [found] = does_not_build(lab, LearnerError("It broke.")).checks
    assert (found.message, found.hints) == ("It broke.", ())


def test_building_and_checking_judges_the_dockerfile_that_is_named(
    lab: LabFolder, tmp_path: Path
) -> None:
    other = tmp_path / "Other"
    other.write_text("FROM golang:1.27\n", "utf-8")
    with serving(SITE) as after:
        engine = MadeEngine({}, after.container)
        right, built = build_and_check(engine, lab)
        wrong, _ = build_and_check(engine, lab, other, no_cache=True)
    assert right.passed
    assert built is not None
    assert built.image == "multistage/go:after"
    assert [check.id for check in wrong.checks if check.required and not check.passed] == [
        "multistage"
    ]
    assert [request.no_cache for request in engine.built if request.dockerfile == other] == [True]


def failing(name: str, *, required: bool = True) -> CheckResult:
    return result(name, f"{name} is right", False, "No.", ("Nudge.", "Idea.", "Line."),
                  required=required)  # fmt: skip


def test_the_report_as_json_has_every_check_and_the_verdict() -> None:
    optional = failing("b", required=False)
    assert not CheckReport("go", (failing("a"), optional)).passed
    assert CheckReport("go", (optional,)).to_json() == {
        "lab": "go",
        "passed": True,
        "checks": [
            {
                "id": "b",
                "title": "b is right",
                "required": False,
                "passed": False,
                "message": "No.",
                "hint": "Nudge.",
                "hints": ("Nudge.", "Idea.", "Line."),
            }
        ],
    }


def test_a_report_shows_as_many_hints_as_are_asked_for() -> None:
    right = result("c", "c is right", True, "Yes.", ("unseen",))
    report = CheckReport("go", (failing("a"), failing("b", required=False), right))
    assert report.lines() == [
        "✗ a is right. No.",
        "    Hint: Nudge.",
        "○ b is right (a stretch). No.",
        "    Hint: Nudge.",
        "✓ c is right. Yes.",
        "1 of 2 required checks passed.",
    ]
    assert len(report.lines(hints=0)) == 4
    assert [line for line in report.lines(hints=9) if "Line." in line] == ["    Hint: Line."] * 2
    assert [report.has_more(hints) for hints in (1, 2, 3)] == [True, True, False]
