"""Is the learner's image right? Each check is a small function, and has a hint."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from multistage.builds import Build, read_image
from multistage.engines import Engine, RunningContainer
from multistage.errors import LearnerError, NotPossibleHereError
from multistage.images import ImageArchive
from multistage.labs import LabFolder, Request
from multistage.units import megabytes

_START_SECONDS = 30.0  # how long a container may take until it answers
_ANSWER_SECONDS = 15.0
_ANSWER_BYTES = 1 << 20
_PLAIN = "/?#[]@!$&'()*+,;=:%~-._"  # what a URL may hold as it is (RFC 3986, section 2)
_UPSTREAM_CANDIDATES = ("https://example.com/", "https://www.docker.com/")


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a container answered: status 0 and the reason where it did not."""

    status: int
    text: str


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
        hint = start_hint(error.what) if start_hint(error.what) != _START_HINT else error.mend
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


def wait_until_it_answers(
    container: RunningContainer, clock: Callable[[], float] = time.monotonic
) -> None:
    """Wait until the container answers HTTP, whatever the status.

    Raises:
        LearnerError: it ended, or did not answer in time; with its log.
    """
    deadline = clock() + _START_SECONDS
    while clock() < deadline:
        exit_code = container.exit_code()
        if exit_code is not None:
            raise LearnerError(
                f"The container ended with exit code {exit_code}{_last_words(container)}",
                mend=start_hint(container.logs()),
            )
        address = container.address
        if address and ask(address, "/").status:
            return
        time.sleep(0.1)
    raise LearnerError(
        f"The container runs but did not answer within {_START_SECONDS:.0f} seconds"
        + _last_words(container),
        mend="Does the program listen on the port that EXPOSE names, on all addresses?",
    )


def _last_words(container: RunningContainer) -> str:
    lines = [line for line in container.logs().splitlines() if line.strip()]
    return f": {' / '.join(lines[-3:])[-400:]}" if lines else ", and wrote nothing to its log."


def start_hint(said: str) -> str:
    """Return what to do about a container that does not start, from what it or the engine said."""
    return next((hint for sign, hint in _START_HINTS if re.search(sign, said)), _START_HINT)


_START_HINT = "Check ENTRYPOINT and CMD of the last stage: what they start must be in that stage."
_START_HINTS = (
    (
        r'"/bin/sh": (stat|no such)|exec: "(sh|/bin/sh)"',
        "This image has no shell. Write ENTRYPOINT and CMD in brackets and double quotes: "
        'ENTRYPOINT ["/server"]',
    ),
    (r"is a directory", "The program was copied into a folder: name the file itself behind COPY."),
    (r"unable to find user", "This image has no user names: give USER a number, as in 65532:65532"),
    (
        r"^exec \S+: no such file or directory",
        "The program is there, and its C library is not: build it with CGO_ENABLED=0.",
    ),
    (
        r"permission denied",
        "The program may not be run by this user: check USER, and the file's mode (COPY --chmod).",
    ),
)


def ask(address: str, path: str) -> Answer:
    """Send a GET request to a container and return what it answered."""
    if not address:
        return Answer(0, "no answer: the container has ended")
    url = address + urllib.parse.quote(path if path.startswith("/") else f"/{path}", safe=_PLAIN)
    # A proxy of the machine has no business between this machine and its own container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        try:
            response = opener.open(url, timeout=_ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            text = response.read(_ANSWER_BYTES).decode("utf-8", "replace")
            return Answer(int(response.status or 0), text)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(0, f"no answer: {error!r}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is the answer: following it could lead to any address of this machine."""

    def redirect_request(self, *_arguments: object, **_keywords: object) -> None:
        return None


def upstream_environment(upstream: str | None) -> Mapping[str, str]:
    """Return the environment that tells an app which HTTPS address to ask."""
    return {"UPSTREAM": upstream} if upstream else {}


def reachable_upstream() -> str | None:
    """Return an HTTPS address that this machine reaches, ``None`` where there is none.

    Behind a network that lets through package downloads only, pip's own index is one.
    """
    for address in (*_UPSTREAM_CANDIDATES, *_package_index()):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return address
        except urllib.error.HTTPError:
            return address  # it answered, over HTTPS
        except OSError:
            continue
    return None


def _package_index() -> Iterator[str]:
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return
    yield PyPI.url
