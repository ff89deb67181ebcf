"""Many submissions are judged one after the other: whatever one of them is, the others are too."""

import csv
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import multistage.checks
from multistage import engines, labs
from multistage.builds import Build
from multistage.checks import CheckReport, CheckResult
from multistage.cli import main
from multistage.engines import BuildRequest, Engine, Report, ignore
from multistage.errors import LearnerError, MachineError
from multistage.grading import cell
from multistage.labs import LabFolder, read_lab
from tests.unit.made import SINGLE_STAGE, TWO_STAGES, MadeEngine, write_lab

Captured = pytest.CaptureFixture[str]


@dataclass
class Grader(MadeEngine):
    """An engine that does what a submission's comment says."""

    texts: list[bytes] = field(default_factory=list)
    beside: list[list[str]] = field(default_factory=list)
    acts: dict[str, Callable[[], None]] = field(default_factory=dict)

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        text = request.dockerfile.read_bytes()
        self.texts.append(text)
        self.beside.append([path.name for path in request.dockerfile.parent.iterdir()])
        for word, act in self.acts.items():
            if f"# {word}\n".encode() in text:
                act()
        if b"RUN fail" in text:
            raise LearnerError("The build stopped.", where=f"{request.dockerfile}:2", mend="Look.")
        return super().build(request, report)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Grader:
    made = Grader({"server": b"x" * 700})
    monkeypatch.setattr(engines, "choose", lambda _name=None: made)

    def check_lab(_engine: Engine, lab: LabFolder, build: Build, _file: Path) -> CheckReport:
        results = [
            CheckResult("multistage", "Two stages", True, build.is_multistage, "", ()),
            CheckResult("budget", "Is small", True, True, "", ()),
            CheckResult("exec-form", "A list", False, False, "", ()),
        ]
        return CheckReport(lab.name, tuple(results))

    monkeypatch.setattr(multistage.checks, "check_lab", check_lab)
    return made


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabFolder:
    """Return the first of the two labs of a course."""
    found = [
        read_lab(write_lab(tmp_path / "course", name, order) / "lab.toml")
        for order, name in enumerate(("go", "react"))
    ]
    by_name = {lab.name: lab for lab in found}
    monkeypatch.setattr(labs, "labs", lambda: tuple(found))
    monkeypatch.setattr(labs, "find_lab", by_name.__getitem__)
    return found[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "submitted"
    path.mkdir()
    return path


def hand_in(folder: Path, path: str, text: str | bytes = TWO_STAGES) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def graded(
    folder: Path, capsys: Captured, *options: str, code: int = 0
) -> dict[str, dict[str, str]]:
    """Return the rows of the CSV, by student and lab."""
    capsys.readouterr()
    assert main(["grade", str(folder), *options]) == code
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    return {f"{row['student']}/{row['lab']}": row for row in rows}


@pytest.mark.usefixtures("lab", "engine")
def test_each_submission_is_a_row(folder: Path, capsys: Captured) -> None:
    hand_in(folder, "ada/go/Dockerfile")
    hand_in(folder, "ada/react/Dockerfile", SINGLE_STAGE)
    hand_in(folder, "bob/go/Dockerfile", "FROM golang:1.27\nRUN fail\n")
    rows = graded(folder, capsys)
    assert list(rows) == ["ada/go", "ada/react", "bob/go"]
    ada = rows["ada/go"]
    assert (ada["passed"], ada["required_passed"], ada["required"]) == ("yes", "2", "2")
    assert (ada["failed"], ada["unpacked_size"], ada["error"]) == ("", "700", "")
    assert float(ada["seconds"]) >= 0
    react = rows["ada/react"]
    assert (react["passed"], react["required_passed"]) == ("no", "1")
    assert react["failed"] == "multistage"
    bob = rows["bob/go"]
    assert (bob["passed"], bob["unpacked_size"]) == ("no", "")
    assert bob["error"] == "The build stopped. / bob/go/Dockerfile:2"


@pytest.mark.usefixtures("engine")
def test_the_lab_can_be_named_for_all(lab: LabFolder, folder: Path, capsys: Captured) -> None:
    hand_in(folder, "ada/Dockerfile")
    hand_in(folder, "bob/go/Dockerfile")
    hand_in(folder, "bob/react/Dockerfile")
    hand_in(folder, "cid.Dockerfile")
    hand_in(folder, "list.txt")
    hand_in(folder, ".git/Dockerfile")
    rows = graded(folder, capsys, "--lab", lab.name)
    assert list(rows) == ["ada/go", "bob/go", "cid/go"]
    assert {row["passed"] for row in rows.values()} == {"yes"}


@pytest.mark.usefixtures("lab", "engine")
def test_a_submission_whose_lab_cannot_be_told_is_not_passed_over(
    folder: Path, capsys: Captured
) -> None:
    hand_in(folder, "ada/Dockerfile")
    hand_in(folder, "bob/goo/Dockerfile")
    hand_in(folder, "cid.Dockerfile")
    (folder / "dan").mkdir()
    rows = graded(folder, capsys)
    assert list(rows) == ["ada/", "bob/", "cid/", "dan/"]
    assert "--lab" in rows["ada/"]["error"]
    assert "called like a lab" in rows["bob/"]["error"]
    assert "--lab" in rows["cid/"]["error"]


def make_fifo(file: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(file)


def make_link(file: Path, to: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("needs the right to make links")
    file.symlink_to(to)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda file: None, "has no Dockerfile"),
    "folder": (lambda file: file.mkdir(), "no ordinary file"),
    "fifo": (make_fifo, "no ordinary file"),
    "link out": (lambda file: make_link(file, Path("/etc/passwd")), "symbolic link"),
    "link nowhere": (lambda file: make_link(file, Path("nowhere")), "symbolic link"),
    "link to another's": (lambda file: make_link(file, Path("../../zoe/go/Dockerfile")), "link"),
    "10 MB": (lambda file: file.write_bytes(b"# " + b"x" * 10_000_000), "longer than"),
    "not UTF-8": (lambda file: file.write_bytes(b"FROM a\n# \xff\n"), "not UTF-8"),
    "binary": (lambda file: file.write_bytes(b"\x7fELF\0\0"), "binary file"),
    "empty": (lambda file: file.write_bytes(b""), "no instructions"),
    "a misspelt stage": (
        lambda file: file.write_text(TWO_STAGES.replace("from=build", "from=biuld"), "utf-8"),
        "no stage called biuld. / ada/go/Dockerfile:3",
    ),
}


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("name", BAD)
def test_one_that_cannot_be_read_is_a_row_and_the_next_is_judged(
    name: str, folder: Path, engine: Grader, capsys: Captured
) -> None:
    make, said = BAD[name]
    (folder / "ada" / "go").mkdir(parents=True)
    make(folder / "ada" / "go" / "Dockerfile")
    hand_in(folder, "zoe/go/Dockerfile")
    rows = graded(folder, capsys)
    assert said in rows["ada/go"]["error"]
    assert "ada/go/Dockerfile" in rows["ada/go"]["error"]
    assert (rows["ada/go"]["passed"], rows["zoe/go"]["passed"]) == ("no", "yes")
    assert engine.texts == [TWO_STAGES.encode()]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the right to make links")
@pytest.mark.usefixtures("lab")
def test_a_folder_that_leads_elsewhere_is_not_followed(
    folder: Path, tmp_path: Path, engine: Grader, capsys: Captured
) -> None:
    hand_in(tmp_path, "elsewhere/go/Dockerfile")
    (folder / "ada").symlink_to(tmp_path / "elsewhere")
    (folder / "bob").mkdir()
    (folder / "bob" / "go").symlink_to(tmp_path / "elsewhere" / "go")
    rows = graded(folder, capsys)
    assert all("symbolic link" in row["error"] for row in rows.values())
    assert len(rows) == 2
    assert engine.texts == []


def test_of_a_submission_the_build_sees_the_dockerfile_alone(
    lab: LabFolder, folder: Path, engine: Grader, capsys: Captured
) -> None:
    hand_in(folder, "ada/go/Dockerfile")
    hand_in(folder, "ada/go/Dockerfile.dockerignore", "*")
    hand_in(folder, "ada/go/main.go", "package other")
    graded(folder, capsys)
    assert engine.beside == [["Dockerfile"]]
    (request,) = engine.built
    assert request.context == lab.app
    assert not request.dockerfile.exists()


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("error", [MachineError("No space left."), RecursionError("too deep")])
def test_a_fault_of_the_machine_is_a_row_and_exit_code_3(
    error: Exception, folder: Path, engine: Grader, capsys: Captured
) -> None:
    def act() -> None:
        raise error

    engine.acts["break"] = act
    hand_in(folder, "ada/go/Dockerfile", f"# break\n{TWO_STAGES}")
    hand_in(folder, "bob/go/Dockerfile")
    rows = graded(folder, capsys, code=3)
    assert str(error) in rows["ada/go"]["error"]
    assert rows["bob/go"]["passed"] == "yes"


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("in_background", [False, True])
def test_one_that_never_ends_is_ended(
    in_background: bool,
    folder: Path,
    engine: Grader,
    capsys: Captured,
    request: pytest.FixtureRequest,
) -> None:
    if in_background:  # where a shell lets its jobs ignore Ctrl-C
        request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine.acts["wait"] = lambda: time.sleep(60)
    hand_in(folder, "ada/go/Dockerfile", f"# wait\n{TWO_STAGES}")
    hand_in(folder, "bob/go/Dockerfile")
    rows = graded(folder, capsys, "--limit", "1")
    assert "longer than 1.0 s" in rows["ada/go"]["error"]
    assert 1 <= float(rows["ada/go"]["seconds"]) < 30
    assert rows["bob/go"]["passed"] == "yes"


@pytest.mark.usefixtures("lab")
def test_an_interrupt_ends_with_the_rows_so_far(
    folder: Path, engine: Grader, tmp_path: Path, capsys: Captured
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    engine.acts["interrupt"] = interrupt
    hand_in(folder, "ada/go/Dockerfile")
    hand_in(folder, "bob/go/Dockerfile", f"# interrupt\n{TWO_STAGES}")
    hand_in(folder, "cid/go/Dockerfile")
    assert list(graded(folder, capsys, code=130)) == ["ada/go"]
    assert main(["grade", str(folder), "--json", "--to", str(tmp_path / "rows.csv")]) == 130
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["interrupted"] is True
    assert [row["student"] for row in document["submissions"]] == ["ada"]
    assert "Interrupted after 1 of 3" in captured.err
    assert len((tmp_path / "rows.csv").read_text("utf-8").splitlines()) == 2


@pytest.mark.usefixtures("lab", "engine")
def test_progress_is_on_standard_error(folder: Path, capsys: Captured) -> None:
    hand_in(folder, "ada/go/Dockerfile")
    hand_in(folder, "[red]b\x1b[2Job/go/Dockerfile", SINGLE_STAGE)
    assert main(["grade", str(folder)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1 of 2: [red]bob/go/Dockerfile (0.0 s")
    assert lines[1].startswith("2 of 2: ada/go/Dockerfile (")
    assert lines[2] == "1 passed, 1 did not, 0 could not be checked."


@pytest.mark.usefixtures("lab", "engine")
def test_a_name_is_no_formula_in_a_spreadsheet(folder: Path, capsys: Captured) -> None:
    names = ["=cmd()|x", "+1", "-1", "@SUM(1)", "a;=1+1", 'b",=1', "\uff1d1"]
    for name in names:
        hand_in(folder, f"{name}/go/Dockerfile")
    students = [row["student"] for row in graded(folder, capsys).values()]
    assert sorted(students) == sorted(
        ["'=cmd()|x", "'+1", "'-1", "'@SUM(1)", "a;=1+1", 'b",=1', "'\uff1d1"]
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\t=1", "'\t=1"), ("\r=1", "'=1"), ("\n=1", " =1"), ("\x1b[0m=1", "'=1"), ("ada", "ada"),
        (-3, -3), (True, "yes"), (None, ""), (("a", "b"), "a; b"), ("two\nlines", "two lines"),
    ],
)  # fmt: skip
def test_a_cell_is_text_or_a_number(value: object, shown: object) -> None:
    assert cell(value) == shown


@pytest.mark.usefixtures("lab")
def test_a_table_that_is_there_is_not_written_over(
    folder: Path, tmp_path: Path, engine: Grader, capsys: Captured
) -> None:
    hand_in(folder, "ada/go/Dockerfile")
    table = tmp_path / "rows.csv"
    assert main(["grade", str(folder), "--to", str(table)]) == 0
    assert capsys.readouterr().out == ""
    first = table.read_bytes()
    assert b"ada" in first
    assert main(["grade", str(folder), "--to", str(table)]) == 2
    assert "already" in capsys.readouterr().err
    assert table.read_bytes() == first
    assert len(engine.texts) == 1


class FullDisk(io.RawIOBase):
    """A file on a disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return len(data)


@pytest.mark.usefixtures("lab", "engine")
@pytest.mark.parametrize(("room", "judged"), [(0, 0), (100, 1), (140, 2)])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_the_disk_is_full_the_rows_so_far_are_on_standard_error(
    options: list[str], room: int, judged: int, folder: Path, capsys: Captured
) -> None:
    usual = Path.open

    def open_(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.name == "rows.csv":
            return io.TextIOWrapper(io.BufferedWriter(FullDisk(room)), "utf-8")
        return usual(self, *arguments, **named)

    for name in ("ada", "bob", "cid"):
        hand_in(folder, f"{name}/go/Dockerfile")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", open_)
        assert main(["grade", str(folder), "--to", "rows.csv", *options]) == 3
    told = capsys.readouterr().err
    assert "The table cannot be written: No space left on device.\nrows.csv\n" in told
    assert told.count(" of 3: ") == judged
    students = [name for name in ("ada", "bob", "cid") if f'"{name}","go","yes"' in told]
    assert students == ["ada", "bob", "cid"][:judged]


@pytest.mark.usefixtures("lab", "engine")
@pytest.mark.parametrize("arguments", [["nowhere"], ["."], [".", "--limit", "0"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["grade", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
@pytest.mark.usefixtures("lab", "engine")
def test_a_name_that_is_no_text_is_a_row(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    os.makedirs(os.fsencode(folder) + b"/\xff/go")  # noqa: PTH103 - a path of bytes
    assert main(["grade", str(folder), "--to", str(tmp_path / "rows.csv")]) == 0
    assert "has no Dockerfile" in (tmp_path / "rows.csv").read_text("utf-8")
    assert main(["grade", str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["submissions"]) == 1


def test_the_help_says_that_submissions_run(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["grade", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Submissions are other people's code." in said
    assert "in the engine's containers" in said
