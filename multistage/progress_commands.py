"""The commands on what learners have done: their progress, their report, many submissions."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multistage import engines, labs, record, terminal
from multistage.commands import Outcome
from multistage.errors import LearnerError
from multistage.recorded import Checked, Measured, Record
from multistage.units import megabytes

_INTERRUPTED = 130
_MACHINE = 3


def list_labs(options: Namespace) -> Outcome:
    """List the labs and how far the learner is with each."""
    progress = record.read()
    rows = [(lab, progress.latest_passed(lab.name)) for lab in labs.labs()]
    states = [(lab, _state(lab, progress)) for lab, _ in rows]
    if not options.json:
        terminal.labs([(lab, state.short or state.text) for lab, state in states])
    terminal.note(progress.note or record.take_note())
    return Outcome(
        {
            "labs": [
                {
                    "name": lab.name,
                    "title": lab.title,
                    "summary": lab.summary,
                    "minutes": lab.minutes,
                    "video": lab.video,
                    "state": state.text,
                    "passed": None if passed is None else _passed(passed, progress),
                }
                for (lab, state), (_, passed) in zip(states, rows, strict=True)
            ]
        }
    )


@dataclass(frozen=True, slots=True)
class _State:
    """How far a learner is with a lab; ``short`` for a table, where that is not the same."""

    text: str
    short: str = ""


def _state(lab: labs.LabFolder, progress: Record) -> _State:
    """Say what is on record of the Dockerfile as it is now, and of an earlier one."""
    passed = progress.latest_passed(lab.name)
    if passed is None:
        return _State(_state_of_file(lab))
    latest = progress.latest_of(lab.name, record.text_of(lab.dockerfile))
    if latest is not None and latest.passed:
        images = (progress.before(latest), latest.after)
        sizes = [megabytes(m.unpacked_size) for m in images if m is not None]
        return _State(f"passed on {latest.day}: {' → '.join(sizes)} unpacked")
    if latest is not None:
        return _State(
            f"passed on {passed.day}; the Dockerfile as it is now failed on {latest.day}",
            "passed before; fails now",
        )
    now = _state_of_file(lab)
    if now == "converted":
        return _State(
            f"passed on {passed.day}; the Dockerfile has changed since, check it again",
            f"passed on {passed.day}; changed since, check it again",
        )
    if now == "not started":
        return _State(f"passed on {passed.day}; the starter's Dockerfile is back")
    return _State(
        f"passed on {passed.day}; the Dockerfile has changed since: {now}",
        f"passed on {passed.day}; now {now}",
    )


def _state_of_file(lab: labs.LabFolder) -> str:
    try:
        if lab.is_converted():
            return "converted"
        starter = record.text_of(lab.before_dockerfile)
        return "not started" if record.text_of(lab.dockerfile) == starter else "not converted yet"
    except LearnerError as error:
        return f"cannot be read: {error.what}"


def _passed(run: Checked, progress: Record) -> dict[str, Any]:
    return {"when": run.when, "before": _sizes(progress.before(run)), "after": _sizes(run.after)}


def _sizes(measured: Measured | None) -> dict[str, int] | None:
    if measured is None:
        return None
    return {
        "unpacked_size": measured.unpacked_size,
        "compressed_size": measured.compressed_size,
    }


def report(options: Namespace) -> Outcome:
    """Write what is on record as one HTML file; with ``--json`` alone, as JSON only."""
    from multistage import report as reports

    progress = record.read()
    terminal.note(progress.note or record.take_note())
    found = reports.gather(labs.labs(), progress)
    file = options.to
    if file is None and not options.json:
        file = Path(reports.NAME)
    if file is not None:
        reports.write(found, file)
        if not options.json:
            terminal.written(file)
    return Outcome({**found.to_json(), "file": None if file is None else str(file)})


def grade(options: Namespace) -> Outcome:
    """Run the checks over many submitted Dockerfiles; rows are written as they come."""
    from multistage import grading, submissions

    lab = labs.find_lab(options.lab) if options.lab else None
    found = submissions.find(options.folder, labs.labs(), lab)
    engine = engines.choose(options.engine)
    if engine.name == "daemonless":
        terminal.note("What is built here is not walled off from this machine as by Docker.")
    rows: list[grading.Row] = []
    interrupted = False
    with grading.table(options.to, to_stdout=not options.json) as write:
        try:
            for row in grading.grade(engine, found, options.limit, terminal.note):
                rows.append(row)
                write(row)
        except KeyboardInterrupt:
            interrupted = True
    terminal.note(grading.summary(rows, len(found), interrupted=interrupted))
    code = _INTERRUPTED if interrupted else _MACHINE if any(r.machine for r in rows) else 0
    document = {
        "engine": engine.describe(),
        "interrupted": interrupted,
        "submissions": [row.to_json() for row in rows],
    }
    return Outcome(document, code)
