"""Every notebook runs from top to bottom, with the starters and with the solutions in place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.course import NOTEBOOKS, copy_course, environment

_CELL_SECONDS = 600


def run_nbval(course: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run all notebooks of a copy of the course under nbval."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += [f"--rootdir={course}", "--nbval-current-env"]
    command += [f"--nbval-cell-timeout={_CELL_SECONDS}", *options, "notebooks"]
    return subprocess.run(
        command, cwd=course, env=environment(course), capture_output=True, text=True, check=False
    )


def code_cells() -> int:
    """Return how many cells nbval has to run."""
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    return sum(cell.cell_type == "code" for cell in cells)


def assert_all_cells_passed(result: subprocess.CompletedProcess[str]) -> None:
    match = re.search(r"(\d+) passed", result.stdout)
    passed = int(match[1]) if match else 0
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert passed == code_cells()


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_cell_runs_with_the_starters_in_place(tmp_path: Path) -> None:
    course = copy_course(tmp_path / "course", solved=False)
    assert_all_cells_passed(run_nbval(course, "--nbval-lax"))


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_cell_shows_what_is_stored_with_the_solutions_in_place(tmp_path: Path) -> None:
    course = copy_course(tmp_path / "course", solved=True)
    sanitize = Path(__file__).with_name("sanitize.cfg")
    assert_all_cells_passed(run_nbval(course, "--nbval", f"--nbval-sanitize-with={sanitize}"))
