"""Splits an instruction's text the ways BuildKit's parser does.

Source: https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/line_parsers.go
"""

from __future__ import annotations

import json
import re

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class NotStrings(ValueError):
    """A JSON array that holds something other than strings."""


def split_blanks(text: str) -> list[str]:
    """Split at blanks, as FROM, EXPOSE and the shell form of COPY do."""
    return _BLANKS.split(text) if text else []


def split_first(text: str) -> tuple[str, str]:
    """Return the first word and the rest."""
    first, *rest = _BLANKS.split(text.strip(), maxsplit=1)
    return first, "".join(rest)


def split_quoted(text: str, escape: str) -> list[str]:
    """Split at blanks outside quotes; quotes and escapes stay, as in ENV, LABEL and ARG."""
    words: list[str] = []
    word, quote, started = "", "", False
    characters = iter(text)
    for character in characters:
        if not quote and character.isspace():
            if started:
                words.append(word)
            word, started = "", False
            continue
        if character == escape and quote != "'":
            following = next(characters, None)
            if following is None:  # an escape at the very end is dropped
                break
            word, started = word + character + following, True
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        word, started = word + character, True
    if started:
        words.append(word)
    return words


def take_flags(text: str) -> tuple[list[str], str]:
    """Return the leading ``--flags`` and the rest. ``--`` alone ends the flags."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, position = _flag(text, position)
        if word == "--":
            return flags, text[position:]
        flags.append(word)


def _flag(text: str, position: int) -> tuple[str, int]:
    """Return one flag without its quotes and escapes, and where it ends."""
    word, quote = "", ""
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            break
        if not quote and character in "'\"":
            quote = character
        elif character == "\\" and position + 1 < len(text):
            position += 1
            word += text[position]
        elif quote and character == quote:
            quote = ""
        elif character != "\\":
            word += character
        position += 1
    return word, position


def json_strings(text: str) -> list[str] | None:
    """Return a JSON array of strings, ``None`` where the text is no JSON array.

    What follows the array is ignored, as BuildKit does.

    Raises:
        NotStrings: it is an array, but not of strings.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        value, _ = json.JSONDecoder(strict=True).raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise NotStrings(text)
    return [_LONE_SURROGATES.sub("\ufffd", item) for item in value]  # as Go's encoding/json
