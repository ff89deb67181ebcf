"""What is wrong with a Dockerfile, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from multistage.errors import LearnerError

_LONGEST = 300  # characters of a message: a word of the file can be as long as a line


class DockerfileError(LearnerError):
    """A Dockerfile that cannot be read or modelled; ``line`` counts from 1."""

    def __init__(self, what: str, *, path: str, line: int, mend: str = "") -> None:
        if len(what) > _LONGEST:
            what = f"{what[:_LONGEST]}…"
        super().__init__(what, where=f"{path}:{line}" if line else path, mend=mend)
        self.line = line


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``Did you mean …?`` for the nearest known word, empty where none is near."""
    near = nearest(word, known)
    return f"Did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to ``word``, whatever the case, ``None`` where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(word.lower(), by_lower, 1, cutoff=0.6)
    return by_lower[near[0]] if near else None
