"""Replaces variables in an instruction's text.

Source: https://docs.docker.com/reference/dockerfile/#environment-replacement and BuildKit's
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/shell/lex.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")


class VariableError(ValueError):
    """A variable that is malformed, or required (``${name:?message}``) and not there."""


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return ``text`` with its variables replaced, and its quotes and escapes resolved.

    Raises:
        VariableError: a variable is malformed, or required and not set.
    """
    reader = _Reader(text, variables, escape)
    return reader.read("")


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text, self._variables, self._escape = text, variables, escape
        self._position = 0

    def read(self, end: str) -> str:
        """Read up to the character ``end``, or to the end of the text."""
        out: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            if character == end:
                return "".join(out)
            self._position += 1
            if character == "'":
                out.append(self._until("'"))
            elif character == '"':
                out.append(self._double_quoted())
            elif character == "$":
                out.append(self._variable())
            elif character == self._escape:
                out.append(self._text[self._position : self._position + 1])
                self._position += 1
            else:
                out.append(character)
        if end:
            raise VariableError(f"{end} is missing")
        return "".join(out)

    def _until(self, quote: str) -> str:
        end = self._text.find(quote, self._position)
        if end < 0:
            raise VariableError(f"the closing {quote} is missing")
        inner, self._position = self._text[self._position : end], end + 1
        return inner

    def _double_quoted(self) -> str:
        out: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            self._position += 1
            if character == '"':
                return "".join(out)
            if character == "$":
                out.append(self._variable())
            elif character == self._escape and self._position < len(self._text):
                following = self._text[self._position]
                self._position += 1
                out.append(following if following in f'"${self._escape}' else character + following)
            else:
                out.append(character)
        raise VariableError('the closing " is missing')

    def _variable(self) -> str:
        if self._text.startswith("{", self._position):
            self._position += 1
            return self._braced()
        match = _NAME.match(self._text, self._position)
        if match is None:
            return "$"
        self._position = match.end()
        return self._variables.get(match[0], "")

    def _braced(self) -> str:
        match = _NAME.match(self._text, self._position)
        if match is None:
            raise VariableError("${ is not followed by a name")
        name, self._position = match[0], match.end()
        value = self._variables.get(name)
        operator = self._operator()
        if operator == "}":
            return value or ""
        if operator in ("#", "##", "%", "%%"):
            return _without(value or "", self._closed("}"), operator)
        if operator in ("/", "//"):
            pattern = self._closed("/")
            return _replaced(value or "", pattern, self._closed("}"), everywhere=operator == "//")
        word = self._closed("}")
        given = bool(value) if operator.startswith(":") else value is not None
        if operator[-1] == "-":
            return (value or "") if given else word
        if operator[-1] == "+":
            return word if given else ""
        if given:
            return value or ""
        raise VariableError(f"{name}: {word or 'is not set'}")

    def _operator(self) -> str:
        rest = self._text[self._position :]
        for operator in ("}", ":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/"):
            if rest.startswith(operator):
                self._position += len(operator)
                return operator
        raise VariableError(f"${{…{rest[:2]} is no known modifier" if rest else "} is missing")

    def _closed(self, end: str) -> str:
        word = self.read(end)
        self._position += 1
        return word


def _pattern(glob: str, *, greedy: bool) -> str:
    """Return the regular expression of a shell pattern: ``*``, ``?`` and escapes."""
    some = ".*" if greedy else ".*?"
    out, position = "", 0
    while position < len(glob):
        character = glob[position]
        if character == "\\" and position + 1 < len(glob):
            position += 1
            out += re.escape(glob[position])
        else:
            out += some if character == "*" else "." if character == "?" else re.escape(character)
        position += 1
    return out


def _without(value: str, glob: str, operator: str) -> str:
    """Return ``value`` without the shortest (#, %) or longest (##, %%) match at one end."""
    greedy = len(operator) == 2
    if operator[0] == "#":
        match = re.match(_pattern(glob, greedy=greedy), value, re.DOTALL)
        return value[match.end() :] if match else value
    whole = re.compile(_pattern(glob, greedy=True), re.DOTALL)
    starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    start = next((s for s in starts if whole.fullmatch(value, s)), len(value))
    return value[:start]


def _replaced(value: str, glob: str, replacement: str, *, everywhere: bool) -> str:
    if not glob:
        return value
    pattern = re.compile(_pattern(glob, greedy=True), re.DOTALL)
    return pattern.sub(lambda _match: replacement, value, count=0 if everywhere else 1)
