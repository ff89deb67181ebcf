"""The ``multistage`` command: exit codes, one JSON object, and errors without tracebacks."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from multistage import engines, labs
from multistage.cli import main
from multistage.engines import EngineState
from multistage.errors import (
    CourseError,
    LearnerError,
    MachineError,
    NotPossibleHereError,
    UsageError,
)
from multistage.labs import LabFolder, read_lab
from multistage.watch.loop import Watch
from tests.unit.made import (
    ROOT,
    SINGLE_STAGE,
    TWO_STAGES,
    MadeContainer,
    MadeEngine,
    made_archive,
    write_lab,
)

COMMANDS = (
    "doctor", "labs", "setup", "build", "compare", "check", "watch", "inspect", "graph", "reset",
    "report", "grade",
)  # fmt: skip

Captured = pytest.CaptureFixture[str]


def in_a_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "multistage"]), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def json_of(arguments: Sequence[str], capsys: Captured, code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def error_of(arguments: Sequence[str], capsys: Captured, code: int) -> list[str]:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = captured.err.splitlines()
    assert 1 <= len(lines) <= 3
    return lines


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabFolder:
    """Return the only lab of a course that has the repository's place."""
    found = read_lab(write_lab(tmp_path, "go") / "lab.toml")
    monkeypatch.setattr(labs, "ROOT", tmp_path)
    monkeypatch.setattr(labs, "find_lab", lambda name: labs.read_lab(found.folder / "lab.toml"))
    return found


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> MadeEngine:
    before = MadeEngine({"server": b"x" * 1400}, fails=NotPossibleHereError("Nothing runs here."))
    log = MadeContainer("", ended=1, log="no page")
    made = MadeEngine({"server": b"x" * 700}, log, before=before)
    monkeypatch.setattr(engines, "choose", lambda name=None: made)
    return made


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    state = EngineState("docker", False, "Docker is not installed.", "Install Docker Desktop.")
    monkeypatch.setattr(engines, "PROBES", {"docker": lambda: state})


def test_help_names_every_command(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n    {name} " in shown] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_offers_json(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, "--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: multistage {command}")
    assert "--json" in shown


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("build", ["--file", "--engine", "--no-cache", "--secret", "--before", "--target"]),
        ("compare", ["--file", "--engine", "--no-cache", "--secret", "--plot"]),
        ("check", ["--file", "--engine", "--no-cache", "--secret"]),
        ("watch", ["--engine"]),
        ("inspect", ["--engine"]),
        ("graph", ["--target"]),
    ],
)
def test_a_command_has_its_options(command: str, options: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert [option for option in options if option not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "command"),
        (["bulid"], "'bulid'"),
        (["build"], "LAB|DIR"),
        (["check"], "LAB"),
        (["graph", "go-scratch", "extra"], "extra"),
        (["labs", "--jsno"], "--jsno"),
        (["build", "go-scratch", "--target"], "--target"),
        (["compare", "go-scratch", "--target", "x"], "--target"),
    ],
)
def test_wrong_usage_is_said_in_one_line_with_where_to_read_on(
    arguments: list[str], said: str, capsys: Captured
) -> None:
    what, mend = error_of(arguments, capsys, 2)
    assert said in what
    assert mend.startswith("See: multistage")
    assert mend.endswith("--help")


def test_wrong_usage_ends_the_process_with_exit_code_2() -> None:
    done = in_a_process("", "bulid")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "usage:" not in done.stderr


@pytest.mark.parametrize(
    "path", ["labs/go-scratch", "./labs/go-scratch/", "{ROOT}/labs/go-scratch"]
)
def test_a_lab_is_also_known_by_the_path_of_its_folder(
    path: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    by_name = json_of(["graph", "go-scratch"], capsys)
    assert json_of(["graph", path.format(ROOT=ROOT)], capsys) == by_name
    monkeypatch.chdir(ROOT / "labs/go-scratch")
    assert json_of(["graph", "."], capsys) == by_name


@pytest.mark.parametrize("command", ["build", "compare", "check", "watch", "graph", "reset"])
@pytest.mark.usefixtures("no_engine")
def test_an_unknown_lab_gets_the_nearest_name(command: str, capsys: Captured) -> None:
    what, mend = error_of([command, "go-scrach"], capsys, 2)
    folder = "" if command in ("watch", "reset") else " and no folder"
    assert what == f"There is no lab{folder} called go-scrach."
    assert mend == "Did you mean go-scratch?"


@pytest.mark.parametrize(("error", "code"), [(LearnerError, 1), (UsageError, 2), (MachineError, 3)])
def test_each_kind_of_error_has_its_exit_code_and_its_lines(
    error: type[CourseError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail() -> tuple[LabFolder, ...]:
        raise error("It went wrong.", where="file:3", mend="Do this.")

    monkeypatch.setattr(labs, "labs", fail)
    assert error_of(["labs"], capsys, code) == ["It went wrong.", "file:3", "Do this."]


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def interrupt() -> tuple[LabFolder, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(labs, "labs", interrupt)
    assert error_of(["labs"], capsys, 130) == ["Interrupted. Nothing is left running."]
    assert "Interrupted" in json_of(["labs"], capsys, 130)["error"]["what"]


def test_an_interrupt_while_the_command_is_loaded_is_no_traceback_either() -> None:
    done = in_a_process(
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'multistage.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from multistage.__main__ import main\n"
        "sys.exit(main())"
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted. Nothing is left running.\n")


def test_a_file_that_nobody_expected_to_fail_is_told_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail() -> tuple[LabFolder, ...]:
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr(labs, "labs", fail)
    what, where, mend = error_of(["labs"], capsys, 3)
    assert (what, where) == ("Permission denied.", "/some/file")
    assert mend.startswith("Look whether it is there")
    assert json_of(["labs"], capsys, 3)["error"]["where"] == "/some/file"


@pytest.mark.parametrize("arguments", [["doctor"], ["graph", "go-scratch"], ["labs", "--json"]])
def test_a_reader_that_has_had_enough_is_no_fault(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "multistage", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert (process.wait(), process.stderr and process.stderr.read()) == (0, "")


@pytest.mark.parametrize("gone", ["stdout", "stderr"])
def test_a_failed_command_says_so_by_its_exit_code_also_when_nobody_reads_on(gone: str) -> None:
    code = (
        "import sys\n"
        "from multistage import cli, commands, terminal\n"
        "def failed(_options):\n"
        "    terminal.console().print('x' * 100_000)\n"
        "    terminal.note('x' * 100_000)\n"
        "    return commands.Outcome({}, 1)\n"
        "cli._COMMANDS['check'] = failed\n"
        "sys.exit(cli.main(['check', 'go-scratch']))"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pipes[gone] = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
    stream = getattr(process, gone)
    stream.close()
    assert process.wait() == 1


@pytest.mark.parametrize("output", [">&-", "> /dev/full"])
@pytest.mark.skipif(sys.platform != "linux", reason="it has /dev/full")
def test_an_output_that_takes_nothing_is_no_traceback(output: str) -> None:
    command = f'"{sys.executable}" -m multistage graph go-scratch {output}'
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == (0 if output == ">&-" else 3)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("No space left" in done.stderr) == (output != ">&-")


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_a_width_still_shows_words(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "go-scratch" in in_a_process("", "labs").stdout


def test_no_option_goes_by_a_part_of_its_name(capsys: Captured) -> None:
    assert "--js" in error_of(["labs", "--js"], capsys, 2)[0]


def test_labs_as_json_are_all_labs_in_order(capsys: Captured) -> None:
    document = json_of(["labs"], capsys)
    assert [lab["name"] for lab in document["labs"]] == [lab.name for lab in labs.labs()]
    keys = ("name", "title", "summary", "minutes", "video", "state", "passed")
    assert {tuple(lab) for lab in document["labs"]} == {keys}


def test_labs_as_text_name_every_lab(capsys: Captured) -> None:
    assert main(["labs"]) == 0
    shown = capsys.readouterr().out
    assert [lab.name for lab in labs.labs() if lab.name not in shown] == []


def test_labs_tell_a_converted_lab_from_a_starter_and_from_a_broken_one(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(labs, "labs", lambda: (lab,))
    states = []
    for text in (SINGLE_STAGE, f"{SINGLE_STAGE}\n", TWO_STAGES, "FORM scratch\n"):
        lab.dockerfile.write_text(text, "utf-8")
        states.append(json_of(["labs"], capsys)["labs"][0]["state"])
    assert states[:3] == ["not started", "not converted yet", "converted"]
    assert states[3].startswith("cannot be read: ")


def test_the_graph_of_a_lab_as_json_is_one_object(capsys: Captured) -> None:
    document = json_of(["graph", "go-scratch"], capsys)
    assert document["file"].endswith("Dockerfile")
    assert {tuple(stage) for stage in document["stages"]} == {("name", "base", "line", "built")}
    assert document["edges"][0]["kind"] == "from"


def test_the_graph_of_a_file_tells_stages_edges_and_what_is_skipped(
    tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM a:1 AS test\n" + TWO_STAGES, "utf-8")
    document = json_of(["graph", str(file)], capsys)
    assert document["file"] == str(file)
    assert document["stages"] == [
        {"name": "test", "base": "a:1", "line": 1, "built": False},
        {"name": "build", "base": "golang:1.27", "line": 2, "built": True},
        {"name": "2", "base": "scratch", "line": 3, "built": True},
    ]
    copies = [edge for edge in document["edges"] if edge["kind"] == "copy"]
    assert copies == [
        {
            "source": "build",
            "target": "2",
            "kind": "copy",
            "line": 4,
            "paths": ["/server", "/server"],
        }
    ]
    target = json_of(["graph", str(file), "--target", "test"], capsys)
    assert [stage["built"] for stage in target["stages"]] == [True, False, False]


def test_the_graph_as_text_shows_what_each_stage_takes(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "Dockerfile").write_text(TWO_STAGES, "utf-8")
    assert main(["graph", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "build (line 1) FROM golang:1.27",
        "stage 1 (line 2) FROM scratch",
        "    ← build: /server /server (line 3)",
    ]


def test_the_graph_says_of_a_name_that_is_no_stage_what_it_is(
    tmp_path: Path, capsys: Captured
) -> None:
    text = "FROM a:1\nFROM scratch\nCOPY --from=builder /x /\nCOPY --from=nginx:alpine /y /\n"
    (tmp_path / "Dockerfile").write_text(text, "utf-8")
    assert main(["graph", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "    ← builder (no stage of that name: an image): /x / (line 3)",
        "    ← nginx:alpine (an image): /y / (line 4)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [("FORM scratch\n", 1), ("FROM scratch\n\nRUNN x\n", 3), ("# a comment\nFROM\n", 2)],
)
def test_the_graph_of_a_broken_dockerfile_names_file_and_line(
    text: str, line: int, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(text, "utf-8")
    assert f"{file}:{line}" in error_of(["graph", str(file)], capsys, 1)


def test_a_target_that_is_no_stage_is_the_learners_error(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(TWO_STAGES, "utf-8")
    lines = error_of(["graph", str(file), "--target", "biuld"], capsys, 1)
    assert lines[0] == "There is no stage called biuld."
    assert lines[-1] == "Did you mean build?"


def test_a_folder_without_a_dockerfile_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert str(tmp_path / "Dockerfile") in error_of(["graph", str(tmp_path)], capsys, 2)[0]


def test_a_build_as_json_is_the_measured_build(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    document = json_of(["build", "go", "--no-cache", "--secret", "id=a,src=b"], capsys)
    assert document["image"] == "multistage/go:after"
    assert document["unpacked_size"] == 700
    assert document["is_multistage"] is True
    assert [stage["name"] for stage in document["stages"]] == ["build", "1"]
    (request,) = engine.built
    assert (request.context, request.dockerfile) == (lab.app, lab.dockerfile)
    assert (request.no_cache, request.secrets) == (True, ("id=a,src=b",))


def test_building_before_builds_the_starter_over_the_same_app(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    document = json_of(["build", "go", "--before"], capsys)
    assert document["image"] == "multistage/go:before"
    assert document["is_multistage"] is False
    assert (engine.built[0].context, engine.built[0].dockerfile) == (lab.app, lab.before_dockerfile)


def test_a_misspelt_stage_is_stopped_before_the_engine_sees_it(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    lab.dockerfile.write_text(TWO_STAGES.replace("--from=build", "--from=biuld"), "utf-8")
    assert error_of(["build", "go"], capsys, 1) == [
        "There is no stage called biuld.",
        f"{lab.dockerfile}:3",
        "Did you mean build?",
    ]
    assert engine.built == []


def test_compare_builds_both_and_gives_their_ratio(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    document = json_of(["compare", "go"], capsys)
    assert document["lab"] == "go"
    assert document["before"]["is_multistage"] is False
    assert document["after"]["is_multistage"] is True
    assert document["ratio"] == 0.5
    assert [request.tag for request in engine.built] == [
        "multistage/go:before",
        "multistage/go:after",
    ]


@pytest.mark.usefixtures("lab", "engine")
def test_compare_saves_its_figure(tmp_path: Path, capsys: Captured) -> None:
    json_of(["compare", "go", "--plot", str(tmp_path / "figure.SVG")], capsys)
    assert (tmp_path / "figure.SVG").read_text("utf-8").startswith("<?xml")


@pytest.mark.usefixtures("lab", "engine")
@pytest.mark.parametrize("command", ["compare", "graph"])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_figure_takes_the_place_of_an_earlier_one_and_of_nothing_else(
    command: str, ending: str, tmp_path: Path, capsys: Captured
) -> None:
    own, other = tmp_path / f"own.{ending}", tmp_path / f"other.{ending}"
    other.write_text("my holiday", "utf-8")
    for _again in range(2):
        json_of([command, "go", "--plot", str(own)], capsys)
    assert "my holiday" not in own.read_text("utf-8", errors="replace")
    what, mend = error_of([command, "go", "--plot", str(other)], capsys, 2)
    assert (what, mend) == (
        f"{other} is no figure of the course: it is left as it is.",
        "Name another file.",
    )
    assert other.read_text("utf-8") == "my holiday"


@pytest.mark.usefixtures("lab", "engine")
@pytest.mark.parametrize("name", ["figure.pdf", "figure", "nowhere/figure.png"])
def test_a_figure_that_cannot_be_saved_is_a_usage_error(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "go", "--plot", str(tmp_path / name)]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert name in captured.err


def test_a_failed_check_is_exit_code_1_and_still_one_json_object(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    document = json_of(["check", "go"], capsys, code=1)
    assert (document["lab"], document["passed"]) == ("go", False)
    failed = {check["id"]: check for check in document["checks"] if not check["passed"]}
    assert [name for name, check in failed.items() if check["required"]] == [
        "multistage", "starts", "answers-/", "stops"
    ]  # fmt: skip
    assert all(check["hint"] == check["hints"][0] for check in failed.values())


@pytest.mark.usefixtures("lab", "engine")
def test_a_failed_check_shows_its_hint(capsys: Captured) -> None:
    assert main(["check", "go"]) == 1
    shown = capsys.readouterr().out
    assert "✗ One stage builds, another one ships. It has one stage, and that ships." in shown
    assert "    Hint: What does the image hold that only the build needs?" in shown
    assert "A second FROM" not in shown
    assert "4 of 8 required checks passed." in shown
    assert shown.endswith("More hints: multistage check go --hints 2\n")


@pytest.mark.usefixtures("lab", "engine")
def test_more_hints_are_shown_when_asked_for(capsys: Captured) -> None:
    assert main(["check", "go", "--hints", "3"]) == 1
    shown = capsys.readouterr().out
    assert "    Hint: A second FROM, below the build, starts the runtime stage." in shown
    assert "More hints" not in shown


@pytest.fixture
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a watch with Ctrl+C after its first round."""

    def wait(watch: Watch) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            with watch._lock:
                if watch._round_threads and not watch._round_threads[0].is_alive():
                    raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "wait", wait)


@pytest.mark.usefixtures("lab", "engine", "one_round")
def test_a_watch_that_was_ended_prints_what_it_found_last(capsys: Captured) -> None:
    document = json_of(["watch", "go"], capsys)
    assert (document["lab"], document["saves"], document["passed"]) == ("go", 0, False)
    assert document["build"]["image"] == "multistage/go:after"
    assert document["checks"]


@pytest.mark.usefixtures("lab", "engine", "one_round")
def test_a_watch_shows_its_round_and_ends_with_exit_code_0(capsys: Captured) -> None:
    assert main(["watch", "go"]) == 0
    said = capsys.readouterr().out
    assert "The Dockerfile has 1 stage." in said
    assert "Nothing is left running." in said


@pytest.mark.parametrize("arguments", [["compare"], ["check"], ["build", "--before"]])
def test_what_only_a_lab_has_is_refused_for_a_folder(
    arguments: list[str], tmp_path: Path, engine: MadeEngine, capsys: Captured
) -> None:
    (tmp_path / "Dockerfile").write_text(TWO_STAGES, "utf-8")
    what, *_ = error_of([*arguments, str(tmp_path)], capsys, 2)
    assert what.startswith(f"{tmp_path} is a folder: ")
    assert engine.built == []


def test_any_folder_builds_under_a_name_that_docker_takes(
    tmp_path: Path, engine: MadeEngine, capsys: Captured
) -> None:
    folder = tmp_path / "My App."
    folder.mkdir()
    (folder / "Dockerfile").write_text(TWO_STAGES, "utf-8")
    assert json_of(["build", str(folder)], capsys)["image"] == "multistage/my-app:after"
    assert engine.built[0].context == folder


def test_inspecting_a_file_that_is_no_image_is_a_usage_error(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "notes.txt").write_text("no image", "utf-8")
    lines = error_of(["inspect", str(tmp_path / "notes.txt")], capsys, 2)
    assert "not an image archive" in lines[0]


def test_inspecting_an_archive_lists_its_folders_without_an_engine(
    tmp_path: Path, no_engine: None, capsys: Captured
) -> None:
    with MadeEngine({"opt/app/a": b"12345", "b": b"1"}).save("x") as stream:
        (tmp_path / "image.tar").write_bytes(stream.read(-1))
    document = json_of(["inspect", str(tmp_path / "image.tar")], capsys)
    assert document["unpacked_size"] == 6
    assert document["stand_in"] is False
    assert document["folders"] == [
        {"path": "/opt/app", "unpacked_size": 5, "files": 1},
        {"path": "/", "unpacked_size": 1, "files": 1},
    ]


@pytest.mark.parametrize("text", [SINGLE_STAGE, "FROM golang:1.27\nRUN --mont=x go\n", "", None])
def test_a_labs_image_is_shown_whatever_its_dockerfile_is_by_now(
    text: str | None, lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    engine.config = {"history": [{"created_by": "RUN /bin/sh -c go vet # buildkit"}]}
    lab.dockerfile.unlink()
    if text is not None:
        lab.dockerfile.write_text(text, "utf-8")
    assert main(["inspect", "go", "--json"]) == 0
    said = capsys.readouterr()
    [layer] = json.loads(said.out)["layers"]
    assert (layer["line"], layer["stage"], layer["kind"]) == (None, None, "app")
    assert "not the one that made this image" in said.err


def test_a_labs_image_is_explained_by_the_dockerfile_that_made_it(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    engine.config = {"history": [{"created_by": "RUN /bin/sh -c go build -o /server # buildkit"}]}
    assert main(["inspect", "go", "--json"]) == 0
    said = capsys.readouterr()
    [layer] = json.loads(said.out)["layers"]
    assert (layer["line"], layer["stage"]) == (3, "0")
    assert "not the one" not in said.err


def test_reset_says_where_the_learners_file_is(lab: LabFolder, capsys: Captured) -> None:
    assert json_of(["reset", "go"], capsys) == {"lab": "go", "kept": None}
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    kept = json_of(["reset", "go"], capsys)["kept"]
    assert kept == str(lab.app / "Dockerfile.yours-1")
    assert lab.dockerfile.read_text("utf-8") == SINGLE_STAGE


def exporting(engine: MadeEngine, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Let an engine export an image; return what it then writes."""
    with engine.save("x") as stream:
        archive = bytes(stream.read(-1))
    monkeypatch.setattr(engine, "export", lambda _image, file: file.write_bytes(archive))
    return archive


@pytest.mark.parametrize("content", [b"# Mine\n", b"# Mine\n" * 100, bytes(257) + b"nostar"])
def test_export_leaves_a_file_alone_that_is_no_archive(
    content: bytes, tmp_path: Path, engine: MadeEngine, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    exporting(engine, monkeypatch)
    file = tmp_path / "mine.md"
    file.write_bytes(content)
    lines = error_of(["export", "go-scratch", str(file)], capsys, 2)
    assert lines == [f"{file} is no archive: it is left as it is.", "Name another file."]
    assert file.read_bytes() == content


def test_export_leaves_a_device_alone(
    engine: MadeEngine, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting(engine, monkeypatch)
    lines = error_of(["export", "go-scratch", os.devnull], capsys, 2)
    assert lines[0] == f"{os.devnull} is no ordinary file: it is left as it is."


@pytest.mark.parametrize("there", [None, b"", "an earlier archive"])
def test_export_writes_a_new_file_and_replaces_an_earlier_archive(
    there: bytes | str | None, tmp_path: Path, engine: MadeEngine, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    archive = exporting(engine, monkeypatch)
    file = tmp_path / "image.tar"
    if there is not None:
        file.write_bytes(made_archive({"b": b"2"}) if isinstance(there, str) else there)
    assert json_of(["export", "go-scratch", str(file)], capsys)["size"] == len(archive)
    assert file.read_bytes() == archive


LONG = "a" * 300  # more than a file's name may have


@pytest.mark.parametrize(
    "arguments",
    [
        *([command, LONG] for command in ("build", "compare", "check", "graph", "inspect")),
        ["graph", f"{LONG}/{LONG}"],
        ["build", "go-scratch", "--file", LONG],
        ["export", LONG, "image.tar"],
        ["export", "go-scratch", LONG],
    ],
)
def test_a_name_that_no_file_can_have_is_an_error_like_another(
    arguments: list[str], engine: MadeEngine, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "labels", lambda name: {} if len(name) < 100 else None)
    monkeypatch.setattr(engine, "export", lambda _image, file: file.write_bytes(b""))
    error_of(arguments, capsys, 2)


def test_a_folder_outside_the_labs_is_no_lab(tmp_path: Path, capsys: Captured) -> None:
    lines = error_of(["inspect", str(tmp_path)], capsys, 2)
    assert "is no OCI image layout" in lines[0]


def unreadable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file one that its owner alone may read, also for root, who may read every file."""
    read = Path.read_bytes

    def refused(self: Path) -> bytes:
        if self == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refused)


@pytest.mark.parametrize("command", ["build", "check", "graph"])
def test_a_dockerfile_that_must_not_be_read_is_named(
    command: str, lab: LabFolder, engine: MadeEngine, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    unreadable(lab.dockerfile, monkeypatch)
    assert main([command, "go"]) == 1
    said = "".join(capsys.readouterr())
    assert "cannot be read: Permission denied" in said
    assert "Traceback" not in said


def test_a_lab_whose_dockerfile_must_not_be_read_is_listed_all_the_same(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = labs.find_lab("go-scratch").dockerfile
    unreadable(file, monkeypatch)
    states = {lab["name"]: lab["state"] for lab in json_of(["labs"], capsys)["labs"]}
    assert states["go-scratch"] == f"cannot be read: Permission denied: {file}"


@pytest.mark.skipif(sys.platform != "linux", reason="a file of Linux")
def test_a_file_that_fails_while_it_is_read_is_named(capsys: Captured) -> None:
    lines = error_of(["graph", "/proc/self/mem"], capsys, 1)
    assert lines[:2] == ["The Dockerfile cannot be read: Input/output error.", "/proc/self/mem"]


@pytest.mark.parametrize("option", ["--keep", "--older-than"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e305", "-1", "soon"])
def test_prune_takes_amounts_that_there_can_be(option: str, value: str, capsys: Captured) -> None:
    lines = error_of(["prune", f"{option}={value}"], capsys, 2)
    assert lines[0].startswith(f"argument {option}: {value} is not between 0 and 1000000.")


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("command", ["build", "compare", "check"])
def test_without_an_engine_building_ends_with_how_to_get_one(
    command: str, capsys: Captured
) -> None:
    lines = error_of([command, "go-scratch"], capsys, 3)
    assert lines == ["Docker is not installed.", "Install Docker Desktop."]


@pytest.mark.usefixtures("no_engine")
def test_an_engine_that_does_not_exist_is_a_usage_error(capsys: Captured) -> None:
    lines = error_of(["build", "go-scratch", "--engine", "podman"], capsys, 2)
    assert lines == ["There is no engine called podman.", "Engines: docker."]


@pytest.mark.usefixtures("no_engine")
def test_doctor_without_an_engine_says_so_in_json_and_text(capsys: Captured) -> None:
    document = json_of(["doctor"], capsys, code=3)
    assert document["chosen"] is None
    assert document["engines"][0]["how_to_get_it"] == "Install Docker Desktop."
    assert document["stand_ins"] is False
    assert main(["doctor"]) == 3
    shown = capsys.readouterr().out
    assert "✗ docker: Docker is not installed." in shown
    assert "no engine works on this machine" in shown


def imported_by(statement: str) -> set[str]:
    """Return the top-level names of all modules that a fresh Python loads for ``statement``."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before}, sep='\\n')"
    )
    done = in_a_process(code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_kit_loads_neither_matplotlib_nor_docker() -> None:
    assert imported_by("import multistage") & {"matplotlib", "docker", "IPython", "rich"} == set()


def test_the_dockerfile_model_needs_the_standard_library_alone() -> None:
    loaded = imported_by("import multistage.dockerfile")
    assert "multistage" in loaded
    assert loaded - {"multistage"} - set(sys.stdlib_module_names) == set()


def test_a_command_that_draws_nothing_loads_neither_matplotlib_nor_docker() -> None:
    loaded = imported_by(
        "import io, contextlib, multistage.cli\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert multistage.cli.main(['graph', 'go-scratch', '--json']) == 0"
    )
    assert "multistage" in loaded
    assert loaded & {"matplotlib", "docker", "IPython", "ipywidgets"} == set()


def test_lab_is_found_in_the_package_and_nothing_else_is() -> None:
    import multistage

    with pytest.raises(AttributeError, match="no attribute 'Labb'"):
        multistage.__getattr__("Labb")
    assert multistage.__getattr__("Lab").__module__ == "multistage.notebooks"


@pytest.mark.parametrize("arguments", [["check", "zzz", "--json"], ["chekc", "--json"]])
def test_an_error_is_one_json_object_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["what"] in said.err
    assert error["mend"]
