"""The two pattern languages of a build: ``.dockerignore``, and the wildcards of COPY. Pure.

Sources: https://docs.docker.com/build/concepts/context/#dockerignore-files, moby's
https://github.com/moby/patternmatcher, and Go's https://pkg.go.dev/path/filepath#Match.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

_SPECIAL = frozenset("*?[\\")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line of a ``.dockerignore``."""

    expression: re.Pattern[str]
    includes: bool
    parts: tuple[str, ...]


class IgnoreRules:
    """What a ``.dockerignore`` leaves out of the build context."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._rules = tuple(rule for rule in map(_rule, lines) if rule)
        self._includes = tuple(rule for rule in self._rules if rule.includes)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def ignores(self, path: str) -> bool:
        """Return whether the last rule that fits ``path``, or a folder above it, leaves it out."""
        places = [path]
        while "/" in places[-1]:
            places.append(places[-1].rpartition("/")[0])
        ignored = False
        for rule in self._rules:
            if rule.includes == ignored and any(rule.expression.match(p) for p in places):
                ignored = not rule.includes
        return ignored

    def may_include_below(self, folder: str) -> bool:
        """Return whether an exception (``!``) may bring back something in an ignored folder."""
        here = folder.split("/")
        for rule in self._includes:
            if "**" in rule.parts:
                return True
            if len(rule.parts) > len(here) and all(
                _may_fit(part, name) for part, name in zip(rule.parts, here, strict=False)
            ):
                return True
        return False


def _may_fit(part: str, name: str) -> bool:
    try:
        return wildcard(part).match(name) is not None
    except ValueError:  # a bracket of the pattern holds a slash: only the whole of it says
        return True


def read_ignore_file(text: str) -> IgnoreRules:
    """Return the rules of a ``.dockerignore``.

    Raises:
        ValueError: a pattern is malformed; names it.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    return IgnoreRules([line for line in lines if not line.startswith("#")])


def _rule(line: str) -> _Rule | None:
    text = line.strip()
    includes = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        return None
    cleaned = posixpath.normpath(text).lstrip("/")
    if cleaned in ("", "."):
        return None
    return _Rule(wildcard(cleaned), includes, tuple(cleaned.split("/")))


def has_wildcard(text: str) -> bool:
    """Return whether a source of COPY is a pattern."""
    return any(character in _SPECIAL for character in text)


@functools.lru_cache(maxsize=4096)
def wildcard(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression for whole paths.

    ``*`` and ``?`` stop at a slash, ``**`` does not.

    Raises:
        ValueError: a bracket is not closed, or an escape ends the pattern.
    """
    out, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if pattern.startswith("*", position):
                position += 1
                if pattern.startswith("/", position):
                    position += 1
                    out += "(?:.*/)?"
                else:
                    out += ".*"
            else:
                out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "[":
            piece, position = _bracket(pattern, position)
            out += piece
        elif character == "\\":
            if position == len(pattern):
                raise ValueError(f"{pattern} ends with an escape")
            out += re.escape(pattern[position])
            position += 1
        else:
            out += re.escape(character)
    try:
        return re.compile(out + r"\Z", re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern} is no pattern: {error}") from error


def _bracket(pattern: str, position: int) -> tuple[str, int]:
    """Return a character class, and where it ends."""
    out = "["
    if pattern.startswith("^", position):
        out, position = "[^", position + 1
    first = True
    while first or not pattern.startswith("]", position):
        if position >= len(pattern):
            raise ValueError(f"{pattern}: a bracket is not closed")
        character = pattern[position]
        if character == "\\":
            position += 1
            if position >= len(pattern):
                raise ValueError(f"{pattern} ends with an escape")
            character = pattern[position]
        elif character == "-" and not first:
            out += "-"
            position += 1
            continue
        out += re.escape(character)
        position += 1
        first = False
    return f"(?!/){out}]", position + 1
