"""What BuildKit refuses although its parser takes it: rules for single instructions.

Source: https://github.com/moby/buildkit/blob/master/frontend/dockerfile/instructions/parse.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from multistage.dockerfile.errors import DockerfileError
from multistage.dockerfile.parser import Instruction

_FLAG_SLIP = re.compile(r"^-(from|chown|chmod|link|parents|exclude)(=|$)")
Fault = tuple[str, str]  # what is wrong, and the mend


def check_rules(instruction: Instruction, path: str) -> None:
    """Refuse an instruction that cannot work.

    Raises:
        DockerfileError: it breaks a rule; says which, and the mend.
    """
    rule = _RULES.get(instruction.keyword)
    for what, mend in rule(instruction) if rule else ():
        raise DockerfileError(what, path=path, line=instruction.line, mend=mend)


def _named(instruction: Instruction) -> Iterator[Fault]:
    words = instruction.values[::2] if instruction.keyword != "ARG" else instruction.values
    if any(word == "" or word.startswith("=") for word in words):
        keyword = instruction.keyword
        yield f"{keyword} has no name in front of the = sign.", f"Write: {keyword} <name>=<value>"


def _with_destination(instruction: Instruction) -> Iterator[Fault]:
    if len(instruction.values) == 1:
        keyword = instruction.keyword
        yield f"{keyword} has no destination.", f"Write: {keyword} <source> <destination>"
    slips = [v for v in instruction.values[:-1] if _FLAG_SLIP.match(v)]
    if slips and not instruction.json:
        yield f"{slips[0]} is taken for a file.", f"Flags begin with two dashes: -{slips[0]}"
    origin = instruction.flag("from")
    if "--from" in instruction.flags:
        yield "COPY --from has no stage.", "Write it with = and without a blank: --from=<stage>"
    if origin and "$" in origin:
        yield (
            f"COPY --from={origin}: a variable cannot stand there.",
            "Give what it means a name first: FROM ${…} AS alias, then COPY --from=alias",
        )


def _healthcheck(instruction: Instruction) -> Iterator[Fault]:
    kind, *command = instruction.values or ("",)
    if kind.upper() not in ("CMD", "NONE"):
        yield f"HEALTHCHECK knows no {kind}.", "Write: HEALTHCHECK CMD <command>"
    elif kind.upper() == "CMD" and not command:
        yield "HEALTHCHECK CMD has no command.", "Write: HEALTHCHECK CMD <command>"


def _shell(instruction: Instruction) -> Iterator[Fault]:
    if not instruction.json:
        yield "SHELL takes the JSON form only.", 'Write, for example: SHELL ["/bin/sh", "-c"]'


_RULES: dict[str, Callable[[Instruction], Iterator[Fault]]] = {
    "ADD": _with_destination,
    "ARG": _named,
    "COPY": _with_destination,
    "ENV": _named,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _named,
    "SHELL": _shell,
}
