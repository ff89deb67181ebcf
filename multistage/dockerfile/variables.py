"""Replaces variables in an instruction's text.

Source: https://docs.docker.com/reference/dockerfile/#environment-replacement and BuildKit's
https://github.com/moby/buildkit/blob/master/frontend/dockerfile/shell/lex.go
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_MAX_DEPTH = 50  # variables within the words of variables
_MAX_TAKEN = 1 << 20  # characters that one instruction takes out of variables; RUN can use fewer
_TOO_MUCH = f"the variables hold more than {_MAX_TAKEN:,} characters"


class VariableError(ValueError):
    """A variable that is malformed, or required (``${name:?message}``) and not there."""


def expand(
    text: str, variables: Mapping[str, str], escape: str = "\\", *, raw: bool = False
) -> str:
    """Return ``text`` with its variables replaced, and its quotes and escapes resolved.

    With ``raw`` quotes stay: that is how here-documents are read.

    Raises:
        VariableError: a variable is malformed, or required and not set, or they hold too much.
    """
    return _Reader(text, variables, escape, raw=raw).read("")


def arg_values(
    words: Iterable[str], build_args: Mapping[str, str], outside: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """Return the names that an ARG of a stage declares, in order, each with its value or ``None``.

    Args:
        words: what stands behind ARG, variables replaced in all of it: a word does not see what
            the words before it on the same line declare.
        build_args: values that were given; they come first, then the default in the word.
        outside: the values from before the first FROM.
    """
    found = []
    for word in words:
        name, has_default, default = word.partition("=")
        value = default if has_default else outside.get(name)
        found.append((name, build_args.get(name, value)))
    return found


class _Reader:
    def __init__(
        self, text: str, variables: Mapping[str, str], escape: str, *, raw: bool = False
    ) -> None:
        self._text, self._variables, self._escape = text, variables, escape
        self._raw = raw
        self._position = 0
        self._depth = 0
        self._taken = 0

    def read(self, end: str, *, keep_escapes: bool = False) -> str:
        """Read up to the character ``end``, or to the end of the text."""
        out: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            if character == end:
                return "".join(out)
            self._position += 1
            if character == "'" and not self._raw:
                out.append(self._until("'"))
            elif character == '"' and not self._raw:
                out.append(self._double_quoted())
            elif character == "$":
                out.append(self._variable())
            elif character == self._escape:
                following = self._text[self._position : self._position + 1]
                out.append(f"\\{following}" if keep_escapes else following)
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
        return self._value(match[0]) or ""

    def _value(self, name: str) -> str | None:
        """Return a variable's value. Doubled on every line, it would fill the memory."""
        value = self._variables.get(name)
        self._taken += len(value or "")
        if self._taken > _MAX_TAKEN:
            raise VariableError(_TOO_MUCH)
        return value

    def _braced(self) -> str:
        match = _NAME.match(self._text, self._position)
        if match is None:
            raise VariableError("${ is not followed by a name")
        name, self._position = match[0], match.end()
        value = self._value(name)
        operator = self._operator()
        if operator == "}":
            return value or ""
        if operator in ("#", "##", "%", "%%"):
            return _without(value or "", self._pattern("}"), operator)
        if operator in ("/", "//"):
            pattern = self._pattern("/")
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

    def _closed(self, end: str, *, keep_escapes: bool = False) -> str:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise VariableError(f"more than {_MAX_DEPTH} variables stand within one another")
        word = self.read(end, keep_escapes=keep_escapes)
        self._depth -= 1
        self._position += 1
        return word

    def _pattern(self, end: str) -> list[str]:
        """Return a shell pattern as tokens: ``*`` and ``?``, and literals behind a backslash."""
        glob = self._closed(end, keep_escapes=True)
        tokens, position = [], 0
        while position < len(glob):
            character = glob[position]
            if character == "\\" and position + 1 < len(glob):
                position += 1
                character = glob[position]
                tokens.append(f"\\{character}")
            else:
                tokens.append(character if character in "*?" else f"\\{character}")
            position += 1
        return tokens


def _ends(tokens: list[str], value: str, start: int) -> list[int]:
    """Return where matches of the pattern that begin at ``start`` end, in order.

    All possibilities are followed at once: trying one after the other takes forever on a
    pattern with many stars.
    """
    ends: list[int] = []
    states = _closure({0}, tokens)
    for position in range(start, len(value) + 1):
        if len(tokens) in states:
            ends.append(position)
        if not states or position == len(value):
            break
        character = value[position]
        states = _closure({n for s in states for n in _step(tokens, s, character)}, tokens)
    return ends


def _step(tokens: list[str], state: int, character: str) -> tuple[int, ...]:
    if state == len(tokens):
        return ()
    token = tokens[state]
    if token == "*":
        return (state,)
    return (state + 1,) if token in ("?", f"\\{character}") else ()


def _closure(states: set[int], tokens: list[str]) -> set[int]:
    """Return the states, and those that a star which matches nothing leads to."""
    for state in sorted(states):
        following = state
        while following < len(tokens) and tokens[following] == "*":
            following += 1
            states.add(following)
    return states


def _without(value: str, tokens: list[str], operator: str) -> str:
    """Return ``value`` without the shortest (#, %) or longest (##, %%) match at one end."""
    at_the_end = operator[0] == "%"
    if at_the_end:  # the end of a text is the beginning of its reverse
        value, tokens = value[::-1], tokens[::-1]
    ends = _ends(tokens, value, 0)
    if ends:
        value = value[ends[0] if len(operator) == 1 else ends[-1] :]
    return value[::-1] if at_the_end else value


def _replaced(value: str, tokens: list[str], replacement: str, *, everywhere: bool) -> str:
    if not tokens:
        return value
    out, position = "", 0
    while position < len(value):
        ends = _ends(tokens, value, position)
        if not ends or ends[-1] == position:
            if tokens[0] == "*":
                break  # what a star does not reach from here, it does not reach from later on
            out += value[position]
            position += 1
            continue
        out += replacement
        if len(out) > _MAX_TAKEN:
            raise VariableError(_TOO_MUCH)
        position = ends[-1]
        if not everywhere:
            break
    return out + value[position:]
