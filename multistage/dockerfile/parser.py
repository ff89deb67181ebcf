"""Text to instructions: lines, comments, continuations, here-documents, flags, JSON form.

Source: https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/parser.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from multistage.dockerfile import words
from multistage.dockerfile.errors import DockerfileError, did_you_mean
from multistage.dockerfile.heredocs import Heredoc, heredocs_of

__all__ = ["FLAGS", "Heredoc", "Instruction", "ParsedFile", "parse_instructions"]

_MAX_BYTES = 1 << 20
_MAX_LINE = 65535  # bufio.MaxScanTokenSize, the longest line that BuildKit reads
_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)$", re.ASCII)
_BLANKS = " \t\r\f\v"
_DIRECTIVES = {"syntax", "escape", "check"}
_JSON_KEYWORDS = {"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"}
_LIST_KEYWORDS = {"ADD", "COPY", "EXPOSE", "FROM", "VOLUME"}
_HEREDOC_KEYWORDS = {"ADD", "COPY", "RUN"}

# The flags of the Dockerfile reference, by instruction.
FLAGS: dict[str, frozenset[str]] = {
    "ADD": frozenset(["keep-git-dir", "checksum", "chown", "chmod", "link", "exclude", "unpack"]),
    "COPY": frozenset(["from", "chown", "chmod", "link", "parents", "exclude"]),
    "FROM": frozenset({"platform"}),
    "HEALTHCHECK": frozenset(["interval", "timeout", "start-period", "start-interval", "retries"]),
    "RUN": frozenset(["mount", "network", "security", "device"]),
}
KEYWORDS = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
]
_REPEATABLE_FLAGS = {"mount", "exclude", "device"}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        keyword: in capitals.
        flags: as written, for example ``--from=builder``; quotes are gone.
        values: the arguments as BuildKit splits them: one text for a shell form, the items
            of a JSON form, names and values in turn for ENV and LABEL.
        json: whether it is in JSON (exec) form.
        heredocs: its here-documents.
        line: its first line, from 1.
        end_line: its last line, here-documents included.
        original: its text, continued lines joined.
        onbuild: the instruction that an ONBUILD carries.
    """

    keyword: str
    flags: tuple[str, ...]
    values: tuple[str, ...]
    json: bool
    heredocs: tuple[Heredoc, ...]
    line: int
    end_line: int
    original: str
    onbuild: Instruction | None = None

    def flag(self, name: str) -> str | None:
        """Return the value of ``--name=value``, empty for a bare ``--name``, else ``None``."""
        return next(iter(self.all_flags(name)), None)

    def all_flags(self, name: str) -> list[str]:
        """Return the values of every ``--name=value``, in order."""
        parts = (flag.removeprefix("--").partition("=") for flag in self.flags)
        return [value for key, _, value in parts if key == name]


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A Dockerfile's instructions and parser directives."""

    path: str
    directives: dict[str, str]
    escape: str
    instructions: tuple[Instruction, ...]


def parse_instructions(text: str | bytes, path: str = "Dockerfile") -> ParsedFile:
    """Return the instructions of a Dockerfile, whether or not its stages make sense.

    Raises:
        DockerfileError: BuildKit's parser would refuse it.
    """
    lines = _lines(text, path)
    directives = _directives(lines, path)
    escape = directives.get("escape", "\\")
    instructions = tuple(_instructions(lines, escape, path))
    if not instructions:
        raise DockerfileError(
            "This Dockerfile has no instructions.",
            path=path, line=max(1, len(lines)), mend="Begin with: FROM <base image>",
        )  # fmt: skip
    return ParsedFile(path, directives, escape, instructions)


def _lines(text: str | bytes, path: str) -> list[str]:
    if len(text) > _MAX_BYTES:
        raise DockerfileError(
            f"This file has {len(text):,} characters; a Dockerfile of more than {_MAX_BYTES:,} "
            "is taken for something else.",
            path=path, line=1, mend="Name the Dockerfile with --file.",
        )  # fmt: skip
    if isinstance(text, bytes):
        text = _decoded(text, path)
    if "\0" in text:
        raise DockerfileError(
            "This is a binary file, not a Dockerfile.",
            path=path, line=text[: text.index("\0")].count("\n") + 1,
            mend="Name the Dockerfile with --file.",
        )  # fmt: skip
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > _MAX_LINE:
            raise DockerfileError(
                f"This line has {len(line):,} characters; {_MAX_LINE:,} is the most.",
                path=path, line=number, mend="Break it up with continuations, or copy a file.",
            )  # fmt: skip
    return lines


def _decoded(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        binary = b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16
        raise DockerfileError(
            "This is a binary file, not a Dockerfile." if binary else "This is not UTF-8 text.",
            path=path, line=data[: error.start].count(b"\n") + 1,
            mend="Name the Dockerfile with --file." if binary else "Save the file as UTF-8.",
        ) from error  # fmt: skip


def _directives(lines: list[str], path: str) -> dict[str, str]:
    """Return the parser directives: comments of the form ``# name=value`` at the very top."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.strip(_BLANKS))
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break  # an unknown directive is a comment, and a comment ends the directives
        if name in found:
            raise DockerfileError(
                f"The parser directive {name} is given twice.",
                path=path, line=number, mend="Leave one of them out.",
            )  # fmt: skip
        found[name] = match[2]
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileError(
                f"The escape character cannot be {match[2]!r}.",
                path=path, line=number, mend="Use \\ or `.",
            )  # fmt: skip
    return found


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _instructions(lines: list[str], escape: str, path: str) -> Iterator[Instruction]:
    continuation = re.compile(rf"(^|[^{re.escape(escape)}]){re.escape(escape)}[ \t]*$")
    position = 0
    while position < len(lines):
        line = lines[position].rstrip("\r").lstrip()
        position += 1
        start = position
        if line.startswith("#"):
            continue
        text, continued = _continued(line, continuation)
        if not continued and not text:
            continue
        while continued and position < len(lines):
            line = lines[position].rstrip("\r")
            position += 1
            if _is_comment(line) or not line.strip():
                continue
            piece, continued = _continued(line, continuation)
            text += piece
        if not text.strip():
            raise DockerfileError(
                f"The {escape} at the end of this line continues nothing.",
                path=path, line=start, mend=f"Take the {escape} away.",
            )  # fmt: skip
        instruction = _instruction(text, escape, path, start)
        announced = _announced_heredocs(instruction)
        heredocs, position = _read_heredocs(announced, lines, position, path, start)
        carried = instruction.onbuild
        if carried is not None:
            carried = replace(carried, heredocs=heredocs, end_line=position)
        yield replace(instruction, heredocs=heredocs, end_line=position, onbuild=carried)


def _continued(line: str, continuation: re.Pattern[str]) -> tuple[str, bool]:
    match = continuation.search(line)
    return (line[: match.end(1)], True) if match else (line, False)


def _announced_heredocs(instruction: Instruction) -> list[Heredoc]:
    carrier = instruction.onbuild or instruction
    if carrier.keyword not in _HEREDOC_KEYWORDS or carrier.json or "<<" not in carrier.original:
        return []
    return heredocs_of(carrier.original)


def _read_heredocs(
    announced: list[Heredoc], lines: list[str], position: int, path: str, start: int
) -> tuple[tuple[Heredoc, ...], int]:
    heredocs = []
    for heredoc in announced:
        content = []
        while True:
            if position >= len(lines):
                raise DockerfileError(
                    f"The here-document {heredoc.name} has no end.",
                    path=path, line=start,
                    mend=f"Put {heredoc.name} alone on the line after its last one.",
                )  # fmt: skip
            line = lines[position]
            position += 1
            end = line.rstrip("\r")
            if (end.lstrip("\t") if heredoc.chomp else end) == heredoc.name:
                break
            content.append(line + "\n")
        heredocs.append(replace(heredoc, content="".join(content)))
    return tuple(heredocs), position


def _instruction(text: str, escape: str, path: str, line: int) -> Instruction:
    keyword, rest = words.split_first(text)
    keyword = keyword.upper()
    if keyword not in KEYWORDS:
        raise DockerfileError(
            f"{keyword} is not a Dockerfile instruction.",
            path=path, line=line,
            mend=_NO_KEYWORDS.get(keyword) or did_you_mean(keyword, KEYWORDS) or _NO_KEYWORD,
        )  # fmt: skip
    flags, rest = words.take_flags(rest)
    _check_flags(keyword, flags, path, line)
    rest = rest.strip()
    if keyword == "ONBUILD":
        return _onbuild(_Carrier(text, tuple(flags), path, line), rest, escape)
    try:
        values, is_json = _values(keyword, rest, escape)
    except words.NotStrings as error:
        raise DockerfileError(
            f"The JSON form of {keyword} takes texts only.",
            path=path, line=line, mend='Put every item in double quotes: ["a", "b"]',
        ) from error  # fmt: skip
    except ValueError as error:
        comment = ", and a comment on a line of its own." if " #" in rest else ""
        mend = f"Write: {_USAGE[keyword]}{comment}"
        raise DockerfileError(f"{keyword}: {error}.", path=path, line=line, mend=mend) from error
    if not values and not (is_json or keyword in ("RUN", "CMD", "ENTRYPOINT", "SHELL")):
        raise DockerfileError(
            f"{keyword} has nothing behind it.",
            path=path,
            line=line,
            mend=f"Write: {_USAGE[keyword]}",
        )
    return Instruction(keyword, tuple(flags), values, is_json, (), line, line, text)


_NO_KEYWORDS = {
    "AS": "AS belongs at the end of the FROM line: FROM <image> AS <stage>",
}
_NO_KEYWORD = "Is RUN missing in front of it, or a \\ at the end of the line above?"
_USAGE = {
    "ADD": "ADD <source> <destination>",
    "ARG": "ARG <name>[=<default>]",
    "COPY": "COPY [--from=<stage>] <source> <destination>",
    "ENV": "ENV <name>=<value>",
    "EXPOSE": "EXPOSE <port>",
    "FROM": "FROM <base image> [AS <stage>]",
    "HEALTHCHECK": "HEALTHCHECK CMD <command>, or HEALTHCHECK NONE",
    "LABEL": "LABEL <name>=<value>",
    "MAINTAINER": "MAINTAINER <name>",
    "ONBUILD": "ONBUILD <instruction>, for example ONBUILD COPY . .",
    "STOPSIGNAL": "STOPSIGNAL <signal>",
    "USER": "USER <user>",
    "VOLUME": "VOLUME <folder>",
    "WORKDIR": "WORKDIR <folder>",
}


@dataclass(frozen=True, slots=True)
class _Carrier:
    """An ONBUILD, before what it carries is read."""

    original: str
    flags: tuple[str, ...]
    path: str
    line: int


def _onbuild(carrier: _Carrier, rest: str, escape: str) -> Instruction:
    path, line = carrier.path, carrier.line
    if not rest:
        raise DockerfileError(
            "ONBUILD has nothing behind it.",
            path=path, line=line, mend=f"Write: {_USAGE['ONBUILD']}",
        )  # fmt: skip
    keyword = words.split_first(rest)[0].upper()
    if keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise DockerfileError(
            f"ONBUILD cannot carry {keyword}.", path=path, line=line,
            mend="Carry another instruction, for example RUN or COPY.",
        )  # fmt: skip
    carried = _instruction(rest, escape, path, line)
    return Instruction(
        "ONBUILD", carrier.flags, (), False, (), line, line, carrier.original, carried
    )


_FLAGS_OF = {"from": "--from belongs to COPY: COPY --from=<stage> <source> <destination>"}


def _check_flags(keyword: str, flags: list[str], path: str, line: int) -> None:
    allowed = FLAGS.get(keyword, frozenset())
    seen = set()
    for flag in flags:
        name = flag.removeprefix("--").partition("=")[0]
        if name not in allowed:
            known = ", ".join(f"--{known}" for known in sorted(allowed))
            mend = did_you_mean(f"--{name}", [f"--{a}" for a in allowed]) or _FLAGS_OF.get(name)
            raise DockerfileError(
                f"{keyword} has no flag --{name}.", path=path, line=line,
                mend=mend or (f"It takes {known}." if known else "It takes no flags."),
            )  # fmt: skip
        if name in seen and name not in _REPEATABLE_FLAGS:
            raise DockerfileError(
                f"{keyword} is given --{name} twice.", path=path, line=line,
                mend="Leave one of them out.",
            )  # fmt: skip
        seen.add(name)


def _values(keyword: str, rest: str, escape: str) -> tuple[tuple[str, ...], bool]:
    if keyword in _JSON_KEYWORDS and (items := words.json_strings(rest)) is not None:
        return tuple(items), True
    if keyword in _LIST_KEYWORDS:
        return tuple(words.split_blanks(rest)), False
    if keyword in ("ENV", "LABEL"):
        return tuple(_names_and_values(rest, escape)), False
    if keyword == "ARG":
        return tuple(words.split_quoted(rest, escape)), False
    if keyword == "HEALTHCHECK":
        return _healthcheck(rest)
    return ((rest,) if rest else ()), False


def _healthcheck(rest: str) -> tuple[tuple[str, ...], bool]:
    if not rest:
        return (), False
    kind, command = words.split_first(rest)
    if (items := words.json_strings(command)) is not None:
        return (kind, *items), True
    return ((kind, command) if command else (kind,)), False


def _names_and_values(rest: str, escape: str) -> Iterator[str]:
    """Yield names and values in turn, of ``name=value …`` or of the old form ``name value``."""
    parts = words.split_quoted(rest, escape)
    if parts and "=" not in parts[0]:
        name, value = words.split_first(rest)
        if not value:
            raise ValueError(f"{name} has no value")
        yield from (name, value)
        return
    for part in parts:
        if "=" not in part:
            raise ValueError(f"{part} has no = sign")
        name, _, value = part.partition("=")
        yield from (name, value)
