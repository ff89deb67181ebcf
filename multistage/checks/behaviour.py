"""Checks of what the running container does: it starts, answers as the before image, and stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from multistage.builds import Build
from multistage.checks.before import Before, links
from multistage.checks.requests import (
    START_HINT,
    Answer,
    NoAnswerError,
    ask,
    reachable_upstream,
    start_hint,
    upstream_environment,
    wait_until_it_answers,
)
from multistage.checks.results import CheckResult, result
from multistage.checks.structure import trailing_comment
from multistage.dockerfile import Dockerfile
from multistage.engines import Engine, RunningContainer
from multistage.errors import LearnerError, NotPossibleHereError
from multistage.labs import LabFolder, Request

_STOP_SECONDS = (
    10.0  # what docker stop waits: https://docs.docker.com/reference/cli/docker/container/stop/
)
_NO_UPSTREAM = "no HTTPS address can be reached from this machine."
_CONNECT = "Connect the machine to a network and check again."
_FIRST = ("First make the container start.",)
_STOP_HINTS = (
    "Who is process 1 in the container, and does it pass the signal on?",
    "A shell in front of the program keeps the signal for itself; and the program ends on the "
    "signal that it listens for, which STOPSIGNAL can change.",
    'Start the program itself, in brackets: ENTRYPOINT ["/program"], and leave STOPSIGNAL out.',
)
_ASSET_HINTS = (
    "Open the page in a browser: what is missing?",
    "The page names its scripts and styles by their paths. They must lie where those paths point, "
    "below the folder that the server serves.",
    "Copy the built folder whole, not single files out of it.",
)


def behaviour(
    engine: Engine, lab: LabFolder, build: Build, model: Dockerfile, before: Before
) -> Iterator[CheckResult]:
    """Run the image once, and yield the results of all checks of its behaviour."""
    upstream = reachable_upstream() if any(r.needs_network for r in lab.requests) else None
    started = time.monotonic()
    results: list[CheckResult] = []
    try:
        with engine.run(build.image_id, lab.port, upstream_environment(upstream)) as container:
            wait_until_it_answers(container)
            results.append(_started(time.monotonic() - started))
            for request in lab.requests:
                results += _asked(container, request, upstream, before)
            results += [_stopped(container.stop(_STOP_SECONDS))]
    except NotPossibleHereError as error:
        yield from (_unchecked(request, error.what, error.mend) for request in lab.requests)
    except LearnerError as error:
        done = {check.id for check in results}
        yield from results
        yield from _not_started(lab, before, _start_hints(lab, model, error), error, done)
    else:
        yield from results


def _started(seconds: float) -> CheckResult:
    title = "The container starts and answers"
    return result("starts", title, True, f"It answered after {seconds:.1f} s.", ())


def _not_started(
    lab: LabFolder, before: Before, hints: tuple[str, ...], error: LearnerError, done: set[str]
) -> Iterator[CheckResult]:
    if "starts" not in done:
        yield result("starts", "The container starts and answers", False, error.what, hints)
    said = "Not asked: the container does not run."
    for request in lab.requests:
        if (check := f"answers-{request.path}") not in done:
            yield result(check, request.why, False, said, _FIRST)
    if before.assets and "assets" not in done:
        yield result("assets", _ASSETS, False, said, _FIRST)
    yield result("stops", _STOPS, False, said, _FIRST)


def _start_hints(lab: LabFolder, model: Dockerfile, error: LearnerError) -> tuple[str, ...]:
    if isinstance(error, NoAnswerError):
        return (
            f"The lab asks on port {lab.port}. Who listens there?",
            f"The program must listen on port {lab.port} of all addresses: on 127.0.0.1 alone it "
            "is not reached from outside. EXPOSE does not change where it listens.",
            "Leave port and address as the app or the base image has them.",
        )
    hint = start_hint(error.what)
    idea = error.mend if hint == START_HINT and error.mend else hint
    line = trailing_comment(model)
    comment = f"Line {line}: behind an instruction a comment is part of it. Give it its own line."
    return ("Read what the container or the engine said.", idea, *([comment] if line else []))


def _asked(
    container: RunningContainer, request: Request, upstream: str | None, before: Before
) -> Iterator[CheckResult]:
    if request.needs_network and upstream is None:
        yield _unchecked(request, _NO_UPSTREAM, _CONNECT)
        return
    answer = ask(container.address, request.path)
    yield _answered(request, answer, before.answers.get(request.path))
    if before.assets and request.same and "html" in before.answers[request.path].content_type:
        yield _assets(container, answer, before)


def _unchecked(request: Request, why: str, hint: str) -> CheckResult:
    return CheckResult(
        f"answers-{request.path}", request.why, False, False, f"Not checked: {why}", (hint,)
    )


def _answered(request: Request, answer: Answer, before: Answer | None) -> CheckResult:
    said = f"{request.path} answered {answer.status}" if answer.status else request.path
    passed = answer.status == request.status and request.contains in answer.text
    message = f"{said}." if passed else f"{said}: {answer.text.strip()[:300] or 'nothing'}"
    if passed and request.same and before is not None and (differs := difference(answer, before)):
        passed, message = False, f"{said}, but not as the before image: {differs}."
    return result(f"answers-{request.path}", request.why, passed, message, request.hints)


def difference(answer: Answer, before: Answer) -> str:
    """Return how an answer differs from the before image's, or an empty string."""
    if answer.status != before.status:
        return f"status {answer.status}, not {before.status}"
    if media_type(answer) != media_type(before):
        return f"type {media_type(answer) or 'not said'}, not {media_type(before)}"
    if answer.digest != before.digest:
        return f"another content, of {answer.length} bytes, not {before.length}"
    return ""


def media_type(answer: Answer) -> str:
    """Return an answer's type without its parameters; JavaScript has one name here."""
    said = answer.content_type.partition(";")[0].strip().lower()
    return "text/javascript" if said.endswith("javascript") else said


_ASSETS = "Everything that the page loads is served"


def _assets(container: RunningContainer, page: Answer, before: Before) -> CheckResult:
    wanted = tuple(dict.fromkeys((*links(page), *before.assets)))
    for path in wanted:
        answer = ask(container.address, path)
        known = before.answers.get(path)
        differs = difference(answer, known) if known else ""
        if answer.status != HTTPStatus.OK or differs:
            said = f"{path} answered {answer.status or 'nothing'}"
            return result("assets", _ASSETS, False, f"{said}{differs and f': {differs}'}.",
                          _ASSET_HINTS)  # fmt: skip
    count = f"{len(wanted)} file{'s' if len(wanted) != 1 else ''}"
    return result("assets", _ASSETS, True, f"{count}, as in the before image.", ())


_STOPS = "It ends when it is asked to"


def _stopped(seconds: float | None) -> CheckResult:
    said = f"It did not end within {_STOP_SECONDS:.0f} s of its stop signal, and was killed."
    if seconds is not None:
        said = f"It ended {seconds:.1f} s after its stop signal."
    return result("stops", _STOPS, seconds is not None, said, _STOP_HINTS)
