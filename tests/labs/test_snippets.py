"""Everything that the course shows as a command is run, here or in another test."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from multistage.checks import ask
from multistage.engines import Engine
from multistage.labs import ROOT
from tests.labs.conftest import LABS

pytestmark = pytest.mark.docker
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PAGES = ("README.md", "CONTRIBUTING.md", "bases/README.md", "solutions/*/*/README.md")

# Shown command -> where it is run.
RUN_ELSEWHERE = {
    "python3 start.py": "tests/browser",
    "python3 start.py test": ".ci/run",
    "python3 start.py test --phase unit": ".github/workflows/ci.yml",
    "docker build -t myapp:multi .": "tests/labs/test_verify_snippets.py",
    "docker build -t myapp:single -f ../before/Dockerfile .": "tests/labs/test_verify_snippets.py",
    "docker images myapp": "tests/labs/test_verify_snippets.py",
    "docker tag myapp:multi myapp:1.0": "tests/labs/test_verify_snippets.py",
    "docker history myapp:multi": "tests/labs/test_verify_snippets.py",
    "docker image rm myapp:1.0": "tests/labs/test_verify_snippets.py",
    "docker build -t myapp:multi --label try=1 .": "tests/labs/test_verify_snippets.py",
    "docker build -t myapp:multi --label try=2 .": "tests/labs/test_verify_snippets.py",
    "docker image ls --filter dangling=true --filter label=try=1": "tests/labs/test_verify_snippets.py",
    "docker image prune": "tests/labs/test_verify_snippets.py",
    "docker image rm myapp:multi myapp:single": "tests/labs/test_verify_snippets.py",
}
RUN_HERE = {
    "python3 start.py setup",
    "python3 start.py test --phase unit -k labs",
    "python -m tests.notebooks.refresh",
    "python benchmarks/model.py",
    "python benchmarks/meter.py",
    "python benchmarks/watch.py",
    "docker run --rm -p 127.0.0.1:8080:80 multistage/react-nginx:after",
    "docker create --name look multistage/go-scratch:after",
    "docker cp look:/server .",
    "docker rm look",
}


def shown() -> set[str]:
    texts = [file.read_text("utf-8") for glob in _PAGES for file in ROOT.glob(glob)]
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    blocks = [block for text in texts for block in _FENCE.findall(text)]
    return {line.strip() for block in blocks for line in block.splitlines() if line.strip()}


def test_every_command_shown_is_run_somewhere() -> None:
    assert shown() == RUN_HERE | set(RUN_ELSEWHERE)


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_setup_makes_every_base_image_ready() -> None:
    assert "golang:1.27" in run("start.py", "setup")


def test_pytests_own_options_follow_the_phase() -> None:
    assert re.search(r"\d+ passed, 0 failed", run(*"start.py test --phase unit -k labs".split()))


def test_the_benchmarks_run_and_give_their_ratios() -> None:
    for script in ("model", "meter", "watch"):
        assert '"ratio' in run(f"benchmarks/{script}.py", "--rounds", "1", "--json")


def test_a_page_is_served_by_the_command_that_the_notebook_shows(engine: Engine) -> None:
    solution = ROOT / "solutions/react-nginx/nginx/Dockerfile"
    run("-m", "multistage", "build", "react-nginx", "--file", str(solution))
    command = next(line for line in shown() if line.startswith("docker run"))
    process = subprocess.Popen(command.split())
    try:
        deadline = time.monotonic() + 30
        while (answer := ask("http://127.0.0.1:8080", "/")).status != 200:
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
        assert "Build heavy, ship light" in answer.text
    finally:
        process.terminate()
        process.wait()
    assert LABS["react-nginx"].port == 80


def test_a_file_is_copied_out_of_an_image_by_the_commands_that_the_notebook_shows(
    tmp_path: Path,
) -> None:
    solution = ROOT / "solutions/go-scratch/scratch/Dockerfile"
    run("-m", "multistage", "build", "go-scratch", "--file", str(solution))
    for word in ("create", "cp", "rm"):
        command = next(line for line in shown() if line.startswith(f"docker {word} "))
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "server").read_bytes().startswith(b"\x7fELF")


def test_a_notebook_can_be_stored_again(tmp_path: Path) -> None:
    run("-m", "tests.notebooks.refresh", "00_start_here", "--to", str(tmp_path))
    stored, again = (
        nbformat.read(folder / "00_start_here.ipynb", as_version=4).cells
        for folder in (ROOT / "notebooks", tmp_path)
    )
    assert [cell.source for cell in stored] == [cell.source for cell in again]
    assert all(cell.outputs for cell in again if cell.cell_type == "code")
