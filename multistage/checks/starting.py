"""How the final image starts: the instruction that says so, and how it should be written."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from contextlib import suppress

from multistage.dockerfile import Dockerfile, Instruction, Stage

_OPERATORS = frozenset("();<>|&")  # between the commands of a shell
_EXPANDED = frozenset("$`*?~#\\")  # what a shell does not take for itself
_QUOTES = re.compile("['\u2018\u2019\u201c\u201d]")
# What nginx takes as one word is four to a shell, which also takes the semicolon for its own.
_DAEMON_OFF = re.compile(r"(?<=-g )\s*daemon\s+off;?(?=\s|$)")
_GO_BUILD = re.compile(r"\bgo +(?:build|install)\b")
_WITHOUT = r"CGO_ENABLED=0 \g<0>"
_ALONE = re.compile(r"(?:export )?CGO_ENABLED=0")
_EXAMPLE = '["/program", "argument"]'
_WHOLE_LINE = ("CMD", "ENTRYPOINT", "USER", "WORKDIR", "STOPSIGNAL")


def chain(model: Dockerfile) -> list[Stage]:
    """Return the final stage, and the stages that it builds on by FROM."""
    stages = [model.final]
    while stages[-1].base_stage is not None:
        stages.append(model.stages[stages[-1].base_stage])
    return stages


def workdir(model: Dockerfile, stage: Stage) -> str:
    """Return a stage's last WORKDIR, as the Dockerfile says it: that of its base is not known."""
    below = model.stages[stage.base_stage] if stage.base_stage is not None else None
    folder = workdir(model, below) if below else "/"
    for instruction in stage.instructions:
        if instruction.keyword == "WORKDIR":
            folder = posixpath.join(folder, instruction.values[0])
    return posixpath.normpath(folder)


def commands(model: Dockerfile) -> list[Instruction]:
    """Return ENTRYPOINT and CMD of the final image; those of a base image are not seen."""
    found: dict[str, Instruction] = {}
    for stage in reversed(chain(model)):
        own = {i.keyword: i for i in stage.instructions if i.keyword in ("ENTRYPOINT", "CMD")}
        if "ENTRYPOINT" in own:  # it resets the CMD that was there before it
            found.clear()
        found |= own
    return list(found.values())


def in_exec_form(command: Instruction) -> str:
    """Return the instruction with a JSON array; an example where only a shell knows its words."""
    words = words_of(command)
    array = json.dumps(words, ensure_ascii=False) if words else _EXAMPLE
    return f"Line {command.line}: {command.keyword} {array}"


def in_foreground(model: Dockerfile) -> str:
    """Return the command that starts nginx so that it stays, empty where none starts nginx."""
    for command in commands(model):
        words = words_of(command)
        if words and words[0].rpartition("/")[2] == "nginx":
            if "-g" in words:
                place = words.index("-g")
                del words[place : place + 2 + (words[place + 1 : place + 2] == ["daemon"])]
            array = json.dumps([*words, "-g", "daemon off;"], ensure_ascii=False)
            return f"Line {command.line}: {command.keyword} {array}"
    return ""


def without_cgo(model: Dockerfile) -> str:
    """Return the command that should build with CGO_ENABLED=0, empty where none is found."""
    runs = [i for stage in model.stages for i in stage.instructions if i.keyword == "RUN"]
    alone = next((run.line for run in runs if _ALONE.fullmatch(" ".join(run.values))), 0)
    why = f", for each RUN is a new shell, and line {alone} ends with its own" if alone else ""
    for run in runs:
        text = run.original
        if _GO_BUILD.search(text) and not run.heredocs and "CGO_ENABLED" not in text:
            return f"Line {run.line}{why}: {_GO_BUILD.sub(_WITHOUT, text, count=1)}"
    return ""


def words_of(command: Instruction) -> list[str]:
    """Return the words of a plain command; none where it is more than that."""
    text = " ".join(command.values)
    if command.json:
        return list(command.values)
    with suppress(ValueError, RecursionError):  # a quote is open, say
        if not text.startswith("["):
            return _plain_words(_DAEMON_OFF.sub("'daemon off;'", text))
        array = json.loads(_QUOTES.sub('"', text))  # meant as one, with other quotes
        return array if all(isinstance(word, str) for word in array) else []
    return []


def _plain_words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    words = words[1:] if words[:1] == ["exec"] else words
    plain = words and "=" not in words[0] and not set(text) & _EXPANDED
    return words if plain and all(set(word) - _OPERATORS for word in words) else []


def trailing_comment(model: Dockerfile) -> int | None:
    """Return the line of a command or user of the final image with a comment behind it."""
    for instruction in model.final.instructions:
        text = instruction.keyword in _WHOLE_LINE and not instruction.json
        if text and re.search(r"\s#", instruction.original):
            return instruction.line
    return None
