"""Checks of how the Dockerfile is written: its stages, their names, its commands and base images.

Only the first is required of a lab. The others tell good style from what merely works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from multistage.checks.results import CheckResult, result
from multistage.dockerfile import Dockerfile, Edge, Instruction, Stage

_MOVING = ("", "latest")
_WHOLE_LINE = ("CMD", "ENTRYPOINT", "USER", "WORKDIR", "STOPSIGNAL")


def check_structure(model: Dockerfile) -> Iterator[CheckResult]:
    """Yield the results of all checks of a Dockerfile's structure, the required one first."""
    yield _multistage(model)
    yield _stage_names(model)
    yield _copies_by_name(model)
    yield _exec_form(model)
    yield _pinned_tags(model)
    yield _stages_needed(model)


def _multistage(model: Dockerfile) -> CheckResult:
    ships = {stage.index for stage in _chain(model)}
    builders = [stage for stage in model.needed() if stage.index not in ships]
    title = "One stage builds, another one ships"
    if builders:
        names = ", ".join(stage.label for stage in builders)
        return result("multistage", title, True, f"The final stage takes from {names}.", ())
    message, hints = "It has one stage, and that ships.", _ONE_STAGE
    if len(ships) > 1:
        message = "The final stage goes on from the one that builds, and so ships all of it."
    elif len(model.stages) > 1:
        message = f"It has {len(model.stages)} stages, and the last one takes nothing from another."
        hints = _NOTHING_TAKEN
    return result("multistage", title, False, message, hints)


_ONE_STAGE = (
    "What does the image hold that only the build needs?",
    "A second FROM, below the build, starts the runtime stage.",
    "Below the build write FROM <a small base image>, and there COPY --from=<the first stage>.",
)
_NOTHING_TAKEN = (
    "What does the last stage take from the one that builds?",
    "It builds again, or copies from your folder. Let it take the artifact of the builder stage.",
    "In the last stage: COPY --from=<the first stage> <path there> <path here>",
)


def _chain(model: Dockerfile) -> list[Stage]:
    """Return the final stage, and the stages that it builds on by FROM."""
    chain = [model.final]
    while chain[-1].base_stage is not None:
        chain.append(model.stages[chain[-1].base_stage])
    return chain


def _copies(model: Dockerfile) -> list[tuple[Edge, str]]:
    """Return each copy from another stage, and what stands behind ``--from=``."""
    flags = {i.line: i.flag("from") or "" for i in model.instructions}
    return [
        (edge, flags.get(edge.line, ""))
        for edge in model.edges
        if edge.kind == "copy" and isinstance(edge.source, int)
    ]


def _stage_names(model: Dockerfile) -> CheckResult:
    nameless = [e for e, _ in _copies(model) if model.stages[int(e.source)].name is None]
    line = model.stages[int(nameless[0].source)].line if nameless else 0
    return result(
        "stage-names", "Stages that are copied from have a name", not nameless,
        f"The stage of line {line} has none." if nameless else "They have.",
        ("A name says what a stage is for.", "Give it one with AS.",
         f"Line {line}: FROM {model.stages[int(nameless[0].source)].base} AS build"
         if nameless else ""),
        required=False,
    )  # fmt: skip


def _copies_by_name(model: Dockerfile) -> CheckResult:
    by_number = [(edge, said) for edge, said in _copies(model) if said.isdigit()]
    edge, said = by_number[0] if by_number else (None, "")
    name = model.stages[int(edge.source)].name if edge else ""
    return result(
        "copies-by-name", "COPY --from names its stage", not by_number,
        f"Line {edge.line} has --from={said}, a stage's number." if edge else "It does.",
        ("What happens to that number when somebody puts a stage in front?",
         "A name stays right when stages move; a number does not.",
         f"COPY --from={name or 'build'} …"),
        required=False,
    )  # fmt: skip


def _exec_form(model: Dockerfile) -> CheckResult:
    found = _shell_form(model)
    return result(
        "exec-form", "CMD and ENTRYPOINT are in exec form", found is None,
        f"Line {found.line} has a shell start the program." if found else "They are.",
        ("Who is process 1 in the container: the program, or a shell?",
         "A shell in between may keep the signal that asks the program to end, and needs a shell "
         "in the image.",
         f'{found.keyword} ["/program", "argument"]' if found else ""),
        required=False,
    )  # fmt: skip


def _shell_form(model: Dockerfile) -> Instruction | None:
    """Return the command of the final image that a shell starts; that of a base is not seen."""
    commands: dict[str, Instruction] = {}
    for stage in reversed(_chain(model)):
        own = {i.keyword: i for i in stage.instructions if i.keyword in ("ENTRYPOINT", "CMD")}
        if "ENTRYPOINT" in own:  # it resets the CMD that was there before it
            commands.clear()
        commands |= own
    return next((said for said in commands.values() if not said.json), None)


def trailing_comment(model: Dockerfile) -> int | None:
    """Return the line of a command or user of the final image with a comment behind it."""
    for instruction in model.final.instructions:
        text = instruction.keyword in _WHOLE_LINE and not instruction.json
        if text and re.search(r"\s#", instruction.original):
            return instruction.line
    return None


def _pinned_tags(model: Dockerfile) -> CheckResult:
    loose = [image for image in model.external_images() if _tag(image.name) in _MOVING]
    return result(
        "pinned-tags", "Base images have a tag that says a version", not loose,
        f"Line {loose[0].line}: {loose[0].name} is whatever is newest when it is pulled."
        if loose else "They have.",
        ("Will this Dockerfile build the same thing in a year?",
         "No tag means latest, and latest is another image every few weeks.",
         "Name a version: node:24-alpine, golang:1.27"),
        required=False,
    )  # fmt: skip


def _tag(image: str) -> str:
    """Return an image's tag, its digest where it has one, or nothing."""
    name, _, digest = image.partition("@")
    return digest or name.rpartition("/")[2].partition(":")[2]


def _stages_needed(model: Dockerfile) -> CheckResult:
    skipped = model.skipped()
    return result(
        "stages-needed", "Every stage is needed by the final image", not skipped,
        f"Nothing depends on {skipped[0].label} (line {skipped[0].line}): it is never built."
        if skipped else "It is.",
        ("Which stages did the build run?",
         "A stage that nobody copies from is skipped, its tests too.",
         "Remove it, or have the last stage copy something from it."),
        required=False,
    )  # fmt: skip
