"""``start.py``: what it says when the machine falls short, and what it does not do twice."""

import ast
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer
from types import SimpleNamespace
from typing import Any

import pytest

import start
from start import CannotStartError, DockerState, Step
from tests.unit.made import ROOT

STEP = Step("Installing requirements.txt", ["pip"])
needs_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="needs Unix domain sockets"
)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a course folder without an environment, which start.py takes for its own."""
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_text(name, "utf-8")
    monkeypatch.setattr(start, "ROOT", tmp_path)
    monkeypatch.setattr(start, "VENV", tmp_path / ".venv")
    return tmp_path


@pytest.fixture
def venv(course: Path) -> Path:
    """Return the course's environment, with something in the place of its Python."""
    python = Path(start.python())
    python.parent.mkdir(parents=True)
    python.touch()
    return course / ".venv"


@pytest.fixture
def no_docker_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


# ---- Python ----


def run_as_python(version: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.version_info = {version!r}; sys.argv = ['start.py', '--help']\n"
        f"text = open('start.py', encoding='utf-8').read()\n"
        "exec(compile(text, 'start.py', 'exec'), {'__name__': '__main__', '__file__': 'start.py'})"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("minor", [7, 9])
def test_a_python_that_is_too_old_is_told_so(minor: int) -> None:
    done = run_as_python((3, minor, 1, "final", 0))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == (
        f"This is Python 3.{minor}, and the course needs Python 3.10 or later."
    )
    assert "https://www.python.org/downloads/" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_oldest_python_that_will_do_gets_past_the_check() -> None:
    done = run_as_python((3, 10, 0, "final", 0))
    assert done.returncode == 0
    assert "start.py" in done.stdout


def test_an_old_python_can_read_the_file_far_enough_to_say_so() -> None:
    ast.parse((ROOT / "start.py").read_text("utf-8"), feature_version=(3, 7))


def test_only_the_standard_library_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "start.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "start.py test" in done.stdout


# ---- Setting up ----


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] "
            "No space left on device",
            "The disk is full.",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by "
            "'NewConnectionError('<pip._vendor.urllib3>: Failed to establish a new connection: "
            "[Errno -3] Temporary failure in name resolution')': /simple/docker/",
            "No network",
        ),
        (
            "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.', "
            "OSError('Tunnel connection failed: 403 Forbidden'))': /simple/docker/",
            "No network",
        ),
        (
            "Could not fetch URL https://index.example.org/: There was a problem confirming the "
            "ssl certificate: SSLError(SSLCertVerificationError(1, '[SSL]')) - skipping",
            "No network",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement docker==7.2.0 "
            "(from versions: none)\nERROR: No matching distribution found for docker==7.2.0",
            "No network",
        ),
        (
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool("
            "host='files.example.org', port=443): Read timed out.",
            "No network",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: "
            "'.venv/lib/python3.12/site-packages/x'\nConsider using the `--user` option or check "
            "the permissions.",
            "pip may not write into this folder.",
        ),
    ],
)
def test_what_pip_says_is_put_into_words_with_a_mend(said: str, problem: str) -> None:
    what, mend = str(start.explain_failure(STEP, ["Collecting docker", *said.split("\n")])).split(
        "\n"
    )
    assert what.startswith(problem)
    assert mend.endswith(".")


def test_a_full_disk_is_told_from_the_network_trouble_before_it() -> None:
    lines = ["Retrying after connection broken by 'ReadTimeoutError'", "[Errno 28] disk"]
    assert str(start.explain_failure(STEP, lines)).startswith("The disk is full.")


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Could not find a version that satisfies the requirement docker==99 "
        "(from versions: 1.0, 7.2.0)",
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "[Errno 280] something else",
    ],
)
def test_what_is_not_known_is_shown_with_where_the_rest_is(said: str) -> None:
    text = str(start.explain_failure(STEP, ["first", *["between"] * 9, said]))
    assert said in text
    assert "first" not in text
    assert "Installing requirements.txt failed" in text
    assert ".venv/setup.log" in text


def test_trouble_that_pip_got_over_long_before_is_not_the_reason() -> None:
    lines = ["Retrying after NewConnectionError", *["Collecting x"] * 40, "ERROR: no such file"]
    assert "No network" not in str(start.explain_failure(STEP, lines))


def test_pips_progress_counts_packages_until_it_unpacks() -> None:
    lines = ["Collecting a", "  Downloading a.whl", "Collecting b"]
    assert start.pip_progress([]) == "- 0 packages fetched"
    assert start.pip_progress(lines) == "- 2 packages fetched"
    assert start.pip_progress([*lines, "Installing collected packages: a, b"]) == "- unpacking"


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"', "null", "\x00", '{"python": 1'])
def test_a_stamp_that_cannot_be_read_means_that_nothing_is_installed(venv: Path, text: str) -> None:
    start.stamp_file().write_text(text, "utf-8")
    assert start.read_stamp() == {}


def test_a_stamp_that_is_no_text_means_that_nothing_is_installed(venv: Path) -> None:
    start.stamp_file().write_bytes(b"\xff\xfe{}")
    assert start.read_stamp() == {}


def test_a_stamp_counts_only_beside_the_python_it_tells_of(venv: Path) -> None:
    assert start.read_stamp() == {}
    start.stamp_file().write_text('{"python": "3.12"}', "utf-8")
    assert start.read_stamp() == {"python": "3.12"}
    Path(start.python()).unlink()
    assert start.read_stamp() == {}


def test_a_folder_that_is_not_writable_is_named(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_options: object) -> None:
        raise PermissionError(30, "Read-only file system")

    start.check_writable()
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(CannotStartError) as raised:
        start.check_writable()
    what, mend = str(raised.value).split("\n")
    assert what == f"This folder is not writable: {course} (Read-only file system)"
    assert "home folder" in mend


def test_an_environment_that_is_not_writable_is_named(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Path) -> contextlib.AbstractContextManager[None]:
        if options["dir"] == venv:
            raise PermissionError(13, "Permission denied")
        return contextlib.nullcontext()

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(CannotStartError, match=r"\.venv \(Permission denied\)"):
        start.check_writable()


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_without_the_venv_module_debians_package_is_named(
    course: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else SimpleNamespace()
    )
    monkeypatch.setattr(start, "run_steps", lambda *_: pytest.fail("a step was run"))
    with pytest.raises(CannotStartError) as raised:
        start.set_up(0, ["requirements.txt"])
    assert "no venv module" in str(raised.value)
    assert "sudo apt install python3-venv" in str(raised.value)
    assert not (course / ".venv").exists()


def test_what_is_set_up_is_not_set_up_again(
    venv: Path, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(
        start, "run_steps", lambda steps, _began: ran.append([step.title for step in steps])
    )
    everything = [
        "Making a Python environment in .venv",
        "Installing requirements.txt",
        "Installing the course kit",
    ]
    start.set_up(0, ["requirements.txt"])
    assert ran.pop() == everything
    start.set_up(0, ["requirements.txt"])
    assert ran == []
    (course / "requirements.txt").write_text("other", "utf-8")
    start.set_up(0, ["requirements.txt"])
    assert ran.pop() == ["Installing requirements.txt"]
    (course / "pyproject.toml").write_text("other", "utf-8")
    start.set_up(0, ["requirements.txt"])
    assert ran.pop() == ["Installing the course kit"]
    monkeypatch.setattr(sys, "base_prefix", "another Python")
    start.set_up(0, ["requirements.txt"])
    assert ran.pop() == everything


def test_a_moved_course_is_set_up_anew(
    venv: Path, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(start, "run_steps", lambda steps, _began: ran.append(len(steps)))
    start.set_up(0, ["requirements.txt"])
    moved = course.rename(course.with_name("moved elsewhere"))
    monkeypatch.setattr(start, "ROOT", moved)
    monkeypatch.setattr(start, "VENV", moved / ".venv")
    start.set_up(0, ["requirements.txt"])
    assert ran == [3, 3]


def test_a_step_that_fails_ends_the_setup_logs_it_and_takes_the_stamp(
    venv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start.stamp_file().write_text("{}", "utf-8")
    steps = [
        Step("First", [sys.executable, "-c", "print('one')"]),
        Step("Second", [sys.executable, "-c", "raise SystemExit('[Errno 28] full')"]),
        Step("Third", [sys.executable, "-c", "print('three')"]),
    ]
    with pytest.raises(CannotStartError, match="disk is full"):
        start.run_steps(steps, 0)
    assert (venv / "setup.log").read_text("utf-8").splitlines() == ["one", "[Errno 28] full"]
    assert not start.stamp_file().exists()
    shown = capsys.readouterr().out
    assert "[1/3] First done" in shown
    assert "[2/3] Second failed" in shown
    assert "Third" not in shown


def test_what_would_lead_pip_astray_is_kept_from_it(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"):
        monkeypatch.setenv(name, "astray")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    variables = start.environment()
    assert "astray" not in variables.values()
    assert variables["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert variables["VIRTUAL_ENV"] == str(course / ".venv")
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(start.python()).parent)


# ---- Notebooks ----


def stored_notebook(course: Path) -> Path:
    """Return a notebook as the course brings it: one cell, and the output that was stored."""
    code = {"cell_type": "code", "source": "1 + 1", "execution_count": 1, "metadata": {}}
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["2"]}]
    notebook: dict[str, Any] = {"cells": [{"cell_type": "markdown", "source": "é"}, code]}
    notebook["metadata"] = {"stored_outputs": start.outputs_digest(notebook)}
    path = course / "notebooks" / "00.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(notebook), "utf-8")
    return path


def test_stored_outputs_are_removed_before_the_learner_sees_them(course: Path) -> None:
    path = stored_notebook(course)
    start.remove_stored_outputs()
    text, code = json.loads(path.read_text("utf-8"))["cells"]
    assert text["source"] == "é"
    assert (code["source"], code["outputs"], code["execution_count"]) == ("1 + 1", [], None)
    assert [file.name for file in path.parent.iterdir()] == ["00.ipynb"]


def test_outputs_of_the_learner_stay(course: Path) -> None:
    path = stored_notebook(course)
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][1]["outputs"][0]["text"] = ["3"]
    path.write_text(json.dumps(notebook), "utf-8")
    before = path.read_bytes()
    start.remove_stored_outputs()
    assert path.read_bytes() == before


def test_outputs_that_come_after_the_stored_ones_stay(course: Path) -> None:
    path = stored_notebook(course)
    start.remove_stored_outputs()
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["2"]}]
    path.write_text(json.dumps(notebook), "utf-8")
    before = path.read_bytes()
    start.remove_stored_outputs()
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metadata": 1}', '{"metadata": {}}', "\0"])
def test_a_damaged_notebook_is_left_as_it_is(course: Path, text: str) -> None:
    path = stored_notebook(course)
    path.write_text(text, "utf-8")
    start.remove_stored_outputs()
    assert path.read_text("utf-8") == text


# ---- Ports ----


def test_a_free_port_has_no_problem() -> None:
    assert start.port_problem(free_port()) is None


def test_a_port_where_a_program_listens_is_taken(taken_port: int) -> None:
    assert start.port_problem(taken_port) == "is taken: another program listens there"


def test_a_port_that_is_held_without_listening_is_taken() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert start.port_problem(held.getsockname()[1]) == "is taken: another program has it"


@pytest.mark.parametrize("port", [65536, 99999, -1])
def test_a_port_that_does_not_exist_is_told_with_those_that_do(port: int) -> None:
    assert start.port_problem(port) == "does not exist: ports go from 1 to 65535"


def test_the_port_asked_for_is_used_where_it_is_free() -> None:
    port = free_port()
    assert start.choose_port(port) == port


def test_the_port_asked_for_is_named_where_it_is_taken(taken_port: int) -> None:
    with pytest.raises(CannotStartError) as raised:
        start.choose_port(taken_port)
    what, mend = str(raised.value).split("\n")
    assert what == f"Port {taken_port} is taken: another program listens there."
    assert "--port" in mend


def test_without_a_wish_the_first_free_port_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {start.FIRST_PORT, start.FIRST_PORT + 1}
    monkeypatch.setattr(start, "port_problem", lambda port: "is taken" if port in taken else None)
    assert start.choose_port(None) == start.FIRST_PORT + 2


def test_where_every_port_is_taken_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "port_problem", lambda _port: "is taken")
    with pytest.raises(CannotStartError, match="Every port from 8888 to 8987 is taken"):
        start.choose_port(None)


def test_a_taken_port_is_told_before_anything_is_set_up(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "set_up", lambda *_: pytest.fail("set up"))
    with pytest.raises(CannotStartError):
        start.main(["--port", str(taken_port)])


def test_a_taken_port_ends_the_process_with_exit_code_3(taken_port: int) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "start.py"), "--port", str(taken_port), "--no-browser"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert f"Port {taken_port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


# ---- Docker ----


class Engine(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/_ping" else 404)
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class Broken(Engine):
    status = 500


@contextlib.contextmanager
def answering(handler: type[Engine]) -> Iterator[str]:
    from socketserver import ThreadingUnixStreamServer

    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be too long for a socket
        path = f"{folder}/engine.sock"
        server: BaseServer
        with ThreadingUnixStreamServer(path, handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield path
            server.shutdown()
            thread.join()


@needs_unix_sockets
def test_an_engine_that_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Engine) as path:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        assert start.docker_state() == DockerState(True)


@needs_unix_sockets
def test_an_engine_that_answers_with_an_error_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering(Broken) as path:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        state = start.docker_state()
    assert not state.answers
    assert path in state.problem


@needs_unix_sockets
@pytest.mark.parametrize("kind", ["nothing", "a file", "a socket nobody listens at"])
def test_a_dead_docker_host_is_named_and_what_to_do(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dead.sock"
        if kind == "a file":
            path.touch()
        if kind == "a socket nobody listens at":
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        state = start.docker_state()
    assert not state.answers
    assert state.problem == f"No Docker Engine answers at unix://{path} (from DOCKER_HOST)."
    assert state.mend == "Start that engine, or unset DOCKER_HOST."


@needs_unix_sockets
def test_a_socket_without_permission_asks_for_the_docker_group(
    no_docker_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "socket_error", lambda _path: PermissionError(13, "denied"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    state = start.docker_state()
    assert not state.answers
    assert "no permission on its socket" in state.problem
    assert "sudo usermod -aG docker $USER" in state.mend


@pytest.mark.parametrize("answers", [True, False])
def test_an_engine_that_is_no_socket_is_asked_by_the_docker_command(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "docker_command_connects", lambda: answers)
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@example.com")
    state = start.docker_state()
    assert state.answers is answers
    assert ("ssh://me@example.com" in state.problem) is not answers


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (None, "Docker is not installed."),
        ("/usr/bin/docker", "Docker is installed but not running."),
    ],
)
def test_a_machine_without_docker_is_told_from_one_where_it_is_not_running(
    command: str | None,
    problem: str,
    no_docker_settings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "docker_endpoint", lambda: "unix:///nowhere.sock")
    monkeypatch.setattr(start, "socket_error", lambda _path: FileNotFoundError())
    monkeypatch.setattr("shutil.which", lambda _name: command)
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    state = start.docker_state()
    assert (state.answers, state.problem) == (False, problem)
    assert state.mend


def test_docker_host_comes_before_the_context(
    no_docker_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context(no_docker_settings, "desktop", "unix:///desktop.sock")
    (no_docker_settings / "config.json").write_text('{"currentContext": "desktop"}', "utf-8")
    assert start.docker_endpoint() == "unix:///desktop.sock"
    write_context(no_docker_settings, "other", "tcp://example.com:2376")
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert start.docker_endpoint() == "tcp://example.com:2376"
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert start.docker_endpoint() == "unix:///host.sock"


@pytest.mark.parametrize(
    "config",
    [None, "", "{", "[]", "{}", '{"currentContext": "gone"}', '{"currentContext": null}'],
)
def test_without_a_readable_context_the_default_engine_is_asked(
    config: str | None, no_docker_settings: Path
) -> None:
    if config is not None:
        (no_docker_settings / "config.json").write_text(config, "utf-8")
    expected = "npipe:////./pipe/docker_engine" if start.WINDOWS else "unix:///var/run/docker.sock"
    assert start.docker_endpoint() == expected


def write_context(folder: Path, name: str, host: str) -> None:
    place = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    place.mkdir(parents=True)
    meta: dict[str, Any] = {"Name": name, "Endpoints": {"docker": {"Host": host}}}
    (place / "meta.json").write_text(json.dumps(meta), "utf-8")
