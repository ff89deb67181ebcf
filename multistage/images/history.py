"""Tells whether an entry of an image's history is of an instruction of a Dockerfile.

BuildKit writes ``RUN /bin/sh -c npm ci # buildkit``; the classic builder writes
``/bin/sh -c #(nop) COPY file:… in /app``, and for RUN the command alone. Both put ``|1 NAME=value``
before a command where there are ARGs. Variables are replaced but for RUN; quotes are gone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multistage.dockerfile import Dockerfile, Instruction
from multistage.dockerfile.parser import KEYWORDS

_CLASSIC = re.compile(r"^(?:\S+ )+?#\(nop\)\s+(?P<rest>.*)$", re.DOTALL)  # the shell first
_BUILDKITS = " # buildkit"
_CHECKSUM = re.compile("(?:file|dir|multi):[0-9a-f]{64} in ")  # in place of the sources
_GLUED = re.compile(f"(?<=[^ ])(?={_CHECKSUM.pattern})")  # to --chown, by Docker Engine 20.10
_VARIABLE = re.compile(r"\$(?:\{\S*\}|\w+)")
_FLAG = re.compile(r"--(?P<name>[\w-]+)(?:=(?P<value>\S*))? ")
_FLAGS = ("chown", "chmod")  # of those that are compared where a builder shows them
_QUOTES = str.maketrans("", "", "\"'\\`")


def history_keyword(created_by: str) -> str:
    """Return the instruction keyword of a history entry."""
    keyword = _without_nop(created_by).split(" ", 1)[0].upper()
    return keyword if keyword in KEYWORDS else "RUN"


def shells_of(config: Mapping[str, Any], dockerfile: Dockerfile) -> tuple[str, ...]:
    """Return what may stand in front of a command in shell form."""
    own = (config.get("config") or {}).get("Shell") or ()
    lists = [own, *(i.values for i in dockerfile.instructions if i.keyword == "SHELL")]
    return ("/bin/sh -c", *(" ".join(map(str, words)) for words in lists))


def agrees(created_by: str, instruction: Instruction, shells: Sequence[str]) -> bool:
    """Return whether the text of a history entry is this instruction's.

    Of those that change the config alone only the keyword is compared: they make no layer.
    """
    keyword = instruction.keyword
    if history_keyword(created_by) != keyword:
        return False
    text = " ".join(_without_nop(created_by).removesuffix(_BUILDKITS).split())
    rest = text.removeprefix(f"{keyword} ")
    if keyword == "RUN":
        return _is_command(rest, instruction, shells)
    if keyword in ("ADD", "COPY"):
        return _is_copy(rest.translate(_QUOTES), instruction)
    if keyword == "WORKDIR":
        return _is_folder(rest.translate(_QUOTES), instruction.values[0].translate(_QUOTES))
    return True


def _without_nop(created_by: str) -> str:
    match = _CLASSIC.match(created_by)
    return match["rest"] if match else created_by


def _is_command(text: str, instruction: Instruction, shells: Sequence[str]) -> bool:
    for command in _commands(instruction):
        words = " ".join(command.split())
        for whole in [words] if instruction.json else [f"{shell} {words}" for shell in shells]:
            if text == whole or (text.startswith("|") and text.endswith(f" {whole}")):
                return True
    return False


def _commands(instruction: Instruction) -> Iterator[str]:
    """Yield the ways in which a RUN's command may be told."""
    command = " ".join(instruction.values)
    if not instruction.heredocs:
        yield command
        return
    yield command + "".join(f"\n{h.content}{h.name}" for h in instruction.heredocs)
    yield instruction.heredocs[0].content
    yield f"/dev/pipes/{instruction.heredocs[0].name}"  # a script of its own


def _is_copy(text: str, instruction: Instruction) -> bool:
    text = _GLUED.sub(" ", text, count=1)
    while flag := _FLAG.match(text):
        name, text = flag["name"], text[flag.end() :]
        if name in _FLAGS and not _fits(flag["value"] or "", instruction.flag(name) or ""):
            return False
    *sources, destination = instruction.values or ("",)
    if instruction.heredocs:
        names = [f"<<{heredoc.name}" for heredoc in instruction.heredocs]
        sources = [source for source in sources if "<<" not in source] + names
    checksum = _CHECKSUM.match(text)
    if checksum:
        return _fits(text[checksum.end() :], destination)
    return _fits(text, " ".join([*sources, destination]))


def _is_folder(text: str, folder: str) -> bool:
    """Compare as the classic builder tells it, tidied; a relative one lies below an earlier one."""
    whole = folder if folder.startswith(("/", "$")) else f"$ABOVE/{folder}"
    return ".." in folder or _fits(posixpath.normpath(text), posixpath.normpath(whole))


def _fits(told: str, written: str) -> bool:
    """Return whether a text is told as it was written, whatever its variables were replaced with.

    In linear time: the text is a stranger's.
    """
    first, *others = _VARIABLE.split(" ".join(written.split()).translate(_QUOTES))
    if not others:
        return told == first
    *between, last = others
    place = len(first)
    for part in between:
        place = told.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return told.startswith(first) and told.endswith(last) and place <= len(told) - len(last)
