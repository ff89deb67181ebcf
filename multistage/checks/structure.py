"""Checks of how the Dockerfile is written: its stages, their names, its commands and base images.

Only the first is required of a lab. The others tell good style from what merely works, and are left
out where the Dockerfile has nothing that they could judge.
"""

from __future__ import annotations

from collections.abc import Iterator

from multistage.checks.results import CheckResult, result
from multistage.checks.starting import chain, commands, in_exec_form
from multistage.dockerfile import Dockerfile, Edge

_MOVING = ("", "latest")


def check_structure(model: Dockerfile) -> Iterator[CheckResult]:
    """Yield the results of all checks of a Dockerfile's structure, the required one first."""
    yield _multistage(model)
    copies = _copies(model)
    if copies:
        yield _stage_names(model, copies)
        yield _copies_by_name(model, copies)
    if commands(model):
        yield _exec_form(model)
    if model.external_images():
        yield _not_latest(model)
    if model.is_multistage:
        yield _stages_needed(model)


def _multistage(model: Dockerfile) -> CheckResult:
    ships = {stage.index for stage in chain(model)}
    title = "One stage builds, another one ships"
    edges = [edge for edge in model.edges if edge.target in ships]
    taken = {edge.source for edge in edges if isinstance(edge.source, int)} - ships
    if taken:
        names = ", ".join(model.stages[index].label for index in sorted(taken))
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


def _copies(model: Dockerfile) -> list[tuple[Edge, str]]:
    """Return each copy from another stage, and what stands behind ``--from=``."""
    flags = {i.line: i.flag("from") or "" for i in model.instructions}
    return [
        (edge, flags.get(edge.line, ""))
        for edge in model.edges
        if edge.kind == "copy" and isinstance(edge.source, int)
    ]


def _stage_names(model: Dockerfile, copies: list[tuple[Edge, str]]) -> CheckResult:
    nameless = [e for e, _ in copies if model.stages[int(e.source)].name is None]
    line = model.stages[int(nameless[0].source)].line if nameless else 0
    return result(
        "stage-names", "Stages that are copied from have a name", not nameless,
        f"The stage of line {line} has none." if nameless else "They have.",
        ("A name says what a stage is for.", "Give it one with AS.",
         f"Line {line}: FROM {model.stages[int(nameless[0].source)].base} AS build"
         if nameless else ""),
        required=False,
    )  # fmt: skip


def _copies_by_name(model: Dockerfile, copies: list[tuple[Edge, str]]) -> CheckResult:
    by_number = [(edge, said) for edge, said in copies if said.isdigit()]
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
    found = next((command for command in commands(model) if not command.json), None)
    return result(
        "exec-form", "CMD and ENTRYPOINT are in exec form", found is None,
        f"Line {found.line} has a shell start the program." if found else "They are.",
        ("Who is process 1 in the container: the program, or a shell?",
         "A shell in between may keep the signal that asks the program to end, and needs a shell "
         "in the image.",
         in_exec_form(found) if found else ""),
        required=False,
    )  # fmt: skip


def _not_latest(model: Dockerfile) -> CheckResult:
    loose = [image for image in model.external_images() if _tag(image.name) in _MOVING]
    return result(
        "not-latest", "No base image is latest", not loose,
        f"Line {loose[0].line}: {loose[0].name} is whatever is newest when it is pulled."
        if loose else "None is.",
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
