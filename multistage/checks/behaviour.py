"""Checks of what the running container does: it starts, answers as the before image, and stops."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from multistage.checks.before import Before, links
from multistage.checks.brought import with_brought_files
from multistage.checks.not_started import start_hints
from multistage.checks.requests import (
    Answer,
    NoAnswerError,
    ask,
    end_after_answers,
    reachable_upstream,
    upstream_environment,
    wait_until_it_answers,
)
from multistage.checks.results import CheckResult, result
from multistage.dockerfile import Dockerfile
from multistage.engines import Engine, RunningContainer
from multistage.errors import LearnerError, NotPossibleHereError
from multistage.images import ImageArchive
from multistage.labs import LabFolder, Request

_STOP_SECONDS = (
    10.0  # what docker stop waits: https://docs.docker.com/reference/cli/docker/container/stop/
)
_NO_UPSTREAM = "no HTTPS address can be reached from this machine."
_CONNECT = "Connect the machine to a network and check again."
_FIRST = ("First make the container start.",)
_STOP_HINTS = (
    "Who is process 1 in the container, and does it pass the signal on?",
    "A shell in front of the program keeps the signal for itself, unless it hands over with exec; "
    "and a program ends on the signal that it listens for, which STOPSIGNAL can change.",
    'Start the program itself, in brackets: ENTRYPOINT ["/program"], and leave STOPSIGNAL out.',
)
# https://man7.org/linux/man-pages/man7/pid_namespaces.7.html, "The namespace init process"
_DEAF_HINTS = (
    "What does this program do when it is asked to end?",
    "It is process 1, which gets no signal that it does not listen for. A script hands over to "
    "the program with exec; a program that does not listen for SIGTERM is none to start first.",
)
_SHELL = re.compile("[a-z]*sh")
_ASSET_HINTS = (
    "Open the page in a browser: what is missing?",
    "The page names its scripts and styles by their paths. They must lie where those paths point, "
    "below the folder that the server serves.",
    "Copy the built folder whole, not single files out of it.",
)


def check_behaviour(
    engine: Engine,
    lab: LabFolder,
    image: ImageArchive,
    model: Dockerfile,
    *,
    image_id: str,
    before: Before,
) -> Iterator[CheckResult]:
    """Run the image once, and yield the results of all checks of its behaviour."""
    lab = with_brought_files(lab, model, image)
    upstream = reachable_upstream() if any(r.needs_network for r in lab.requests) else None
    started = time.monotonic()
    results: list[CheckResult] = []
    try:
        with engine.run(image_id, lab.port, upstream_environment(upstream)) as container:
            wait_until_it_answers(container)
            results.append(_started(time.monotonic() - started))
            results += _asked(container, lab, upstream, before)
            if (end := end_after_answers(container)) is not None:
                del results[0]  # it answered, and did not last
                raise end
            results.append(_stopped(container, image))
    except NotPossibleHereError as error:
        yield from (_unchecked(request, error.what, error.mend) for request in lab.requests)
    except LearnerError as error:
        yield from _not_started(lab, before, start_hints(lab, model, image, error), error, results)
    else:
        yield from results


def _started(seconds: float) -> CheckResult:
    title = "The container starts and answers"
    return result("starts", title, True, f"It answered after {seconds:.1f} s.", ())


def _not_started(
    lab: LabFolder,
    before: Before,
    hints: tuple[str, ...],
    error: LearnerError,
    results: list[CheckResult],
) -> Iterator[CheckResult]:
    answers = "does not answer" if isinstance(error, NoAnswerError) else "does not run"
    said = f"Not asked: the container {answers}."
    rest = [
        result("starts", "The container starts and answers", False, error.what, hints),
        *(result(f"answers-{r.path}", r.why, False, said, _FIRST) for r in lab.requests),
        *([result("assets", _ASSETS, False, said, _FIRST)] if before.assets else []),
        result("stops", _STOPS, False, said, _FIRST),
    ]
    done = {check.id: check for check in results}
    yield from (done.get(check.id, check) for check in rest)


def _asked(
    container: RunningContainer, lab: LabFolder, upstream: str | None, before: Before
) -> Iterator[CheckResult]:
    pages: dict[str, Answer] = {}
    right = True
    for request in lab.requests:
        if request.needs_network and upstream is None:
            yield _unchecked(request, _NO_UPSTREAM, _CONNECT)
            continue
        answer = ask(container.address, request.path)
        known = before.answers.get(request.path)
        answered = _answered(request, answer, known, bool(before.assets))
        yield answered
        if known is not None and known.is_page:
            pages[request.path] = answer
            right = right and answered.passed
    if before.assets and right:
        yield _assets(container, pages, before)
    elif before.assets:
        said = "Not asked: the page is not right."
        yield result("assets", _ASSETS, False, said, ("First mend the page.",))


def _unchecked(request: Request, why: str, hint: str) -> CheckResult:
    return CheckResult(
        f"answers-{request.path}", request.why, False, False, f"Not checked: {why}", (hint,)
    )


def _answered(
    request: Request, answer: Answer, before: Answer | None, has_assets: bool
) -> CheckResult:
    said = f"{request.path} answered {answer.status}" if answer.status else request.path
    passed, message = True, f"{said}."
    if answer.status != request.status or request.contains not in answer.text:
        wanted = f'without "{request.contains}" in it'
        if answer.status != request.status:
            wanted = f"not {request.status}"
        came = " ".join(answer.text.split())[:300] or "nothing"
        passed, message = False, f"{said}, {wanted}: {came}"
    elif before is not None and (differs := difference(answer, before, anew=has_assets)):
        passed, message = False, f"{said}, but not as the before image: {differs}."
    return result(f"answers-{request.path}", request.why, passed, message, request.hints)


def difference(answer: Answer, before: Answer, *, anew: bool = False) -> str:
    """Return how an answer differs from the before image's, or an empty string.

    ``anew``: a page that is built anew may name its files otherwise, by what is in them. They are
    looked at, and the page itself is not.
    """
    if answer.status != before.status:
        return f"status {answer.status}, not {before.status}"
    if media_type(answer) != media_type(before):
        return f"type {media_type(answer) or 'not said'}, not {media_type(before)}"
    if answer.digest != before.digest and not (anew and before.is_page):
        return f"another content, of {answer.length} bytes, not {before.length}"
    return ""


def media_type(answer: Answer) -> str:
    """Return an answer's type without its parameters; JavaScript has one name here."""
    said = answer.content_type.partition(";")[0].strip().lower()
    return "text/javascript" if said.endswith("javascript") else said


_ASSETS = "Everything that the page loads is served"


def _assets(
    container: RunningContainer, pages: Mapping[str, Answer], before: Before
) -> CheckResult:
    wanted = tuple(dict.fromkeys(p for path, page in pages.items() for p in links(page, path)))
    wrong = "" if wanted else "The page loads nothing; that of the before image does."
    for path in wanted:
        answer = ask(container.address, path)
        known = before.answers.get(path)
        if answer.status != HTTPStatus.OK:
            wrong = f"{path} answered {answer.status or 'nothing'}."
        elif known is not None and (differs := difference(answer, known)):
            wrong = f"{path} is not as in the before image: {differs}."
        elif answer.is_page:
            wrong = f"{path} answered with a page, in place of what it should be."
        if wrong:
            break
    count = f"{len(wanted)} file{'s' if len(wanted) != 1 else ''}."
    return result("assets", _ASSETS, not wrong, wrong or count, _ASSET_HINTS)


_STOPS = "It ends when it is asked to"


def _stopped(container: RunningContainer, image: ImageArchive) -> CheckResult:
    config = image.config.get("config") or {}
    named = str(config.get("StopSignal") or "SIGTERM")
    first = str((*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()), "")[0])
    is_deaf = not config.get("StopSignal") and not _SHELL.fullmatch(posixpath.basename(first))
    hints = _DEAF_HINTS if is_deaf else _STOP_HINTS
    if named.removeprefix("SIG") in ("KILL", "9"):
        said = "Its stop signal is SIGKILL: it is killed, and not asked."
        return result("stops", _STOPS, False, said, _STOP_HINTS)
    seconds = container.stop(_STOP_SECONDS)
    signal = named if named == "SIGTERM" else f"{named}, which STOPSIGNAL names"
    said = (
        f"It did not end within {_STOP_SECONDS:.0f} s of its stop signal, {signal}: it was killed."
    )
    if seconds is not None:
        said = f"It ended {seconds:.1f} s after its stop signal."
    return result("stops", _STOPS, seconds is not None, said, hints)
