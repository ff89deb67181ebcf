"""Every notebook runs from top to bottom, with the starters and with the solutions in place."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.course import NOTEBOOKS, copy_course, environment

_CELL_SECONDS = 600


# An address at which no Docker Engine answers: the notebooks then build without one.
_NOBODY = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
_ENGINES: dict[str, dict[str, str]] = {"docker": {}, "daemonless": _NOBODY}


def run_nbval(course: Path, engine: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run all notebooks of a copy of the course under nbval, and print the slowest cells."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += [f"--rootdir={course}", "--nbval-current-env", "--durations=5"]
    command += [f"--nbval-cell-timeout={_CELL_SECONDS}", *options, "notebooks"]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=course, env={**environment(course), **_ENGINES[engine]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(f"{engine}, {options[0]}: {time.monotonic() - began:.0f} s")
    print("\n".join(line for line in done.stdout.splitlines() if " call " in line))
    return done


def code_cells() -> int:
    """Return how many cells nbval has to run."""
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    return sum(cell.cell_type == "code" for cell in cells)


def assert_all_cells_passed(result: subprocess.CompletedProcess[str]) -> None:
    match = re.search(r"(\d+) passed", result.stdout)
    passed = int(match[1]) if match else 0
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert passed == code_cells()


pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("engine", _ENGINES),
]


def test_every_cell_runs_with_the_starters_in_place(tmp_path: Path, engine: str) -> None:
    course = copy_course(tmp_path / "course", solved=False)
    assert_all_cells_passed(run_nbval(course, engine, "--nbval-lax"))


def test_every_cell_shows_what_is_stored_with_the_solutions_in_place(
    tmp_path: Path, engine: str
) -> None:
    course = copy_course(tmp_path / "course", solved=True)
    sanitize = Path(__file__).with_name("sanitize.cfg")
    assert_all_cells_passed(
        run_nbval(course, engine, "--nbval", f"--nbval-sanitize-with={sanitize}")
    )
