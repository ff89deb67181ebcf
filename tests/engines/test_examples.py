"""Every Dockerfile that a lesson shows is built here, by both engines; broken ones fail as said."""

from __future__ import annotations

from pathlib import Path

import pytest

from multistage.errors import UsageError
from multistage.labs import ROOT
from multistage.lessons import Example

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]

ENGINES = ("docker", "daemonless")
# Those of the lesson on runtime bases are built over a lab's app: tests/labs does that.
NAMES = sorted(
    str(path.parent.relative_to(ROOT / "examples"))
    for path in (ROOT / "examples").glob("*/*/Dockerfile")
    if path.parts[-3] != "bases"
)


def expected_error(name: str) -> str | None:
    path = ROOT / "examples" / name / "expected-error.txt"
    return path.read_text("utf-8").strip() if path.is_file() else None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in NAMES if not expected_error(name)])
def test_an_example_builds(name: str, engine: str) -> None:
    assert Example(name, engine).build().unpacked_size > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in NAMES if expected_error(name)])
def test_a_broken_example_fails_with_the_message_that_the_lesson_explains(
    name: str, engine: str
) -> None:
    assert str(expected_error(name)) in str(Example(name, engine).error())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stages/single", "stool.txt\nwood.txt"),
        ("stages/multi", "stool.txt"),
        ("stages/by-index", "the stool"),
        ("stages/by-index-moved", "the price list"),
        ("stages/skipped", "the stool"),
        ("stages/wrong-destination", "exit code 1: ls: /crate: No such file or directory"),
        (
            "stages/forgets",
            "builder: wood=oak colour=green user=1000 folder=/work\n"
            "runtime: wood= colour= user=0 folder=/",
        ),
    ],
)
def test_an_example_does_what_its_lesson_says(name: str, said: str, engine: str) -> None:
    assert str(Example(name, engine).run()) == said


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stage_that_nobody_needs_fails_only_when_it_is_asked_for(engine: str) -> None:
    example = Example("stages/skipped", engine)
    assert [stage.built for stage in example.build().stages] == [True, False, True]
    assert "exit code: 1" in str(example.error(target="test"))


def test_asking_for_the_error_of_an_example_that_builds_is_refused() -> None:
    with pytest.raises(UsageError, match="builds"):
        Example("stages/multi").error()


def test_an_example_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no example called stages/none"):
        Example("stages/none")


def test_every_example_is_shown_in_a_notebook() -> None:
    text = "".join(path.read_text("utf-8") for path in Path(ROOT / "notebooks").glob("*.ipynb"))
    assert not [name for name in NAMES if name not in text]
