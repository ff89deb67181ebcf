"""What is next once a lab has passed: the stretch, the next lab or notebook, the report."""

from pathlib import Path

import pytest

from multistage import labs, record
from multistage.checks import CheckReport, CheckResult
from multistage.labs import LabFolder
from multistage.next_step import next_step
from tests.unit.made import TWO_STAGES, made_build, write_lab

PASSED = CheckResult("builds", "The Dockerfile builds", True, True, "It does.")
FAILED = CheckResult("starts", "It starts", True, False, "It ended.")
STRETCH = CheckResult("stage-names", "Stages have names", False, False, "One has none.")
UNCHECKED = CheckResult("answers-/", "The page is served", False, False, "Not checked: no.")


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LabFolder, ...]:
    """Return the labs of a course with a notebook for each, of which none was passed."""
    monkeypatch.delenv("MULTISTAGE_PROGRESS", raising=False)
    monkeypatch.setattr(labs, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for order, name in ((10, "a"), (20, "b"), (30, "c")):
        write_lab(tmp_path, name, order)
        (tmp_path / "notebooks" / f"{order}_{name}.ipynb").write_text("{}", "utf-8")
    (tmp_path / "notebooks" / "25_between.ipynb").write_text("{}", "utf-8")
    found = labs.labs(tmp_path)
    monkeypatch.setattr(labs, "labs", lambda: found)
    return found


def report(*checks: CheckResult) -> CheckReport:
    return CheckReport("a", checks)


def passes(lab: LabFolder) -> None:
    checks = CheckReport(lab.name, (PASSED,))
    record.add_checked(lab, lab.dockerfile, TWO_STAGES, made_build({"app": 1}), checks)


def test_nothing_is_next_while_a_required_check_fails(course: tuple[LabFolder, ...]) -> None:
    assert next_step(course[0], report(PASSED, FAILED, STRETCH)) == ""


def test_the_stretch_that_is_left_is_named_and_what_was_not_checked_is_not(
    course: tuple[LabFolder, ...],
) -> None:
    one = next_step(course[0], report(PASSED, STRETCH, UNCHECKED))
    assert one.startswith("Next: a stretch is left (○ Stages have names), or the lab b")
    two = next_step(course[0], report(PASSED, STRETCH, STRETCH))
    assert two.startswith("Next: 2 stretch checks are left (○ Stages have names; Stages")


def test_in_a_terminal_the_next_lab_is_one_that_was_not_passed(
    course: tuple[LabFolder, ...],
) -> None:
    a, b, c = course
    assert next_step(a, report(PASSED)) == "Next: the lab b: multistage watch b"
    assert next_step(c, report(PASSED)) == "Next: the lab a: multistage watch a"
    passes(b)
    assert next_step(a, report(PASSED)) == "Next: the lab c: multistage watch c"
    passes(c)
    said = next_step(a, report(PASSED))
    assert said == "Next: a page of all that you passed: multistage report"


def test_in_a_notebook_it_is_the_next_notebook(course: tuple[LabFolder, ...]) -> None:
    _, b, c = course
    assert next_step(b, report(PASSED), in_notebook=True) == "Next: the notebook 25_between.ipynb"
    assert "multistage report" in next_step(c, report(PASSED), in_notebook=True)
