"""Why a build stopped: an engine's error with its line, and with what is known of its cause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from multistage.advice import Advised, Failure, advise
from multistage.dockerfile import Dockerfile, Stage
from multistage.dockerfile.steps import step_numbers, step_stage
from multistage.engines.events import BuildLog
from multistage.errors import (
    BuildCancelledError,
    CourseError,
    LearnerError,
    MachineError,
    UsageError,
)

_MOUNT = re.compile(r"/\S*?/(?:buildkit-mount\d+|overlay2/\w+/merged)(?=/)")
_PACKAGES = re.compile(r"\bno command (apk|apt|apt-get)\.")
_NOT_IN_SOURCE = ("source-not-in-stage", "not-in-base")


def explained(
    error: CourseError, model: Dockerfile, log: BuildLog, stand_ins: Sequence[str] = ()
) -> CourseError:
    """Return the error with its line, and with what its message means, where that is known.

    The engine's own words stay, without paths of its machine: they are what the learner meets
    elsewhere. ``stand_ins``: the base images of the build that are stand-ins. That a build is no
    longer wanted needs no explanation.
    """
    if isinstance(error, BuildCancelledError):
        return error
    located = _located(error, model, log)
    advised = advise(_failure(located, model, log))
    if advised is None:
        return located
    words = advised.said
    what = located.what if words in located.what else f"{located.what}\n    {words}"
    text = (
        _image_for_stage(model, located, advised)
        or _lacking_stand_in(model, located, advised, stand_ins)
        or advised.text
    )
    return _changed(located, _MOUNT.sub("", what), located.where, text)


def _failure(error: CourseError, model: Dockerfile, log: BuildLog) -> Failure:
    failed = log.failed()
    if failed is not None and not failed.error.endswith("context canceled"):
        output = "".join(log.output.get(failed.step.id, []))
        return Failure(failed.error, output, failed.step.name)
    # BuildKit may end before it has told which step failed: its line says that.
    stopped = [text for step, text in log.output.items() if step not in log.finished]
    lines = {str(i.line): i.original for stage in model.stages for i in stage.instructions}
    return Failure(
        error.said or error.what, "".join(chain(*stopped)), f"] {lines.get(_line(error), '')}"
    )


def _located(error: CourseError, model: Dockerfile, log: BuildLog) -> CourseError:
    """Return the error with its line, which older engines leave out, from the step that failed."""
    failed = log.failed()
    if failed is None or not error.where.startswith(model.path):
        return error
    for stage in model.stages:
        if step_stage(model, stage) == failed.step.stage:
            for line, number in step_numbers(stage).items():
                if number == failed.step.number:
                    where = f"{model.path}:{line}"
                    return _changed(error, error.what, where, error.mend)
    return error


def _image_for_stage(model: Dockerfile, error: CourseError, advised: Advised) -> str:
    """Return that --from names an image, where a copy did not find its source there."""
    if advised.advice.name not in _NOT_IN_SOURCE:
        return ""
    for edge in model.edges:
        if isinstance(edge.source, str) and edge.kind == "copy" and str(edge.line) == _line(error):
            above = ", ".join(stage.title for stage in model.stages[: edge.target])
            stages = f" Your stages above: {above}." if above else ""
            return (
                f"{edge.source} is an image, not a stage of yours: it is taken as it is pulled, "
                f"without what your steps made.{stages} To take from a stage, name it behind "
                "--from=."
            )
    return ""


def _lacking_stand_in(
    model: Dockerfile, error: CourseError, advised: Advised, stand_ins: Sequence[str]
) -> str:
    """Return that only the stand-in lacks a package manager, where the base image has one."""
    tool = _PACKAGES.search(advised.text)
    stage = next((s for s in reversed(model.stages) if _holds(s, _line(error))), None)
    while stage is not None and stage.base_stage is not None:
        stage = model.stages[stage.base_stage]
    if tool is None or stage is None or stage.base not in stand_ins:
        return ""
    return (
        f"Only the stand-in of {stage.base} lacks {tool[1]}; the real image has it, where a "
        "registry can be reached. Here do without: copy the files from a stage that has them."
    )


def _holds(stage: Stage, line: str) -> bool:
    return any(str(instruction.line) == line for instruction in stage.instructions)


def _line(error: CourseError) -> str:
    return error.where.rpartition(":")[2]


def _changed(error: CourseError, what: str, where: str, mend: str) -> CourseError:
    kinds = (LearnerError, UsageError, MachineError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), CourseError)
    return kind(what, where=where, mend=mend, said=error.said)
