"""Why a build stopped, in words: right for the learner's own stages, line and base images."""

from __future__ import annotations

import pytest

from multistage.dockerfile import parse
from multistage.engines.events import BuildLog, Step, StepFinished, StepLog
from multistage.errors import BuildCancelledError, CourseError, LearnerError, MachineError
from multistage.failures import explained

TWO = """FROM node:24-alpine AS builder
RUN npm run build
FROM alpine:latest
{}
"""
APK = 'process "/bin/sh -c apk add x" did not complete successfully: exit code: 127'
WALK = "failed to walk /engine/data/tmp/buildkit-mount12/app: lstat " \
       "/engine/data/tmp/buildkit-mount12/app: no such file or directory"  # fmt: skip


def explain(
    line: str, error: str, log: str = "", *stand_ins: str, told: bool = True, said: str = ""
) -> CourseError:
    """Return what is said of line 4 of a file; ``told``: whether its step is known."""
    model = parse(TWO.format(line), "Dockerfile")
    happened = BuildLog()
    step = Step("s", f"[stage-1 2/2] {line}", "stage-1", 2, 2)
    if log:
        happened.add(StepLog(step, log))
    if told:
        happened.add(StepFinished(step, 1.0, 1.0, error=error))
    where = "Dockerfile" if told else "Dockerfile:4"
    failed = LearnerError(f"The build stopped: {error}", where=where, mend="Mend it.", said=said)
    return explained(failed, model, happened, stand_ins)


def test_an_error_gets_the_line_of_the_step_that_failed() -> None:
    assert explain("RUN x", "it broke").where == "Dockerfile:4"


def test_a_cancelled_build_stays_one_whatever_its_steps_said() -> None:
    happened = BuildLog()
    step = Step("s", "[stage-1 2/2] RUN apk add x", "stage-1", 2, 2)
    happened.add(StepLog(step, "/bin/sh: apk: not found"))
    happened.add(StepFinished(step, 1.0, 1.0, error=APK))
    cancelled = BuildCancelledError("The build was cancelled.", mend="Build again.")
    model = parse(TWO.format("RUN apk add x"), "Dockerfile")
    assert explained(cancelled, model, happened) is cancelled


def test_an_image_that_is_taken_for_a_stage_is_said_to_be_none() -> None:
    error = explain("COPY --from=node:24-alpine /app/dist /x", WALK)
    assert error.mend.startswith("node:24-alpine is an image, not a stage of yours: ")
    assert "Your stages above: builder." in error.mend
    stage = explain("COPY --from=builder /app/dist /x", WALK)
    assert "is an image" not in stage.mend


def test_paths_of_the_engines_machine_are_left_out() -> None:
    for mount in ("/engine/data/tmp/buildkit-mount12", "/var/lib/docker/overlay2/ab12/merged"):
        said = WALK.replace("/engine/data/tmp/buildkit-mount12", mount)
        error = explain("COPY --from=builder /app/dist /x", said)
        assert error.what == (
            "The build stopped: failed to walk /app: lstat /app: no such file or directory"
        )


@pytest.mark.parametrize(
    ("line", "stand_ins", "blamed"),
    [
        ("RUN apk add x", ("alpine:latest",), True),
        ("RUN apk add x", ("node:24-alpine",), False),
        ("RUN apk add x", (), False),
    ],
)
def test_a_package_manager_that_only_the_stand_in_lacks_is_no_fault_of_the_learner(
    line: str, stand_ins: tuple[str, ...], blamed: bool
) -> None:
    error = explain(line, APK, "/bin/sh: apk: not found\n", *stand_ins)
    assert error.mend.startswith("Only the stand-in of alpine:latest lacks apk;") is blamed
    other = explain(line, APK, "/bin/sh: aqk: not found\n", *stand_ins)
    assert other.mend.startswith("This stage has no command aqk.")


def test_what_the_engine_did_not_tell_of_the_step_is_found_by_its_line() -> None:
    error = explain("COPY --from=node:24-alpine /app/dist /x", "/app was not found.",
                    told=False, said=f"failed to compute cache key: {WALK}")  # fmt: skip
    assert error.mend.startswith("node:24-alpine is an image")
    shell = 'runc run failed: x: exec: "/bin/sh": stat /bin/sh: no such file or directory\n'
    error = explain("RUN apk add x", APK, shell, told=False)
    assert error.mend.startswith("This stage has no shell")
    assert error.what.endswith(shell.strip())


def test_whose_fault_it_is_stays_as_the_engine_has_it() -> None:
    failed = MachineError("no space left on device", where="Dockerfile:4")
    error = explained(failed, parse(TWO.format("RUN x"), "Dockerfile"), BuildLog())
    assert isinstance(error, MachineError)
    assert "Free some space" in error.mend
