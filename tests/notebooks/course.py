"""Copies of the course to run notebooks in: nobody's Dockerfile is touched by a test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def copy_course(folder: Path, *, solved: bool) -> Path:
    """Copy what notebooks need to ``folder``, with all starters or all solutions in place."""
    from multistage.labs import labs

    for name in ("notebooks", "labs", "solutions", "examples", "multistage", "bases"):
        leave = shutil.ignore_patterns("__pycache__", "node_modules", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    for lab in labs(folder):
        solution = folder / "solutions" / lab.name / lab.solution / "Dockerfile"
        shutil.copyfile(solution if solved else lab.before_dockerfile, lab.dockerfile)
    return folder


def environment(course: Path) -> dict[str, str]:
    """Return the variables with which a kernel imports the kit from a copy of the course."""
    return {**os.environ, "PYTHONPATH": str(course)}
