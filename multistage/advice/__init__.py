"""What the messages mean that learners of multi-stage builds meet most, and what to do.

Pure: from what an engine said of a build that stopped to one sentence and its mend. An engine's
message and the output of the failed step are looked at apart, and the command is taken out of
the message first: else a command that has the words of a fault in it would be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from multistage.advice.table import TABLE, Advice

# Docker's three ways of saying how a command ended, and the daemonless engine's one (the first).
_ENDED = re.compile(
    r'process ".*" did not complete successfully: (?P<newer>.*)'
    r"|executor failed running \[.*\]: (?P<older>.*)"
    r"|The command '.*' returned a non-zero code: (?P<classic>\d+)",
    re.DOTALL,
)
_EXIT_CODE = re.compile(r"^exit code: (\d+)$")
_LONGEST = 2_000  # characters of a line of output that are looked at
# What the engines put before a message where no step failed.
_PREFIXES = ("The build stopped: ", "The Dockerfile cannot be read: ")


@dataclass(frozen=True, slots=True)
class Failure:
    """What an engine said of a build that stopped.

    Attributes:
        message: the engine's message.
        log: what the failed step wrote.
        step: the failed step's name, for example ``[builder 4/6] RUN npm ci``.
    """

    message: str
    log: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Advised:
    """The advice for a failure: which, in words, and the words of the engine that it rests on."""

    advice: Advice
    text: str
    said: str


def advise(failure: Failure) -> Advised | None:
    """Return the first advice that fits, ``None`` where none does."""
    message, exit_code = _without_command(failure.message.strip())
    lines = list(_lines(failure.log))
    for advice in TABLE:
        if advice.exit_codes and exit_code not in advice.exit_codes:
            continue
        step = re.search(advice.step, failure.step)
        found = _found(advice, message, lines)
        if step is not None and found is not None:
            groups = {name.rstrip("_"): said for name, said in found.groupdict().items() if said}
            text = f"{advice.means} {advice.mend}".format(**groups)
            return Advised(advice, text, found.string.strip())
    return None


def is_machine_fault(message: str) -> bool:
    """Return whether an engine's message tells of the machine, not of the Dockerfile."""
    advised = advise(Failure(message))
    return advised is not None and advised.advice.machine


def _found(advice: Advice, message: str, lines: list[str]) -> re.Match[str] | None:
    if advice.message and (match := re.search(advice.message, message)) is not None:
        return match
    if not advice.log:
        return None
    return next((m for line in lines if (m := re.search(advice.log, line)) is not None), None)


def _without_command(message: str) -> tuple[str, int | None]:
    """Return the message without the command it quotes, and the exit code it tells."""
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    match = _ENDED.search(message)
    if match is None:
        return message, None
    if match["classic"]:
        message = f"exit code: {match['classic']}"
    else:
        message = (match["newer"] or match["older"] or "").partition("\n")[0]
    code = _EXIT_CODE.match(message)
    return message, int(code[1]) if code else None


def _lines(log: str) -> Iterator[str]:
    for line in log.splitlines():
        yield line[:_LONGEST].rstrip()
