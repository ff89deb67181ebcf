"""Is the learner's image right? Each check is a small function, and has a hint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from multistage.builds import Build, read_image
from multistage.checks.requests import (
    START_HINT,
    Answer,
    ask,
    reachable_upstream,
    start_hint,
    upstream_environment,
    wait_until_it_answers,
)
from multistage.engines import Engine
from multistage.errors import LearnerError, NotPossibleHereError
from multistage.images import ImageArchive
from multistage.labs import LabFolder, Request
from multistage.units import megabytes

__all__ = [
    "Answer",
    "CheckReport",
    "CheckResult",
    "ask",
    "check_lab",
    "matches",
    "reachable_upstream",
    "start_hint",
    "upstream_environment",
    "wait_until_it_answers",
]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. ``hint`` is empty when it passed."""

    id: str
    title: str
    required: bool
    passed: bool
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of a lab's checks."""

    lab: str
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every required check passed."""
        return all(check.passed for check in self.checks if check.required)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``multistage check --json`` prints."""
        checks = [asdict(check) for check in self.checks]
        return {"lab": self.lab, "passed": self.passed, "checks": checks}


def check_lab(engine: Engine, lab: LabFolder, build: Build) -> CheckReport:
    """Run the lab's checks on a built image."""
    image = read_image(engine, build.image_id, keep_files=True)
    results = [_converted(build), *_answers(engine, lab, build), *_lean(lab, image)]
    if lab.nonroot:
        results.append(_not_root(image))
    return CheckReport(lab.name, (*results, _within_budget(lab, build)))


def _converted(build: Build) -> CheckResult:
    return CheckResult(
        "multistage", "The Dockerfile has more than one stage", True, build.is_multistage,
        f"It has {len(build.stages)} stage{'s' if len(build.stages) != 1 else ''}."
        + ("" if build.is_multistage else " Not converted yet."),
        "" if build.is_multistage else "Add a second FROM below the build: a runtime stage.",
    )  # fmt: skip


def _within_budget(lab: LabFolder, build: Build) -> CheckResult:
    passed = build.unpacked_size <= lab.budget
    return CheckResult(
        "budget", f"The image is at most {megabytes(lab.budget)} unpacked", True, passed,
        f"It is {megabytes(build.unpacked_size)}.",
        "" if passed else "Start the runtime stage from a smaller base; copy the artifact only.",
    )  # fmt: skip


def _not_root(image: ImageArchive) -> CheckResult:
    passed = image.user.partition(":")[0] not in ("", "0", "root")
    return CheckResult(
        "nonroot", "The program does not run as root", True, passed,
        f"It runs as {image.user or 'root'}.",
        "" if passed else "Add a USER to the last stage, as a number: USER 65532:65532",
    )  # fmt: skip


def _lean(lab: LabFolder, image: ImageArchive) -> Iterator[CheckResult]:
    # All layers: what a later layer deletes is shipped all the same.
    paths = [file.path for layer in image.layers for file in layer.files]
    for entry in lab.forbidden:
        pattern = entry.path.strip("/")
        found = next((path for path in paths if matches(path, pattern)), None)
        yield CheckResult(
            f"without-{pattern}", f"The image is without {entry.why}", True, found is None,
            f"/{found} is in the image." if found else "Nothing of it is in the image.",
            entry.hint if found else "",
        )  # fmt: skip


def matches(path: str, pattern: str) -> bool:
    """Return whether ``path`` is what the glob names, or lies below it."""
    places = (pattern, f"usr/{pattern}")  # in most images /bin is a link to /usr/bin
    return any(fnmatchcase(path, glob) for p in places for glob in (p, f"{p}/*"))


def _answers(engine: Engine, lab: LabFolder, build: Build) -> Iterator[CheckResult]:
    upstream = reachable_upstream() if any(r.needs_network for r in lab.requests) else None
    try:
        with engine.run(build.image_id, lab.port, upstream_environment(upstream)) as container:
            wait_until_it_answers(container)
            for request in lab.requests:
                if request.needs_network and upstream is None:
                    yield _unchecked(request, _NO_UPSTREAM, _CONNECT)
                else:
                    yield _answer_result(request, ask(container.address, request.path))
    except NotPossibleHereError as error:
        for request in lab.requests:
            yield _unchecked(request, error.what, error.mend)
    except LearnerError as error:
        hint = start_hint(error.what) if start_hint(error.what) != START_HINT else error.mend
        yield CheckResult("starts", "The container starts", True, False, error.what, hint)
        yield from (_unasked(request) for request in lab.requests)


_NO_UPSTREAM = "no HTTPS address can be reached from this machine."
_CONNECT = "Connect the machine to a network and check again."


def _unchecked(request: Request, why: str, hint: str) -> CheckResult:
    return CheckResult(
        f"answers-{request.path}", request.why, False, False, f"Not checked: {why}", hint
    )


def _unasked(request: Request) -> CheckResult:
    return CheckResult(
        f"answers-{request.path}", request.why, True, False,
        "Not asked: the container does not run.", "First make the container start.",
    )  # fmt: skip


def _answer_result(request: Request, answer: Answer) -> CheckResult:
    passed = answer.status == request.status and request.contains in answer.text
    said = f"{request.path} answered {answer.status}" if answer.status else request.path
    return CheckResult(
        f"answers-{request.path}", request.why, True, passed,
        f"{said}." if passed else f"{said}: {answer.text.strip()[:300] or 'nothing'}",
        "" if passed else request.hint,
    )  # fmt: skip
