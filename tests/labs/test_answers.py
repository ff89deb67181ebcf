"""Wrong answers fail their check and are told why; right ones pass, however they are written.

Each is a Dockerfile of its own below ``tests/wrong_answers`` and ``tests/right_answers``, and is
built, run and checked as a learner's is, on both engines.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from multistage.checks import CheckResult, build_and_check, requests
from multistage.engines import Engine, choose, probe
from multistage.labs import ROOT, find_lab

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGINES = ("docker", "daemonless")


@dataclass(frozen=True)
class Answer:
    """One Dockerfile that a learner may hand in."""

    dockerfile: Path

    def __str__(self) -> str:
        return f"{self.lab}/{self.dockerfile.parent.name}"

    @property
    def lab(self) -> str:
        return self.dockerfile.parent.parent.name

    def expected(self) -> dict[str, str]:
        """Return which check a wrong answer must fail, the phrase it must hold, and why."""
        text = self.dockerfile.with_name("expected.toml").read_text("utf-8")
        return {key: str(value) for key, value in tomllib.loads(text).items()}


def answers(kind: str) -> list[Answer]:
    return [Answer(file) for file in sorted((ROOT / "tests" / kind).glob("*/*/Dockerfile"))]


WRONG, RIGHT = answers("wrong_answers"), answers("right_answers")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Return each engine in turn, where this machine has it."""
    states = {state.name: state for state in probe()}
    if not states[request.param].available:
        pytest.skip(states[request.param].reason)
    return choose(str(request.param))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up sooner on a container that does not answer: all that answer do so within a second."""
    monkeypatch.setattr(requests, "_START_SECONDS", 8.0)


def check(answer: Answer, engine: Engine) -> dict[str, CheckResult]:
    """Return what the lab's checks say of an answer, by the checks' ids."""
    report, _built = build_and_check(engine, find_lab(answer.lab), answer.dockerfile)
    return {result.id: result for result in report.checks}


@pytest.mark.parametrize("kind", ["wrong", "right"])
def test_every_lab_has_answers_enough(kind: str) -> None:
    enough = {"wrong": 25, "right": 15}[kind]
    counts = Counter(answer.lab for answer in {"wrong": WRONG, "right": RIGHT}[kind])
    labs = {file.parent.name for file in ROOT.glob("labs/*/lab.toml")}
    assert {lab: counts[lab] for lab in labs if counts[lab] < enough} == {}


def test_no_answer_is_given_twice() -> None:
    texts = Counter((a.lab, a.dockerfile.read_text("utf-8")) for a in (*WRONG, *RIGHT))
    # A number in --from is right, and yet an optional check advises against it.
    twice = [key for key, count in texts.items() if count > 1 and "--from=0" not in key[1]]
    assert twice == []


@pytest.mark.parametrize("answer", WRONG, ids=str)
def test_a_wrong_answer_says_what_is_expected_of_its_check(answer: Answer) -> None:
    expected = answer.expected()
    assert set(expected) == {"check", "phrase", "why"}
    assert all(expected.values())


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", WRONG, ids=str)
def test_a_wrong_answer_fails_its_check_and_says_why(answer: Answer, engine: Engine) -> None:
    expected, results = answer.expected(), check(answer, engine)
    assert expected["check"] in results, f"only these checks were run: {', '.join(results)}"
    result = results[expected["check"]]
    if result.message.startswith("Not checked"):
        pytest.skip(result.message)
    assert not result.passed, result
    said = (result.message, *result.hints)
    assert any(expected["phrase"].lower() in line.lower() for line in said), said


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("answer", RIGHT, ids=str)
def test_a_right_answer_passes_every_required_check(answer: Answer, engine: Engine) -> None:
    failed = [r for r in check(answer, engine).values() if r.required and not r.passed]
    assert failed == []
