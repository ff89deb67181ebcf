"""The Dockerfiles of the lesson on runtime bases, over their labs' apps, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from multistage.labs import ROOT
from multistage.lacks import run_in_stage, what_is_there
from multistage.notebooks import Lab

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

ENGINES = ("docker", "daemonless")
LABS = {"go": "go-scratch", "page": "react-nginx"}  # an example's first word says its lab
FOLDERS = sorted(path.parent for path in (ROOT / "examples/bases").glob("*/Dockerfile"))
BROKEN = [folder for folder in FOLDERS if (folder / "expected-error.txt").is_file()]


def tried(folder: Path, engine: str) -> Lab:
    lab = Lab(LABS[folder.name.partition("-")[0]], engine)
    lab.try_dockerfile(str(folder.relative_to(ROOT)))
    return lab


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", [f for f in FOLDERS if f not in BROKEN], ids=lambda f: f.name)
def test_the_app_runs_on_the_base(folder: Path, engine: str) -> None:
    lab = tried(folder, engine)
    request = lab.folder.requests[0]
    answer = str(lab.ask(request.path))
    assert answer.startswith(f"{request.status}: "), answer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("folder", BROKEN, ids=lambda folder: folder.name)
def test_a_broken_example_builds_and_fails_to_start_as_the_lesson_says(
    folder: Path, engine: str
) -> None:
    expected = (folder / "expected-error.txt").read_text("utf-8").strip()
    answer = str(tried(folder, engine).ask("/"))
    assert answer.startswith("The container ended")
    assert expected in answer


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loader_that_the_program_asks_for_is_not_in_alpine(engine: str) -> None:
    folder = ROOT / "examples/bases/go-glibc-alpine"
    lab = tried(folder, engine)
    asked = str(lab.run("/bin/sh", "-c", "strings -n 8 /server | grep -m1 /ld-")).split()[-1]
    assert asked.rpartition("/")[2].startswith("ld-linux")
    assert str(lab.run("/bin/sh", "-c", f"test -e {asked}")).startswith("exit code 1:")
    said = str(run_in_stage(lab, "examples/bases/go-glibc-alpine", "build", "ldd", "/app/server"))
    assert said.startswith("exit code 0:")
    assert asked in said
    assert "libc.so.6" in said


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("folder", "path", "said"),
    [
        ("examples/bases/go-debian", "/upstream", "502: tls: failed to verify certificate"),
        ("examples/bases/go-debian", "/time?zone=Europe/Paris", "200: "),
        ("examples/bases/go-alpine", "/upstream", "200: "),
        ("examples/bases/go-alpine", "/time?zone=Europe/Paris", "500: unknown time zone"),
    ],
)
def test_each_base_lacks_what_the_lesson_says(
    folder: str, path: str, said: str, engine: str
) -> None:
    assert str(tried(ROOT / folder, engine).ask(path)).startswith(said)


def test_the_table_tells_the_bases_apart() -> None:
    lab = Lab("go-scratch")
    names = ("examples/bases/go-debian", "solutions/go-scratch/distroless")
    debian, distroless = str(
        what_is_there({name: lab.try_dockerfile(name) for name in names})
    ).splitlines()[1:]
    assert " ".join(debian.split()[1:]) == "bash, dash, sh apt, apt-get, dpkg glibc none yes yes"
    assert " ".join(distroless.split()[1:]) == "none none none yes yes yes"
