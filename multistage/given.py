"""What a cell gives to the course's functions: refused at once where it cannot be meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from multistage.errors import UsageError

_IN_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no path, request or command can hold


def refuse_no_text(value: object, what: str, mend: str) -> None:
    """Raise a UsageError where ``value`` is no text that can be sent on."""
    if not _is_text(value):
        raise UsageError(f"{what} is text, not {_short(value)}.", mend=mend)


def refuse_no_number(value: object, what: str, example: str) -> None:
    """Raise a UsageError where ``value`` is no whole number from 0 on."""
    if not isinstance(value, int) or value < 0:
        raise UsageError(
            f"{what} is a whole number from 0 on, not {_short(value)}.",
            mend=f"For example: {example}",
        )


def refuse_no_words(command: Sequence[object]) -> None:
    """Raise a UsageError where a command is something else than one text for each word."""
    for word in command:
        if not _is_text(word):
            raise UsageError(
                f"Each word of a command is a text of its own, not {_short(word)}.",
                mend='Write it as in: .run("ls", "/")',
            )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _IN_NO_TEXT.search(value)


def _short(value: object) -> str:
    return ascii(value)[:60]
