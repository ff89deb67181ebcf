"""The commands of the lesson "Build and verify" run in its order, and do what the lesson says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from multistage.builds import prepare_bases, read_dockerfile
from multistage.engines import choose
from multistage.labs import ROOT

_FENCE = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOTEBOOK = ROOT / "notebooks/70_build_and_verify.ipynb"

pytestmark = [
    pytest.mark.docker,
    # ``docker image prune`` would remove what a contributor has on an engine of their own.
    pytest.mark.skipif(
        not (os.environ.get("MULTISTAGE_TEST_ENGINES") or os.environ.get("CI")),
        reason="removes dangling images: needs an engine that is there for the tests alone",
    ),
]


def commands() -> list[str]:
    """Return the commands of the notebook's boxes, in order."""
    cells = nbformat.read(_NOTEBOOK, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [line for block in _FENCE.findall(text) for line in block.splitlines()]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the lab's app with its solution, the bases on the engine, all clean."""
    if choose().name != "docker":
        pytest.skip("the commands are Docker's")
    folder = tmp_path / "app"
    shutil.copytree(
        ROOT / "labs/react-nginx/app", folder, ignore=shutil.ignore_patterns("node_modules")
    )
    shutil.copyfile(ROOT / "solutions/react-nginx/nginx/Dockerfile", folder / "Dockerfile")
    single = shutil.copytree(ROOT / "labs/react-nginx/before", tmp_path / "before") / "Dockerfile"
    for dockerfile in (folder / "Dockerfile", single):
        model = read_dockerfile(dockerfile, folder)
        prepare_bases(choose("docker"), model, None, lambda _line: None)
    yield folder
    names = ["myapp:multi", "myapp:1.0", "myapp:single"]
    subprocess.run(["docker", "image", "rm", *names], capture_output=True, check=False)


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        command.split(), cwd=folder, input="y\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def images_of(name: str) -> dict[str, str]:
    """Return an image's tags, and the ID behind each."""
    listed = subprocess.run(
        ["docker", "images", "--no-trunc", "--format", "json", name],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = [json.loads(line) for line in listed.splitlines()]
    return {row["Tag"]: row["ID"] for row in rows}


def test_the_commands_do_what_the_lesson_says(app: Path) -> None:
    said: list[tuple[str, str]] = []
    tags: list[dict[str, str]] = []
    for command in commands():
        said.append((command, run(command, app)))
        tags.append(images_of("myapp"))
    shown = [command for command, _output in said]
    output = dict(said)

    assert list(tags[shown.index("docker build -t myapp:multi .")]) == ["multi"]
    listed = output["docker images myapp"]
    assert re.search(r"\bmulti\b", listed)
    assert re.search(r"\bsingle\b", listed)
    two = tags[shown.index("docker tag myapp:multi myapp:1.0")]
    assert set(two) == {"multi", "1.0", "single"}
    assert two["multi"] == two["1.0"]
    assert "COPY /app/dist" in output["docker history myapp:multi"]
    assert "npm ci" not in output["docker history myapp:multi"]
    assert "Untagged: myapp:1.0" in output["docker image rm myapp:1.0"]
    assert "Deleted" not in output["docker image rm myapp:1.0"]
    assert set(tags[shown.index("docker image rm myapp:1.0")]) == {"multi", "single"}
    first, second = (tags[shown.index(command)] for command in shown if "--label" in command)
    assert first["multi"] != second["multi"]
    if "containerd" not in choose("docker").describe():
        assert "<none>" in output["docker image ls --filter dangling=true --filter label=try=1"]
        assert first["multi"] in output["docker image prune"]
    assert "Total reclaimed space" in output["docker image prune"]
    assert "Deleted: " in output["docker image rm myapp:multi myapp:single"]
    assert tags[-1] == {}


def test_every_command_warned_about_comes_behind_its_warning() -> None:
    cells = nbformat.read(_NOTEBOOK, as_version=4).cells
    cell = next(cell.source for cell in cells if "\ndocker image prune\n" in cell.source)
    warning, _, _ = cell.partition("```")
    assert "Before you run it" in warning
    assert "all* dangling images on this machine" in warning
