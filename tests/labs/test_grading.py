"""A folder of four submissions, graded for real."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from multistage.labs import ROOT, find_lab

pytestmark = [pytest.mark.docker, pytest.mark.slow]
DOES_NOT_BUILD = "FROM golang:1.27 AS build\nRUN go biuld\nFROM scratch\nCOPY --from=build /a /a\n"


def test_a_solution_passes_and_what_is_wrong_with_the_others_is_said(tmp_path: Path) -> None:
    solution = (ROOT / "solutions/go-scratch/scratch/Dockerfile").read_text("utf-8")
    texts = {
        "builds-not": DOES_NOT_BUILD,
        "misspelt": solution.replace("--from=build", "--from=biuld"),
        "solution": solution,
        "starter": find_lab("go-scratch").before_dockerfile.read_text("utf-8"),
    }
    for student, text in texts.items():
        folder = tmp_path / "submitted" / student / "go-scratch"
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(text, "utf-8")
    command = ["grade", str(tmp_path / "submitted"), "--to", str(tmp_path / "rows.csv")]
    done = subprocess.run(
        [sys.executable, "-m", "multistage", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert list(rows) == sorted(texts)
    assert [name for name, row in rows.items() if row["passed"] == "yes"] == ["solution"]
    assert rows["solution"]["required_passed"] == rows["solution"]["required"]
    assert 1_000_000 < int(rows["solution"]["unpacked_size"]) < 12_000_000
    assert {"multistage", "budget"} <= set(rows["starter"]["failed"].split("; "))
    assert rows["starter"]["error"] == ""
    assert "exit code: 2" in rows["builds-not"]["error"]
    assert "builds-not/go-scratch/Dockerfile:2" in rows["builds-not"]["error"]
    assert "There is no stage called biuld." in rows["misspelt"]["error"]
