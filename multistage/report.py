"""The learner's report: what is on record, as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from multistage import plots
from multistage.dockerfile import parse
from multistage.errors import LearnerError, UsageError
from multistage.files import replace
from multistage.finding import works
from multistage.labs import LabFolder
from multistage.recorded import Checked, CheckLine, Measured, Record, measured_json
from multistage.takeaways import Converted, named_sources, tick
from multistage.text import plain
from multistage.units import local_time, megabytes

NAME = "multistage-report.html"
_MARK = '<meta name="generator" content="multistage report">'
_MARK_WITHIN = 2000  # bytes


@dataclass(frozen=True, slots=True)
class LabReport:
    """What is on record of one lab; ``before`` and ``after`` are ``None`` where not built.

    Attributes:
        state: ``passed``, ``not passed``, ``not checked`` or ``not built``.
        when: the time of the run of the checks that is shown, ISO 8601; empty where none was.
        later: where a later run did not pass: when it was.
    """

    name: str
    title: str
    state: str
    when: str = ""
    later: str = ""
    checks: tuple[CheckLine, ...] = ()
    before: Measured | None = None
    after: Measured | None = None
    dockerfile: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the lab's part of the report's JSON."""
        images = {name: image and measured_json(image) for name, image in self.images}
        return {**asdict(self), **images}

    @property
    def images(self) -> tuple[tuple[str, Measured | None], ...]:
        """Before and after, by name."""
        return ("before", self.before), ("after", self.after)


@dataclass(frozen=True, slots=True)
class Report:
    """The report's content: the checklist as (ticked, text), and the labs in their order."""

    date: str
    checklist: tuple[tuple[bool, str], ...]
    labs: tuple[LabReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``multistage report --json`` prints."""
        return {
            "date": self.date,
            "checklist": [{"done": done, "text": text} for done, text in self.checklist],
            "labs": [lab.to_json() for lab in self.labs],
        }


def gather(labs: tuple[LabFolder, ...], record: Record) -> Report:
    """Return the report on the course's labs, and on others of which there is a record."""
    titles = {lab.name: lab.title for lab in labs}
    for name in (*record.measured, *(entry.lab for entry in record.entries)):
        titles.setdefault(name, name)
    found = tuple(_lab_report(name, title, record) for name, title in titles.items())
    lines = tick(tuple(_converted(lab) for lab in found))
    checklist = tuple((line.startswith("[x] "), line[4:]) for line in lines)
    return Report(date.today().isoformat(), checklist, found)


def _lab_report(name: str, title: str, record: Record) -> LabReport:
    latest = record.latest(name)
    shown = record.latest_passed(name) or latest
    if shown is not None:
        state = "passed" if shown.passed else "not passed"
        return LabReport(
            name, title, state, shown.when, _later(shown, latest), shown.checks,
            record.before(shown), shown.after, shown.dockerfile,
        )  # fmt: skip
    sizes = record.measured.get(name)
    if sizes is None:
        return LabReport(name, title, "not built")
    state = "not built" if sizes.after is None else "not checked"
    return LabReport(
        name, title, state, before=sizes.before, after=sizes.after, dockerfile=sizes.dockerfile
    )


def _later(shown: Checked, latest: Checked | None) -> str:
    return latest.when if latest is not None and latest is not shown else ""


def _converted(lab: LabReport) -> Converted:
    try:
        model = parse(lab.dockerfile)
    except LearnerError:
        return Converted(lab.title, 0)
    ratio = None
    if lab.before and lab.after and lab.before.unpacked_size and works(lab.checks):
        ratio = lab.after.unpacked_size / lab.before.unpacked_size
    passed = lab.state == "passed"
    return Converted(lab.title, len(model.stages), named_sources(model), ratio, passed)


def to_html(report: Report) -> str:
    """Return the report as one HTML document, all text from elsewhere escaped."""
    style = _resource("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters.update(megabytes=megabytes, drawn=_drawn, local_time=local_time)
    template = environment.from_string(_resource("report.html.jinja"))
    return template.render(report=report, style=style, style_digest=digest, mark=_MARK) + "\n"


def _shown(value: object) -> object:
    """Take out of every value what steers or reorders text; the template's own is left as it is."""
    return value if hasattr(value, "__html__") else plain(str(value))


@cache
def _resource(name: str) -> str:
    return (files("multistage") / name).read_text("utf-8")


def _drawn(lab: LabReport) -> tuple[str, str] | None:
    """Return a lab's figure as an address that holds it, and its text.

    An address, and not the elements themselves: the ids of two figures then cannot clash, and
    nothing that stands in an SVG can run.
    """
    if lab.before is None or lab.after is None:
        return None
    from matplotlib import rc_context

    buffer = io.BytesIO()
    # The same figure gives the same file, and a dollar in a name starts no formula.
    with rc_context({"svg.hashsalt": "multistage", "text.parse_math": False}):
        picture = plots.compare(
            plain(lab.title), lab.before.to_build(), lab.after.to_build(), works=works(lab.checks)
        )
        picture.figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/svg+xml;base64,{data}", picture.text


def write(report: Report, file: Path) -> None:
    """Write the report as HTML; an earlier report is replaced, any other file is not.

    Raises:
        UsageError: the file is something else, or cannot be written.
    """
    try:
        if file.exists() and not _is_report(file):
            raise UsageError(
                f"{file} is no report of the course: it is left as it is.",
                mend="Name another file with --to.",
            )
        replace(file, to_html(report).encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(
            f"The report cannot be written: {error.strerror}.",
            where=str(file), mend="Name another file with --to.",
        ) from error  # fmt: skip


def _is_report(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as handle:
        return _MARK.encode() in handle.read(_MARK_WITHIN)
