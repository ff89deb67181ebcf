"""What a notebook gives and cannot be meant is refused in one line, before anything is built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multistage import labs, notebooks
from multistage.errors import NotPossibleHereError, UsageError
from multistage.labs import read_lab
from multistage.lessons import Example
from multistage.notebooks import Lab
from multistage.quizzes import quiz
from tests.unit.made import MadeEngine, write_lab


@pytest.fixture
def engine() -> MadeEngine:
    before = MadeEngine({"server": b"x" * 700}, fails=NotPossibleHereError("Nothing runs here."))
    return MadeEngine({"server": b"x" * 700}, before=before)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: MadeEngine) -> Lab:
    """Return a lab of a course of its own, on a made engine."""
    found = read_lab(write_lab(tmp_path, "go") / "lab.toml")
    with monkeypatch.context() as patched:
        patched.setattr(labs, "find_lab", lambda _name: found)
        lab = Lab("go")
    monkeypatch.setattr(notebooks, "choose", lambda _name=None: engine)
    monkeypatch.setenv("MULTISTAGE_PROGRESS", str(tmp_path / "progress.json"))
    return lab


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "hints as text": (lambda lab: lab.check(hints="3"), "hints=1"),
    "half a hint": (lambda lab: lab.check(hints=1.0), "hints=1"),
    "hints below none": (lambda lab: lab.check(hints=-1), "hints=1"),
    "no path": (lambda lab: lab.ask(None), 'lab.ask("/")'),
    "half a character in a path": (lambda lab: lab.ask("/\ud800"), 'lab.ask("/")'),
    "a list for a command": (lambda lab: lab.run(["ls", "/"]), '.run("ls", "/")'),
    "a number for a command": (lambda lab: lab.run(5), '.run("ls", "/")'),
    "a number among words": (lambda lab: lab.run("sleep", 5), '.run("ls", "/")'),
    "a zero byte": (lambda lab: lab.run("a\0b"), '.run("ls", "/")'),
    "half a character in a command": (lambda lab: lab.run("\ud800"), '.run("ls", "/")'),
    "a target that is a number": (lambda lab: lab.build(target=0), 'target="'),
    "rows as text": (lambda lab: lab.inside(rows="3"), "rows=8"),
    "rows that are left behind as text": (lambda lab: lab.left_behind(rows="3"), "rows=8"),
    "a folder that is a number": (lambda lab: lab.dockerfile(5), "solutions/go/scratch"),
    "a folder to try that is none": (lambda lab: lab.try_dockerfile(None), "solutions/go/scratch"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused_before_anything_is_built(
    name: str, lab: Lab, engine: MadeEngine
) -> None:
    call, example = WRONG[name]
    with pytest.raises(UsageError) as raised:
        call(lab)
    assert example in raised.value.mend
    assert "\n" not in raised.value.what
    assert engine.built == []


def test_what_can_be_meant_is_not_refused(lab: Lab) -> None:
    assert "exit code 0" in str(lab.run("sh", "-c", "echo größe\ntrue"))
    assert "Hint: " in str(lab.check(hints=3))
    assert "Hint: " not in str(lab.check(hints=0))


@pytest.mark.parametrize("name", [5, None, ["go-scratch"]])
def test_a_lab_is_named_in_words(name: Any) -> None:
    with pytest.raises(UsageError, match="no lab called"):
        Lab(name)


@pytest.mark.parametrize("answer", [5, ["a"], 0])
def test_an_answer_to_a_quiz_is_one_of_its_letters(answer: Any) -> None:
    with pytest.raises(UsageError, match="There is no choice") as raised:
        quiz("what-runs", answer)
    assert "a, b" in raised.value.mend


@pytest.mark.parametrize("name", [5, None, ["what-runs"]])
def test_a_quiz_is_named_in_words(name: Any) -> None:
    with pytest.raises(UsageError, match="no quiz called"):
        quiz(name)


@pytest.mark.parametrize("command", [["ls", "/"], 5, "a\0b"])
def test_an_examples_command_is_refused_in_the_same_way(command: Any) -> None:
    file = next(labs.ROOT.glob("examples/*/*/Dockerfile"))
    with pytest.raises(UsageError) as raised:
        Example(f"{file.parts[-3]}/{file.parts[-2]}").run(command)
    assert '.run("ls", "/")' in raised.value.mend
