"""The command line with the daemonless engine: build, inspect, export, doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch AS one\nCOPY Dockerfile /a\n", "utf-8")
    return folder


def multistage(*words: str, sandbox: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MULTISTAGE_SANDBOX": sandbox}
    command = [sys.executable, "-m", "multistage", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_folder_is_built_inspected_and_exported(context: Path, tmp_path: Path) -> None:
    done = multistage("build", str(context), "--engine", "daemonless", "--json")
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)
    assert built["engine"] == "daemonless"
    assert built["unpacked_size"] == (context / "Dockerfile").stat().st_size
    again = json.loads(
        multistage("inspect", built["image"], "--engine", "daemonless", "--json").stdout
    )
    assert again["unpacked_size"] == built["unpacked_size"]
    file = tmp_path / "image.tar"
    done = multistage("export", built["image"], str(file), "--engine", "daemonless", "--json")
    assert json.loads(done.stdout) == {
        "image": built["image"],
        "file": str(file),
        "size": file.stat().st_size,
    }
    with tarfile.open(file) as archive:
        assert {"oci-layout", "index.json", "manifest.json"} <= set(archive.getnames())
    assert json.loads(multistage("inspect", str(file), "--json").stdout)["unpacked_size"]


@pytest.mark.parametrize("file", ["no-such-folder/image.tar", "/no-such-folder/image.tar"])
def test_an_archive_that_cannot_be_written_is_named(file: str, context: Path) -> None:
    multistage("build", str(context), "--engine", "daemonless")
    done = multistage("export", "multistage/hello:after", file, "--engine", "daemonless")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [file, "Name another file."]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("export", "no-such:image", "x.tar", "--engine", "daemonless"), 2, "There is no image"),
        (("export", "Not A Name", "x.tar", "--engine", "daemonless"), 2, "cannot be the name"),
        (("build", ".", "--engine", "podman"), 2, "There is no engine called podman."),
        (("prune", "--keep", "much"), 2, "much is not between 0 and"),
    ],
)
def test_wrong_usage_is_one_line_and_what_to_do(
    words: tuple[str, ...], code: int, said: str, context: Path
) -> None:
    done = multistage(*(str(context) if word == "." else word for word in words))
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sandbox_that_does_not_exist_is_named(context: Path) -> None:
    done = multistage("build", str(context), "--engine", "daemonless", sandbox="jail")
    assert done.returncode == 2
    assert "There is no sandbox called jail." in done.stderr
    assert "proot" in done.stderr


def test_a_build_that_fails_names_the_line_and_shows_what_the_command_said(context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n", "utf-8")
    done = multistage("build", str(context), "--engine", "daemonless")
    assert done.returncode == 1
    assert f"{context / 'Dockerfile'}:2" in done.stderr
    assert "missing" in done.stderr


def test_a_platform_of_another_kind_is_refused_before_anything_runs(context: Path) -> None:
    text = "FROM --platform=linux/s390x nginx:alpine\nRUN false\n"
    (context / "Dockerfile").write_text(text, "utf-8")
    done = multistage("build", str(context), "--engine", "daemonless")
    assert done.returncode == 1
    assert f"{context / 'Dockerfile'}:1" in done.stderr
    assert "s390x" in done.stderr


def test_doctor_says_which_sandbox_works() -> None:
    document = json.loads(multistage("doctor", "--json").stdout)
    states = {engine["name"]: engine for engine in document["engines"]}
    assert states["daemonless"]["available"]
    assert "sandbox works" in states["daemonless"]["reason"]
