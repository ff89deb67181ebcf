"""Quizzes: every choice is answered, and the answers are not in plain sight."""

from pathlib import Path

import pytest

from multistage.errors import MachineError, UsageError
from multistage.quizzes import QUIZZES, questions, quiz

NAMES = sorted(questions())


@pytest.mark.parametrize("name", NAMES)
def test_one_choice_is_right_and_every_choice_is_explained(name: str) -> None:
    question = questions()[name]
    right = [i for i in range(len(question.choices)) if question.is_right(i)]
    assert len(right) == 1
    assert 2 <= len(question.choices) <= 4
    assert all(len(text.split()) >= 4 for text in question.explanations)


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_cannot_be_read_in_the_file_or_in_the_question(name: str) -> None:
    question, text = questions()[name], QUIZZES.read_text("utf-8")
    shown = str(quiz(name)._repr_mimebundle_()["text/plain"])
    for explanation in question.explanations:
        assert explanation not in text
        assert explanation not in shown
    assert "Right" not in text


def test_the_right_answers_are_not_always_in_the_same_place() -> None:
    places = {next(i for i in range(4) if q.is_right(i)) for q in questions().values()}
    assert len(places) > 1


def test_an_answer_is_told_whether_it_is_right_and_why() -> None:
    assert "✓ c) the compiled program: Right." in str(quiz("what-runs", "c"))
    assert "✗ a) the compiler: No." in str(quiz("what-runs", " A "))


@pytest.mark.parametrize("letter", ["", "e", "ab", "?"])
def test_a_choice_that_does_not_exist_is_refused(letter: str) -> None:
    with pytest.raises(UsageError, match="There is no choice"):
        quiz("what-runs", letter)


def test_an_unknown_quiz_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        quiz("what-flies")
    assert "what-runs" in caught.value.mend


def test_a_click_on_a_choice_answers() -> None:
    box = quiz("what-runs")._box()
    *_, reply = box.children
    box.children[3].click()
    assert "Right." in reply.value


@pytest.mark.parametrize("text", ["", "[quiz", "[quiz.a]\nquestion = 1\n", "quiz = 3"])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "quizzes.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(MachineError) as caught:
        questions(path)
    assert str(path) in caught.value.where
