"""Here-documents: ``RUN <<EOF`` and ``COPY <<'EOF' /path``.

Source: https://docs.docker.com/reference/dockerfile/#here-documents and BuildKit's
parser.go, ``heredocsFromLine`` and ``ParseHeredoc``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEREDOC = re.compile(r"^([0-9]{0,18})<<(-?)([^<]*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document.

    Attributes:
        name: the word that ends it, without quotes.
        content: its lines, as they stand in the file.
        expand: whether variables in it are replaced: not where the name is quoted.
        chomp: whether leading tabs are taken off (``<<-``).
        file_descriptor: the number in front of ``<<``, 0 where there is none.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int


def heredocs_of(line: str) -> list[Heredoc]:
    """Return the here-documents that a line announces, still without content."""
    found = (_heredoc(word) for word in _shell_words(line))
    return [heredoc for heredoc in found if heredoc is not None]


def _heredoc(word: str) -> Heredoc | None:
    match = _HEREDOC.match(word)
    if match is None or not match[3]:
        return None
    raw = match[3]
    name = _unquoted(raw)
    if name is None or not name or _shell_words(raw) != [raw]:
        return None
    return Heredoc(name, "", name == raw, match[2] == "-", int(match[1] or 0))


def _shell_words(text: str) -> list[str]:
    """Split at blanks outside quotes; an escaped blank does not split. Quotes stay."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        if not quote and character.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            word += character
        position += 1
    if quote:
        return []  # BuildKit's lexer fails at an open quote, and then sees no here-document
    if word:
        words.append(word)
    return words


def _unquoted(word: str) -> str | None:
    """Return ``word`` without quotes and escapes, ``None`` where a quote stays open."""
    plain, quote, position = "", "", 0
    while position < len(word):
        character = word[position]
        if character == "\\" and quote != "'":
            following = word[position + 1 : position + 2]  # empty at the end: dropped
            keep = quote == '"' and following not in tuple('"$\\')
            plain += f"\\{following}" if keep else following
            position += 2
            continue
        if quote:
            if character == quote:
                quote = ""
            else:
                plain += character
        elif character in "'\"":
            quote = character
        else:
            plain += character
        position += 1
    return None if quote else plain
