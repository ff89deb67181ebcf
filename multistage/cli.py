"""The ``multistage`` command: arguments in, exit code out. See ``multistage --help``."""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from multistage import commands, labs, progress_commands
from multistage.errors import CourseError, MachineError, UsageError

_SIGNALLED = 128
_INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended

_LONGEST_LIMIT = 86400  # seconds
_LARGEST_AMOUNT = 1_000_000  # of days or gigabytes
_COMMANDS = {
    "doctor": commands.doctor,
    "labs": progress_commands.list_labs,
    "setup": commands.setup,
    "build": commands.build,
    "compare": commands.compare,
    "check": commands.check,
    "watch": commands.watch,
    "inspect": commands.inspect,
    "graph": commands.graph,
    "reset": commands.reset,
    "export": commands.export,
    "prune": commands.prune,
    "report": progress_commands.report,
    "grade": progress_commands.grade,
}


_GRADE = """Run the checks over many submitted Dockerfiles, and write CSV. FOLDER holds
STUDENT/LAB/Dockerfile; with --lab also STUDENT/Dockerfile or STUDENT.Dockerfile. Only the
Dockerfile is taken from a submission; the build context is this course's own copy of the lab.
Submissions are other people's code. They build and run in the engine's containers, with its
network and its disk: use an engine that has nothing else on it. What the daemonless engine
builds is not walled off from this machine as Docker's containers are."""


def _seconds(text: str) -> float:
    return _number(text, 1, _LONGEST_LIMIT, " seconds")


def _amount(text: str) -> float:
    return _number(text, 0, _LARGEST_AMOUNT)


def _number(text: str, least: int, most: int, unit: str = "") -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:  # which what is not a number never is
        raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}{unit}")
    return value


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage as the course reports every error."""

    def __init__(self, **settings: Any) -> None:
        # Whether an error is told as JSON is read off the words: each option has one name.
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> Any:
        raise UsageError(f"{message}.", mend=f"See: {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = _Parser(prog="multistage", description="Build, measure and check the course's labs.")
    subcommands = root.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="one JSON object on standard output")
        sub.set_defaults(run=_COMMANDS[name])
        return sub

    add("doctor", "Say which engine will be used, and how to get the others.")
    add("labs", "List the labs and their state.")
    add("setup", "Fetch the labs' base images, or build their stand-ins, ahead of time.")
    _add_building(add)
    watch = add("watch", "Build and check a lab after every save, until Ctrl+C.")
    watch.add_argument("lab", type=labs.name_of, metavar="LAB")
    watch.add_argument("--engine", help="the engine that builds (see: multistage doctor)")
    inspect = add("inspect", "Show what is inside an image.")
    inspect.add_argument("image", type=labs.name_of, metavar="IMAGE|LAB|FILE")
    inspect.add_argument("--engine", help="the engine that has the image")
    graph = add("graph", "Show a Dockerfile's stages and what each takes from which.")
    graph.add_argument("lab", type=labs.name_of, metavar="LAB|DIR|FILE")
    graph.add_argument("--target", help="the stage to stop at")
    graph.add_argument("--plot", type=Path, help="also save the figure: .png or .svg")
    reset = add("reset", "Put the starter's Dockerfile back; yours is kept.")
    reset.add_argument("lab", type=labs.name_of, metavar="LAB")
    export = add("export", "Write an image as an archive that docker load takes.")
    export.add_argument("image", type=labs.name_of, metavar="IMAGE|LAB")
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument("--engine", help="the engine that has the image")
    prune = add("prune", "Show what the daemonless engine no longer needs; remove it with --yes.")
    prune.add_argument("--older-than", type=_amount, default=7, metavar="DAYS")
    prune.add_argument("--keep", type=_amount, metavar="GB", help="of build cache, at most")
    prune.add_argument("--yes", action="store_true", help="remove it")
    report = add("report", "Write what was measured and passed so far as one HTML file.")
    report.add_argument("--to", type=Path, metavar="FILE", help="default: multistage-report.html")
    grade = add("grade", "Run the checks over many submitted Dockerfiles, and write CSV.")
    grade.description = _GRADE
    grade.add_argument("folder", type=Path, metavar="FOLDER")
    grade.add_argument("--lab", help="the lab, where the folders do not tell")
    grade.add_argument("--engine", help="the engine that builds (see: multistage doctor)")
    grade.add_argument("--to", type=Path, metavar="FILE", help="the CSV; default: standard output")
    grade.add_argument(
        "--limit", type=_seconds, default=600, metavar="SECONDS",
        help="the most that one submission may take; default: 600",
    )  # fmt: skip
    return root


def _add_building(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands that build a lab's Dockerfile or a folder's."""
    for name, text in (
        ("build", "Build and measure a lab's Dockerfile, or a folder's."),
        ("compare", "Build before and after, and compare them."),
        ("check", "Run a lab's checks on the learner's image."),
    ):
        sub = add(name, text)
        sub.add_argument("lab", type=labs.name_of, metavar="LAB" if name == "check" else "LAB|DIR")
        sub.add_argument("--file", type=Path, help="a Dockerfile other than the lab's own")
        sub.add_argument("--engine", help="the engine that builds (see: multistage doctor)")
        sub.add_argument("--no-cache", action="store_true", help="build every step anew")
        sub.add_argument("--secret", action="append", default=[], metavar="id=ID,src=FILE")
        if name == "build":
            sub.add_argument("--before", action="store_true", help="build the lab's before image")
            sub.add_argument("--target", help="the stage to stop at")
        if name == "check":
            sub.add_argument(
                "--hints", type=int, choices=(0, 1, 2, 3), default=1,
                help="how many hints for each check that fails: a nudge, the idea, the line",
            )  # fmt: skip
        if name == "compare":
            sub.add_argument("--plot", type=Path, help="also save the figure: .png or .svg")


def _end(number: int, _frame: object) -> None:
    """End as for an error, so that builds are ended and containers removed on the way out."""
    raise SystemExit(_SIGNALLED + number)


def _say(error: CourseError, *, json_asked: bool) -> int:
    """Tell an error, and return its exit code."""
    with suppress(OSError):  # nobody may be left to read it
        print(error, file=sys.stderr)
    if json_asked:
        fault = {"what": error.what, "where": error.where, "mend": error.mend}
        with suppress(OSError):
            print(json.dumps({"error": fault}, indent=2), flush=True)
    return error.exit_code


def _told(outcome: commands.Outcome, *, as_json: bool) -> int:
    """Write what is left to write, and return the exit code."""
    try:
        if as_json:
            print(json.dumps(outcome.document, indent=2))
        if sys.stdout:  # it may be closed
            sys.stdout.flush()
    except OSError as error:
        _drop_output()
        # Whoever read our output had enough, which Windows tells as an invalid argument.
        if isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL:
            return outcome.exit_code
        return _say(_machine_fault(error), json_asked=False)
    return outcome.exit_code


def _machine_fault(error: OSError) -> MachineError:
    return MachineError(
        f"{error.strerror or error}.", where=str(error.filename or ""),
        mend="Look whether it is there, who may read and write it, and if the disk is full.",
    )  # fmt: skip


def _drop_output() -> None:
    """Have the rest of the output go nowhere: else Python complains of it once more at its exit."""
    with suppress(AttributeError, OSError):  # it is closed, or no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2 or 3 (see errors.py)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a code page that has no arrows or check marks
            stream.reconfigure(errors="replace")
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _end)
    json_asked = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        options = parser().parse_args(arguments)
        outcome: commands.Outcome = options.run(options)
    except CourseError as error:
        return _say(error, json_asked=json_asked)
    except KeyboardInterrupt:
        _say(CourseError("Interrupted. Nothing is left running."), json_asked=json_asked)
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        code = _say(_machine_fault(error), json_asked=json_asked)
        try:
            sys.stdout.flush()
        except (AttributeError, OSError):
            _drop_output()
        return code
    return _told(outcome, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
