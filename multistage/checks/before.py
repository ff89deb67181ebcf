"""The before image as the measure of the after image: what it answers, and what must stay behind.

Starting it and reading it takes seconds, so what was found is kept for as long as the image is the
same: in memory, and in a file of the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from platformdirs import user_cache_path

from multistage.builds import Announce, build_image, read_image
from multistage.checks.absent import Copies, copies_of
from multistage.checks.requests import Answer, ask, wait_until_it_answers
from multistage.engines import Engine, Report, ignore
from multistage.errors import LearnerError, MachineError, NotPossibleHereError
from multistage.labs import LabFolder, Request

_LINKS = {"script": "src", "link": "href", "img": "src", "source": "src"}
_FORMAT = b"2"  # of the file: another one is not read
_ORIGIN = "http://page"
_MEND = "Is something changed in the app's folder? git diff shows it."


@dataclass(frozen=True, slots=True)
class Before:
    """What the before image answers, and what of it must not come along.

    Attributes:
        answers: by path, without their text; empty where no container can be run.
        assets: the paths that its pages link to.
        copies: for each of the lab's ``absent`` entries.
        ran: whether it could be run.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    copies: Mapping[str, Copies] = field(default_factory=dict)
    ran: bool = True


def look_at_before(
    engine: Engine,
    lab: LabFolder,
    report: Report = ignore,
    announce: Announce = lambda _line: None,
) -> Before:
    """Build the lab's before image, and return what checks compare with.

    Raises:
        MachineError: it does not build or start, which is no fault of the learner's Dockerfile.
    """
    try:
        image = build_image(
            engine, lab.app, tag=lab.tag("before"), dockerfile=lab.before_dockerfile,
            report=report, announce=announce,
        )  # fmt: skip
    except LearnerError as error:
        raise MachineError(
            f"The before image does not build: {error.what}", where=error.where,
            mend=_MEND,
        ) from error  # fmt: skip
    toml = (lab.folder / "lab.toml").read_bytes()
    key = hashlib.sha256(b"\0".join((_FORMAT, image.encode(), toml))).hexdigest()
    known = _KNOWN.get(key) or _kept(key, lab)
    if known is None:
        announce(f"  Looking at {lab.tag('before')}, once")
        known = _looked_at(engine, lab, image)
        if not known.ran:  # elsewhere, or later, it can be
            return known
        _keep(key, known)
    _KNOWN[key] = known
    return known


_KNOWN: dict[str, Before] = {}


def _looked_at(engine: Engine, lab: LabFolder, image: str) -> Before:
    archive = read_image(engine, image, keep_files=True, keep_digests=True)
    files = [file for layer in archive.layers for file in layer.files]
    copies = {entry.id: copies_of(entry, files) for entry in lab.absent}
    answers: dict[str, Answer] = {}
    assets: dict[str, None] = {}
    try:
        with engine.run(image, lab.port) as container:
            wait_until_it_answers(container)
            for request in lab.requests:
                if request.same:
                    answers[request.path] = _right(request, ask(container.address, request.path))
                    assets |= dict.fromkeys(links(answers[request.path], request.path))
            for path in assets:
                answers[path] = ask(container.address, path)
    except NotPossibleHereError:
        return Before(copies=copies, ran=False)
    except LearnerError as error:
        raise MachineError(f"The before image does not run: {error.what}", mend=_MEND) from error
    return Before(answers, tuple(assets), copies)


def _right(request: Request, answer: Answer) -> Answer:
    """Return the answer, which must be as the lab says: the learner's is compared with it."""
    if answer.status != request.status or request.contains not in answer.text:
        raise MachineError(
            f"The before image answers {request.path} with {answer.status}, not as the lab says.",
            mend=_MEND,
        )
    return answer


def links(answer: Answer, path: str = "/") -> Iterator[str]:
    """Yield the paths on the same server that a page loads: scripts, styles and pictures."""
    if not answer.is_page:
        return
    page = _Page()
    with suppress(AssertionError):  # Python 3.11 has one for declarations that mean nothing
        page.feed(answer.text)
    for link in page.found:
        try:
            address = urlsplit(urljoin(f"{_ORIGIN}{path}", link))
        except ValueError:
            continue
        if f"{address.scheme}://{address.netloc}" == _ORIGIN and address.path not in ("/", path):
            yield address.path


class _Page(HTMLParser):
    """Gathers what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = [value for name, value in attrs if name == _LINKS.get(tag) and value]
        self.found += [value for value in values if value]


def _file(key: str) -> Path:
    return user_cache_path("multistage-course") / "before" / f"{key}.json"


def _keep(key: str, before: Before) -> None:
    document = {
        "answers": {path: {**asdict(a), "text": ""} for path, a in before.answers.items()},
        "assets": list(before.assets),
        "copies": {
            name: {"programs": sorted(copies.programs), "files": sorted(copies.files)}
            for name, copies in before.copies.items()
        },
    }
    path = _file(key)
    part = path.with_name(f".{path.name}.{id(before)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(document), "utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):  # it is looked at again the next time
            part.unlink(missing_ok=True)


def _kept(key: str, lab: LabFolder) -> Before | None:
    wanted = {request.path for request in lab.requests if request.same}
    try:
        data: dict[str, Any] = json.loads(_file(key).read_text("utf-8"))
        found = Before(
            {path: Answer(**answer) for path, answer in data["answers"].items()},
            tuple(data["assets"]),
            {
                name: Copies(frozenset(found["programs"]), frozenset(found["files"]))
                for name, found in data["copies"].items()
            },
        )
        whole = wanted | set(found.assets) <= set(found.answers)
        return found if whole and set(found.copies) == {entry.id for entry in lab.absent} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
