"""Asks a running container over HTTP, and says why one does not start or answer."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from multistage.engines import RunningContainer
from multistage.errors import LearnerError

_START_SECONDS = 30.0  # how long a container may take until it answers
_FIRST_PATIENCE = 1.0  # for the first answer: it grows by what the wait has taken
_ANSWER_SECONDS = 15.0
_KNOWN_SECONDS = 2.0  # within which an engine knows that a container has ended
_ANSWER_BYTES = 1 << 20
_PLAIN = "/?#[]@!$&'()*+,;=:%~-._"  # what a URL may hold as it is (RFC 3986, section 2)
_UPSTREAM_CANDIDATES = ("https://example.com/", "https://www.docker.com/")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a container answered: status 0 and the reason where it did not.

    Attributes:
        status: HTTP's status code.
        text: the body as UTF-8, with U+FFFD for what is none.
        content_type: the header Content-Type, empty where there is none.
        length: the body's bytes. Of a body beyond the limit only its beginning counts.
        digest: SHA-256 of the same bytes, as that of a file; empty where it did not answer.
    """

    status: int
    text: str
    content_type: str = ""
    length: int = 0
    digest: str = ""

    @property
    def is_page(self) -> bool:
        """Whether it is an HTML page."""
        return "html" in self.content_type.lower()


class NoAnswerError(LearnerError):
    """The container runs, and nothing in it answers HTTP on the port that is asked."""


def wait_until_it_answers(
    container: RunningContainer, clock: Callable[[], float] = time.monotonic
) -> None:
    """Wait until the container answers HTTP, whatever the status.

    Raises:
        NoAnswerError: it did not answer in time; with its log.
        LearnerError: it ended; with its log.
    """
    deadline = clock() + _START_SECONDS
    while True:
        left = deadline - clock()
        if (end := end_of(container)) is not None:
            raise end
        if left <= 0:
            break
        # A short time at first, to see soon that it ended; then longer, for one that is slow.
        patience = min(left, _FIRST_PATIENCE + _START_SECONDS - left)
        if (address := container.address) and ask(address, "/", patience).status:
            return
        time.sleep(0.1)
    raise NoAnswerError(
        f"The container runs but did not answer within {_START_SECONDS:.0f} seconds"
        + _last_words(container),
        mend="Does the program listen on the port that EXPOSE names, on all addresses?",
    )


def end_of(container: RunningContainer) -> LearnerError | None:
    """Return how the container ended by itself, with its log; ``None`` while it runs."""
    exit_code = container.exit_code()
    if exit_code is None:
        return None
    ended = f"The container ended with exit code {exit_code}"
    log = container.logs()
    return LearnerError(
        ended + _last_words(container), mend=start_hint(f"{ended}\n{log}"), said=log
    )


def end_after_answers(container: RunningContainer) -> LearnerError | None:
    """Return how a container that has answered ended by itself, ``None`` while it still answers.

    Who asks notices an end sooner than the engine knows of it: where no answer comes any more,
    the engine is given a moment.
    """
    deadline = time.monotonic() + _KNOWN_SECONDS
    while (end := end_of(container)) is None and time.monotonic() < deadline:
        if ask(container.address, "/", _FIRST_PATIENCE).status:
            return None
        time.sleep(0.1)
    return end


def _last_words(container: RunningContainer) -> str:
    lines = [line for line in container.logs().splitlines() if line.strip()]
    return f": {' / '.join(lines[-3:])[-400:]}" if lines else ", and wrote nothing to its log."


def start_hint(said: str) -> str:
    """Return what to do about a container that does not start, from what it or the engine said."""
    found = (hint for sign, _nudge, hint in _START_HINTS if re.search(sign, said, re.M))
    return next(found, START_HINT)


def nudge(idea: str) -> str:
    """Return the hint that comes before an idea of :func:`start_hint`."""
    known = (first for _sign, first, hint in _START_HINTS if hint == idea)
    return next(known, "Read what the container or the engine said.")


BACKGROUND_HINT = (
    "A container ends with its first process: start the server in the foreground, as nginx with "
    '-g "daemon off;".'
)
C_LIBRARY_HINT = "The program is there, and its C library is not: build it with CGO_ENABLED=0."
START_HINT = "Check ENTRYPOINT and CMD of the last stage: what they start must be in that stage."
# What is said, a nudge, and the idea.
_START_HINTS = (
    (
        r'"/bin/sh": (stat|no such)|exec: "(sh|/bin/sh)"',
        "Which program is looked for, and did you name it?",
        "This image has no shell. Write ENTRYPOINT and CMD in brackets and double quotes: "
        'ENTRYPOINT ["/server"]',
    ),
    (
        r"is a directory",
        "What is it now that is started: a file, or a folder?",
        "The program was copied into a folder: name the file itself behind COPY.",
    ),
    (
        r"unable to find user",
        "Where would this image keep the names of its users?",
        "This image has no user names: give USER a number, as in 65532:65532",
    ),
    (
        r"(^|: )exec:? [^\s\"]+: no such file or directory",
        "The file may well be there. What else does a program need to start?",
        C_LIBRARY_HINT,
    ),
    (
        r"exec format error",
        "For which machine was the program made?",
        "The program is made for another system or processor: a container runs Linux. Leave out "
        "GOOS and GOARCH, or set GOOS=linux.",
    ),
    (
        r"sh: (line )?(\d+: )?\[\S*: (command )?not found",
        "Which quotes does JSON have?",
        "The brackets of ENTRYPOINT and CMD hold JSON, which has double quotes only: with others a "
        "shell is given the line.",
    ),
    (
        r"permission denied",
        "Who is the user that starts the program, and what may they do with it?",
        "The program may not be run by this user: check USER, and the file's mode (COPY --chmod).",
    ),
    (
        r"^The container ended with exit code 0\b",
        "Nothing failed: the first process ended by itself, and with it the container.",
        BACKGROUND_HINT,
    ),
)


def ask(address: str, path: str, seconds: float = _ANSWER_SECONDS) -> Answer:
    """Send a GET request to a container and return what it answered.

    ``seconds``: how long it may say nothing, at the beginning or in the middle.
    """
    if not address:
        return Answer(0, "no answer: the container has ended")
    url = address + urllib.parse.quote(path if path.startswith("/") else f"/{path}", safe=_PLAIN)
    # A proxy of the machine has no business between this machine and its own container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        try:
            return _answer(opener, url, seconds)
        except (ConnectionResetError, urllib.error.URLError) as error:
            if not isinstance(getattr(error, "reason", error), ConnectionResetError):
                raise
            # The connection was lost before an answer came. What is asked with GET may be asked
            # again (RFC 9110, section 9.2.2); who closes each connection does so again.
            return _answer(opener, url, seconds)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(0, f"no answer: {error!r}")


def _answer(opener: urllib.request.OpenerDirector, url: str, seconds: float) -> Answer:
    try:
        response = opener.open(url, timeout=seconds)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        body = response.read(_ANSWER_BYTES)
        return Answer(
            int(response.status or 0),
            body.decode("utf-8", "replace"),
            response.headers.get("Content-Type", ""),
            len(body),
            f"sha256:{hashlib.sha256(body).hexdigest()}",
        )


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
