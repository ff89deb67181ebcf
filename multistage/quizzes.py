"""Quizzes: a question after each concept, and an explanation for every choice."""

from __future__ import annotations

import codecs
import html
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multistage.errors import MachineError, UsageError
from multistage.labs import ROOT
from multistage.shown import Shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUIZZES = ROOT / "notebooks" / "quizzes.toml"
_RIGHT = "Right. "
_LETTERS = "abcd"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its choices; ``explanations`` has one for each, the right one included."""

    name: str
    text: str
    choices: tuple[str, ...]
    explanations: tuple[str, ...]

    def is_right(self, index: int) -> bool:
        """Return whether the choice is the right one."""
        return self.explanations[index].startswith(_RIGHT)

    def lines(self) -> list[str]:
        """Return the question and its choices."""
        return [
            self.text,
            *(f"  {a}) {said}" for a, said in zip(_LETTERS, self.choices, strict=False)),
        ]

    def answered(self, letter: str) -> str:
        """Return what is said to an answer.

        Raises:
            UsageError: there is no such choice.
        """
        letters = tuple(_LETTERS[: len(self.choices)])
        chosen = str(letter).strip().lower()
        if chosen not in letters:
            raise UsageError(
                f"There is no choice {letter}.", mend=f"Choices: {', '.join(letters)}."
            )
        index = letters.index(chosen)
        mark = "✓" if self.is_right(index) else "✗"
        return f"{mark} {_LETTERS[index]}) {self.choices[index]}: {self.explanations[index]}"


def questions(path: Path = QUIZZES) -> dict[str, Question]:
    """Return the quizzes by name. Explanations are kept in ROT13, out of plain sight.

    Raises:
        MachineError: the file is damaged.
    """
    try:
        entries = tomllib.loads(path.read_text("utf-8"))["quiz"]
        return {name: _question(name, entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MachineError(
            f"The quizzes cannot be read: {error}.", where=str(path),
            mend="Restore them with: git checkout -- notebooks",
        ) from error  # fmt: skip


def _question(name: str, entry: dict[str, Any]) -> Question:
    choices = entry["choices"]
    return Question(
        name=name,
        text=entry["question"],
        choices=tuple(choice[0] for choice in choices),
        explanations=tuple(codecs.encode(choice[1], "rot13") for choice in choices),
    )


def quiz(name: str, answer: str | None = None) -> Any:
    """Return a question; with an answer, what is said to it.

    In JupyterLab a click on a choice answers as well.

    Raises:
        UsageError: there is no such question, or no such choice.
    """
    known = questions()
    if str(name) not in known:
        raise UsageError(f"There is no quiz called {name}.", mend=f"Quizzes: {', '.join(known)}.")
    question = known[str(name)]
    if answer is not None:
        return Shown("\n".join([question.text, question.answered(answer)]))
    return _Asked(question)


class _Asked:
    """A question as a cell shows it: buttons where widgets work, text everywhere."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def __repr__(self) -> str:
        lines = self._question.lines()
        return "\n".join([*lines, f'Answer with: quiz("{self._question.name}", "a")'])

    def _repr_mimebundle_(self, **_options: object) -> dict[str, Any]:
        return {**self._box()._repr_mimebundle_(), "text/plain": repr(self)}

    def _box(self) -> Any:
        from ipywidgets import HTML, Button, VBox

        said = HTML(f"<b>{html.escape(self._question.text)}</b>")
        reply = HTML("")
        buttons = []
        for letter, choice in zip(_LETTERS, self._question.choices, strict=False):
            button = Button(description=f"{letter}) {choice}", tooltip=choice)
            button.layout.width = "auto"
            button.style.text_align = "left"
            button.on_click(_answering(self._question, letter, reply))
            buttons.append(button)
        return VBox([said, *buttons, reply])


def _answering(question: Question, letter: str, reply: Any) -> Any:
    def answer(_button: object) -> None:
        reply.value = html.escape(question.answered(letter))

    return answer
