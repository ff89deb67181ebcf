"""The learner's progress: written whole, added to, never lost, and readable when damaged."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multistage import commands, engines, labs, notebooks, record, takeaways
from multistage.checks import CheckReport, CheckResult
from multistage.cli import main
from multistage.engines import Cancellation
from multistage.errors import NotPossibleHereError
from multistage.files import locked
from multistage.labs import LabFolder, read_lab
from multistage.recorded import Record
from multistage.report import gather
from multistage.watch.feedback import Checked, Save
from multistage.watch.rounds import Rounds
from tests.unit.made import (
    ROOT,
    SINGLE_STAGE,
    TWO_STAGES,
    MadeContainer,
    MadeEngine,
    made_build,
    write_lab,
)

BEFORE = made_build({"base": 600_000_000, "app": 7_000_000}, stages=1)
AFTER = made_build({"app": 7_000_000}, stand_ins=("golang:1.27",))
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabFolder:
    """Return the only lab of a course, whose record is empty."""
    monkeypatch.delenv("MULTISTAGE_PROGRESS", raising=False)
    found = read_lab(write_lab(tmp_path, "go") / "lab.toml")
    monkeypatch.setattr(labs, "ROOT", tmp_path)
    monkeypatch.setattr(labs, "find_lab", lambda _name: found)
    monkeypatch.setattr(labs, "labs", lambda: (found,))
    return found


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> MadeEngine:
    before = MadeEngine({"server": b"x" * 700}, fails=NotPossibleHereError("Nothing runs here."))
    log = MadeContainer("", ended=1, log="no page")
    made = MadeEngine({"server": b"x" * 700}, log, before=before)
    monkeypatch.setattr(engines, "choose", lambda _name=None: made)
    for module in (notebooks, takeaways):
        monkeypatch.setattr(module, "choose", lambda _name=None: made)
    return made


def checks(*, passed: bool = True, message: str = "It is 7 MB.") -> CheckReport:
    return CheckReport("go", (CheckResult("budget", "Is small", True, passed, message),))


def add(lab: LabFolder, text: str = TWO_STAGES, *, passed: bool = True) -> str:
    lab.dockerfile.write_text(text, "utf-8")
    return record.add_checked(lab, lab.dockerfile, text, AFTER, checks(passed=passed))


def document() -> dict[str, Any]:
    content = json.loads(record.place().read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def state(capsys: Captured) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["labs", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["labs"][0]
    return found


def table(capsys: Captured) -> str:
    capsys.readouterr()
    assert main(["labs"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_check_is_recorded_at_the_top_of_the_checkout(
    lab: LabFolder, engine: MadeEngine, tmp_path: Path
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    assert main(["build", "go", "--before", "--json"]) == 0
    assert main(["check", "go", "--json"]) == 1
    (entry,) = json.loads((tmp_path / "progress.json").read_text("utf-8"))["entries"]
    assert (entry["lab"], entry["passed"]) == ("go", False)
    assert {check["id"]: check["passed"] for check in entry["checks"]}["multistage"] is True
    assert [entry[w]["unpacked_size"] for w in ("before", "after")] == [700, 700]
    assert entry["after"]["builder"] == engine.describe()
    assert "\n".join(entry["dockerfile"]) == TWO_STAGES


def watched_once(lab: LabFolder, engine: MadeEngine) -> None:
    list(Rounds(lab, engine).round(Save(), Cancellation()))


@pytest.mark.parametrize(
    "measures",
    [
        lambda *_: main(["compare", "go", "--json"]),
        lambda *_: main(["check", "go", "--json"]),
        lambda *_: notebooks.Lab("go").check(),
        watched_once,
        lambda *_: takeaways.checklist(),
    ],
    ids=["compare", "check", "check in a notebook", "watch", "checklist"],
)
def test_whatever_measures_both_images_records_both(
    measures: Callable[[LabFolder, MadeEngine], object], lab: LabFolder, engine: MadeEngine
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    measures(lab, engine)
    sizes = record.read().measured["go"]
    assert sizes.before is not None
    assert sizes.after is not None
    assert (sizes.before.stages, sizes.after.stages) == (1, 2)
    (shown,) = gather((lab,), record.read()).labs
    assert shown.before == sizes.before


def test_a_check_measures_before_once_for_each_engine(lab: LabFolder, engine: MadeEngine) -> None:
    def built(builder: MadeEngine) -> int:
        builder.built.clear()
        record.add_before(builder, lab, lab.dockerfile, lambda _line: None)
        return len(builder.built)

    other = dataclasses.replace(engine, name="daemonless", built=[])
    assert [built(e) for e in (engine, engine, other, other)] == [1, 0, 1, 0]


def test_the_notebooks_check_is_recorded_too(lab: LabFolder, engine: MadeEngine) -> None:
    in_notebook = notebooks.Lab("go")
    in_notebook.build_before()
    in_notebook.check()
    (entry,) = record.read().entries
    assert entry.dockerfile == SINGLE_STAGE
    assert entry.before is not None
    assert entry.before.stages == 1
    assert engine.built


def test_another_dockerfile_is_not_the_learners(lab: LabFolder, engine: MadeEngine) -> None:
    solution = lab.folder / "Dockerfile"
    solution.write_text(TWO_STAGES, "utf-8")
    main(["check", "go", "--file", str(solution), "--json"])
    assert engine.built
    assert record.read() == Record()


def test_the_sizes_survive_the_file(lab: LabFolder) -> None:
    record.add_measured(lab, lab.before_dockerfile, SINGLE_STAGE, BEFORE)
    add(lab)
    (entry,) = record.read().entries
    assert entry.before is not None
    assert entry.after is not None
    for kept, built in ((entry.before, BEFORE), (entry.after, AFTER)):
        again = kept.to_build()
        for compressed in (False, True):
            kinds = built.sizes_by_kind(compressed=compressed)
            assert again.sizes_by_kind(compressed=compressed) == kinds
        assert again.measured_on == built.measured_on
        assert again.is_multistage == built.is_multistage


def test_labs_tell_how_far_the_learner_is(lab: LabFolder, capsys: Captured) -> None:
    record.add_measured(lab, lab.before_dockerfile, SINGLE_STAGE, BEFORE)
    assert state(capsys)["state"] == "not started"
    add(lab, passed=False)
    assert state(capsys)["state"] == "converted"
    add(lab)
    found = state(capsys)
    day = record.read().entries[-1].day
    assert found["state"] == f"passed on {day}: 607 MB → 7 MB unpacked"
    assert found["passed"]["after"]["unpacked_size"] == 7_000_000
    lab.dockerfile.write_text(SINGLE_STAGE + "# mine\n", "utf-8")
    said = f"passed on {day}; the Dockerfile has changed since: not converted yet"
    assert state(capsys)["state"] == said
    assert f"passed on {day}; now not converted yet" in table(capsys)


def test_a_pass_is_not_said_of_what_was_changed_since(lab: LabFolder, capsys: Captured) -> None:
    add(lab)
    day = record.read().entries[-1].day
    lab.dockerfile.write_text(TWO_STAGES + "USER 1\n", "utf-8")
    said = f"passed on {day}; the Dockerfile has changed since, check it again"
    assert state(capsys)["state"] == said
    assert f"passed on {day}; changed since, check it again" in table(capsys)


@pytest.mark.usefixtures("engine")
def test_compare_knows_what_the_last_check_of_this_dockerfile_found(
    lab: LabFolder, capsys: Captured
) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    failed = CheckReport("go", (CheckResult("starts", "It starts", True, False, "It ended."),))
    record.add_checked(lab, lab.dockerfile, TWO_STAGES, AFTER, failed)
    for text, said in ((TWO_STAGES, True), (TWO_STAGES + "USER 1\n", False)):
        lab.dockerfile.write_text(text, "utf-8")
        capsys.readouterr()
        assert main(["compare", "go"]) == 0
        assert ("does not do what it should yet" in capsys.readouterr().out) is said
        shown = str(notebooks.Lab("go").compare())
        assert ("does not do what it should yet" in shown) is said


def test_after_a_reset_the_pass_and_the_starter_are_said(lab: LabFolder, capsys: Captured) -> None:
    add(lab)
    assert main(["reset", "go"]) == 0
    day = record.read().entries[-1].day
    assert state(capsys)["state"] == f"passed on {day}; the starter's Dockerfile is back"


def test_a_dockerfile_that_failed_since_is_said_to_fail(lab: LabFolder, capsys: Captured) -> None:
    add(lab)
    add(lab, TWO_STAGES + "USER root\n", passed=False)
    day = record.read().entries[-1].day
    said = f"passed on {day}; the Dockerfile as it is now failed on {day}"
    assert state(capsys)["state"] == said
    assert "passed before; fails now" in table(capsys)
    add(lab, TWO_STAGES, passed=False)  # the same Dockerfile: the app was changed
    assert "passed before; fails now" in table(capsys)
    add(lab)
    assert "passed on" in table(capsys)
    assert "fails now" not in table(capsys)


def test_reset_leaves_the_record_alone(lab: LabFolder) -> None:
    add(lab)
    kept = record.place().read_bytes()
    assert main(["reset", "go"]) == 0
    assert record.place().read_bytes() == kept


def test_a_repeat_adds_nothing_and_a_change_does(lab: LabFolder) -> None:
    add(lab)
    record.add_checked(lab, lab.dockerfile, TWO_STAGES, AFTER, checks(message="It took 2 s."))
    assert len(record.read().entries) == 1
    add(lab, TWO_STAGES + "USER 1\n")
    add(lab, TWO_STAGES + "USER 1\n", passed=False)
    assert [entry.passed for entry in record.read().entries] == [True, True, False]


def test_a_later_failure_does_not_take_the_pass_away(lab: LabFolder) -> None:
    add(lab)
    add(lab, TWO_STAGES + "USER root\n", passed=False)
    passed = record.read().latest_passed("go")
    assert passed is not None
    assert passed.dockerfile == TWO_STAGES


def test_the_file_is_for_people(lab: LabFolder) -> None:
    add(lab, "FROM a AS größe\nFROM b\n")
    lines = record.place().read_text("utf-8").splitlines()
    assert '        "FROM a AS größe",' in lines
    assert len(lines) > 30


def damage(change: str) -> bytes:
    """Return a record with one entry, and one thing in it that is wrong."""
    place = {
        "time": ("entries", 0, "when"), "size": ("entries", 0, "after", "unpacked_size"),
        "stages": ("entries", 0, "after", "stages"), "kinds": ("entries", 0, "after", "kinds"),
        "line": ("entries", 0, "dockerfile", 0), "passed": ("entries", 0, "passed"),
        "entry": ("entries", 0), "schema": ("schema",), "measured": ("measured",),
    }[change]  # fmt: skip
    wrong = {"size": -1, "stages": 10**9, "time": "yesterday", "schema": True, "passed": 1}
    content = document()
    inner: Any = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = wrong.get(change, 7)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b'{"schema": 1}', b"1" * 5000),
        *("time", "size", "stages", "kinds", "line", "passed", "entry", "schema", "measured"),
    ],
    ids=lambda content: str(content[:12]),
)
@pytest.mark.parametrize("reads", [True, False])
def test_a_damaged_record_is_set_aside_whole_and_a_new_one_begun(
    content: bytes | str, reads: bool, lab: LabFolder, tmp_path: Path, capsys: Captured
) -> None:
    add(lab)
    damaged = damage(content) if isinstance(content, str) else content
    record.place().write_bytes(damaged)
    (tmp_path / "progress.damaged-1.json").write_text("an earlier one", "utf-8")
    if reads:
        assert main(["labs"]) == 0
        note = capsys.readouterr().err
    else:
        note = add(lab)
    assert "set aside as progress.damaged-2.json" in note
    assert (tmp_path / "progress.damaged-2.json").read_bytes() == damaged
    assert (tmp_path / "progress.damaged-1.json").read_text("utf-8") == "an earlier one"
    assert add(lab, TWO_STAGES + "USER 1\n") == ""
    assert len(record.read().entries) == (1 if reads else 2)


def command(words: str) -> Callable[..., object]:
    return lambda *_: main(words.split())


def watched(lab: LabFolder, engine: MadeEngine) -> str:
    """Return the notes of one round."""
    feedback = Rounds(lab, engine).round(Save(), Cancellation())
    return "".join(one.note for one in feedback if isinstance(one, Checked))


@pytest.mark.parametrize(
    "reads",
    [
        *(
            command(f"{words}{json_too}")
            for words in ("labs", "report", "build go", "compare go", "check go")
            for json_too in ("", " --json")
        ),
        lambda lab, _engine: main(["check", "go", "--file", str(lab.before_dockerfile)]),
        lambda lab, _engine: main(["compare", "go", "--file", str(elsewhere(lab))]),
        lambda *_: notebooks.Lab("go").build(),
        lambda *_: notebooks.Lab("go").build_before(),
        lambda *_: notebooks.Lab("go").compare(),
        lambda *_: notebooks.Lab("go").check(),
        lambda *_: takeaways.checklist(),
        watched,
    ],
)
def test_that_a_record_was_set_aside_is_said_once_whoever_reads_it_first(
    reads: Callable[[LabFolder, MadeEngine], object], lab: LabFolder, engine: MadeEngine,
    capsys: Captured, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(lab.folder)  # where the report is written
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    record.place().write_text("{", "utf-8")
    returned = str(reads(lab, engine))
    said = "".join(capsys.readouterr()) + returned
    assert said.count("set aside as progress.damaged-1.json") == 1
    assert main(["labs"]) == 0
    assert "set aside" not in capsys.readouterr().err


def elsewhere(lab: LabFolder) -> Path:
    """Return a Dockerfile that is nobody's."""
    file = lab.folder / "Dockerfile"
    file.write_text(TWO_STAGES, "utf-8")
    return file


def test_a_figure_says_it_where_it_is_the_first_that_reads(
    lab: LabFolder, engine: MadeEngine, capsys: Captured
) -> None:
    in_notebook = notebooks.Lab("go")
    in_notebook.build_before()
    in_notebook.build()
    record.place().write_text("{", "utf-8")
    in_notebook.compare()
    assert capsys.readouterr().out.count("set aside as progress.damaged-1.json") == 1


def test_the_step_after_a_pass_says_it_where_it_is_the_first_that_reads(
    lab: LabFolder, engine: MadeEngine, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = checks()
    monkeypatch.setattr("multistage.checks.check_lab", lambda *_a, **_k: passed)
    monkeypatch.setattr(commands, "_build", lambda *_: AFTER)
    monkeypatch.setattr(labs, "labs", lambda: (lab, dataclasses.replace(lab, name="other")))
    record.place().write_text("{", "utf-8")
    assert main(["check", "go", "--file", str(elsewhere(lab))]) == 0
    captured = capsys.readouterr()
    assert "the lab other" in captured.out
    assert captured.err.count("set aside as progress.damaged-1.json") == 1


def test_a_newer_record_is_set_aside_under_its_own_word(lab: LabFolder, tmp_path: Path) -> None:
    newer = b'{"schema": 2, "runs": []}'
    record.place().write_bytes(newer)
    note = add(lab)
    assert "newer version of the course (schema 2)" in note
    assert (tmp_path / "progress.newer-1.json").read_bytes() == newer
    assert len(record.read().entries) == 1


def test_what_a_later_release_adds_to_an_entry_is_kept(lab: LabFolder) -> None:
    add(lab)
    content = document()
    content["entries"][0]["hints_used"] = 3
    record.place().write_text(json.dumps(content), "utf-8")
    add(lab, TWO_STAGES + "USER 1\n")
    assert document()["entries"][0]["hints_used"] == 3


ADD_MANY = """
import sys
from multistage import record
from multistage.labs import find_lab
from tests.unit.test_record import AFTER, checks
lab = find_lab("go-scratch")
for number in range(10):
    text = f"FROM {sys.argv[1]}-{number}"
    assert record.add_checked(lab, lab.dockerfile, text, AFTER, checks()) == ""
"""


def test_processes_at_once_lose_nothing_of_one_another(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    environment = {**os.environ, "MULTISTAGE_PROGRESS": str(file), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", ADD_MANY, str(n)], cwd=ROOT, env=environment)
        for n in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    entries = json.loads(file.read_text("utf-8"))["entries"]
    assert {e["dockerfile"][0] for e in entries} == {
        f"FROM {n}-{m}" for n in range(4) for m in range(10)
    }


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_is_cut_off_leaves_the_old_record(
    error: BaseException, lab: LabFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(lab)
    kept = record.place().read_bytes()

    def fail(_handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    if isinstance(error, OSError):
        assert "not recorded" in add(lab, TWO_STAGES + "USER 1\n")
    else:
        with pytest.raises(KeyboardInterrupt):
            add(lab, TWO_STAGES + "USER 1\n")
    assert record.place().read_bytes() == kept
    assert not list(tmp_path.glob("*.new")) + list(tmp_path.glob(".*.new"))


@pytest.mark.usefixtures("lab", "engine")
def test_where_nothing_can_be_written_the_result_is_shown_with_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("MULTISTAGE_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert main(["check", "go"]) == 1
    captured = capsys.readouterr()
    assert "of 8 required checks passed." in captured.out
    assert captured.err.count("not recorded") == 1
    assert main(["labs"]) == 0
    assert "not recorded" in str(notebooks.Lab("go").check())


def test_a_record_that_is_a_folder_is_left_alone(lab: LabFolder, tmp_path: Path) -> None:
    (tmp_path / "progress.json").mkdir()
    assert "it is not a file" in add(lab)
    assert "it is not a file" in record.read().note
    assert (tmp_path / "progress.json").is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the right to make links")
def test_a_record_that_is_a_link_stays_one(lab: LabFolder, tmp_path: Path) -> None:
    (tmp_path / "synced").mkdir()
    (tmp_path / "progress.json").symlink_to(tmp_path / "synced" / "mine.json")
    add(lab)
    assert (tmp_path / "progress.json").is_symlink()
    assert (tmp_path / "synced" / "mine.json").is_file()
    assert len(record.read().entries) == 1


def test_a_lock_that_is_held_is_not_waited_for_without_end(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    with locked(file), pytest.raises(TimeoutError), locked(file, seconds=0.1):
        pytest.fail("two hold it")
    with locked(file, seconds=0.1):
        pass


def test_half_a_character_in_a_dockerfile_does_no_harm(lab: LabFolder) -> None:
    add(lab, "FROM a\ud800\n".encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    broken = CheckReport("go", (dataclasses.replace(checks().checks[0], message="\ud800"),))
    assert record.add_checked(lab, lab.dockerfile, "FROM x", AFTER, broken) == ""
    assert record.read().note == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.usefixtures("lab", "engine")
def test_a_pipe_is_no_dockerfile_and_is_not_waited_for(tmp_path: Path, capsys: Captured) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert record.text_of(tmp_path / "pipe") == ""
    assert main(["check", "go", "--file", str(tmp_path / "pipe")]) == 2
    assert str(tmp_path / "pipe") in capsys.readouterr().err
