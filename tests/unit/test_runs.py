"""Several phases run at once, and are summed up as if they had run one after another."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.machine.runs import Run, Runs, Tally, read_report

ALONE = ("-p", "no:cacheprovider", "--override-ini=addopts=", "--rootdir")


def phase(folder: Path, name: str, body: str) -> Run:
    """Return a phase of one test."""
    file = folder / f"test_{name}.py"
    file.write_text(f"import pathlib, time\n\ndef test_it():\n    {body}\n", "utf-8")
    return Run(name, (*ALONE, str(folder), str(file)), {})


def meets(folder: Path, mine: str, others: str) -> str:
    """Return the body of a test that ends once the other one has begun."""
    wait = f"while not pathlib.Path({str(folder / others)!r}).exists(): time.sleep(0.01)"
    return f"pathlib.Path({str(folder / mine)!r}).touch()\n    {wait}"


@pytest.mark.timeout(60)
def test_lanes_run_at_once_and_each_line_names_its_phase(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = Runs()
    first = phase(tmp_path, "first", meets(tmp_path, "one", "two"))
    second = phase(tmp_path, "second", meets(tmp_path, "two", "one"))
    runs.side_by_side([[first], [second]])
    assert runs.total == Tally(passed=2)
    said = capfd.readouterr().out.splitlines()
    for name in ("first", "second"):
        assert any(line.startswith(f"{name}| ") and "1 passed" in line for line in said), said
        assert any(line.startswith(f"== {name}: 1 passed, 0 failed in ") for line in said), said


def test_the_phases_of_one_lane_follow_one_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = Runs()
    there = f"assert pathlib.Path({str(tmp_path / 'made')!r}).exists()"
    makes = phase(tmp_path, "makes", f"pathlib.Path({str(tmp_path / 'made')!r}).touch()")
    runs.side_by_side([[phase(tmp_path, "early", there), makes, phase(tmp_path, "late", there)]])
    assert runs.total == Tally(passed=2, failed=1)
    assert "makes| " not in capfd.readouterr().out  # alone, pytest writes to the terminal itself


def test_a_pytest_that_fails_without_a_test_has_failed(tmp_path: Path) -> None:
    nothing = tmp_path / "test_nothing.py"
    nothing.touch()
    arguments = (*ALONE, str(tmp_path), str(nothing))
    for selected, expected in ((False, Tally(failed=1)), (True, Tally())):
        runs = Runs()
        runs.side_by_side([[Run("nothing", arguments, {}, selected)]])
        assert runs.total == expected


def test_an_interrupted_phase_ends_the_others_in_order_and_what_has_ended_counts(
    tmp_path: Path,
) -> None:
    runs = Runs()
    done = phase(tmp_path, "done", "pass")
    meet = meets(tmp_path, "one", "two")
    ends = phase(tmp_path, "ends", f"{meet}\n    raise KeyboardInterrupt")
    tidied = tmp_path / "tidied"
    tidies = f"try: time.sleep(300)\n    finally: pathlib.Path({str(tidied)!r}).touch()"
    waits = phase(tmp_path, "waits", f"{meets(tmp_path, 'two', 'one')}\n    {tidies}")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runs.side_by_side([[done, ends], [waits, phase(tmp_path, "never", "pass")]])
    assert time.monotonic() - began < 60
    assert runs.total == Tally(passed=1)
    if sys.platform != "win32":  # which knows no signal that Python turns into Ctrl+C
        assert tidied.exists()


def test_a_tally_names_skipped_tests_only_where_there_are_some() -> None:
    tally = Tally(passed=3)
    assert str(tally) == "3 passed, 0 failed"
    tally.add(Tally(1, 2, 4))
    assert str(tally) == "4 passed, 2 failed, 4 skipped"


def test_a_report_is_counted_over_all_its_suites(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites>"
        '<testsuite tests="10" failures="2" errors="1" skipped="3"/>'
        '<testsuite tests="5" failures="0" errors="0" skipped="0"/>'
        "</testsuites>",
        "utf-8",
    )
    assert read_report(report) == Tally(passed=9, failed=3, skipped=3)


def test_a_report_that_was_never_written_counts_nothing(tmp_path: Path) -> None:
    assert read_report(tmp_path / "report.xml") == Tally()


def test_a_suite_with_an_error_while_collecting_has_not_passed(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="1" errors="1"/></testsuites>', "utf-8")
    assert read_report(report) == Tally(passed=0, failed=1)
