"""Many submitted Dockerfiles, each judged by its lab's checks: one row for each.

Submissions are other people's code. Of a submission only the Dockerfile's text is read; it is
built over the course's own copy of the lab's app, and runs where all builds and checks run: in
the engine's containers. A submission that fails, in whatever way, is a row.
"""

from __future__ import annotations

import _thread
import contextlib
import csv
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from multistage.builds import build
from multistage.engines import Engine
from multistage.errors import CourseError, MachineError, UsageError
from multistage.submissions import Submission, read
from multistage.text import plain
from multistage.units import seconds

_LONGEST = 1000  # characters of an error
# What a spreadsheet may take for a formula (OWASP, CSV injection); some also their full widths.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a submission.

    Attributes:
        required_passed: of the lab's required checks, out of ``required``.
        failed: the ids of the required checks that failed.
        unpacked_size: bytes; ``None`` where nothing was built.
        seconds: wall-clock time, from the build to the last check.
        error: what ended it before the checks did, and where.
        machine: whether the machine was at fault, not the submission.
    """

    student: str
    lab: str
    passed: bool = False
    required_passed: int = 0
    required: int = 0
    failed: tuple[str, ...] = ()
    unpacked_size: int | None = None
    seconds: float = 0.0
    error: str = ""
    machine: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the row as an object of ``multistage grade --json``."""
        return asdict(self)


COLUMNS = (
    "student", "lab", "passed", "required_passed", "required", "failed", "unpacked_size",
    "seconds", "error",
)  # fmt: skip


def grade(
    engine: Engine, found: Sequence[Submission], limit: float, tell: Callable[[str], None]
) -> Iterator[Row]:
    """Judge the submissions one after the other, each in at most ``limit`` seconds."""
    started = time.monotonic()
    for number, submission in enumerate(found, 1):
        so_far = seconds(time.monotonic() - started)
        tell(f"{number} of {len(found)}: {submission.path} ({so_far} so far)")
        yield _row(engine, submission, limit)


def _row(engine: Engine, submission: Submission, limit: float) -> Row:
    started, clock = time.monotonic(), _Limit(limit)
    row = Row(submission.student, submission.lab.name if submission.lab else "")
    try:
        with clock:
            row = _judged(engine, submission, row)
    except KeyboardInterrupt:
        if not clock.expired:
            raise
        row = replace(row, error=f"It took longer than {seconds(limit)}, and was ended.")
    except CourseError as error:
        row = replace(row, error=_told(error), machine=isinstance(error, MachineError))
    except Exception as error:  # whatever it is, the others are judged
        told = f"It could not be judged: {type(error).__name__}: {error}"
        row = replace(row, error=told[:_LONGEST], machine=True)
    return replace(row, seconds=round(time.monotonic() - started, 1))


def _told(error: CourseError) -> str:
    return " / ".join(part for part in (error.what, error.where) if part)[:_LONGEST]


def _judged(engine: Engine, submission: Submission, row: Row) -> Row:
    """Build and check a submission.

    Its text is copied to a folder of its own: what else was handed in, such as a
    ``Dockerfile.dockerignore``, has no say in the build.
    """
    from multistage.checks import check_lab

    text, lab = read(submission), submission.lab
    assert lab is not None, "read() refuses a submission without a lab"
    with tempfile.TemporaryDirectory(prefix="multistage-grade-") as folder:
        file = Path(folder) / "Dockerfile"
        file.write_bytes(text)
        try:
            built = build(engine, lab.app, tag=lab.tag("graded"), dockerfile=file)
        except CourseError as error:
            error.where = error.where.replace(str(file), str(submission.path))
            error.what = error.what.replace(str(file), str(submission.path))
            raise
        checks = check_lab(engine, lab, built, file).checks
    required = [check for check in checks if check.required]
    failed = tuple(check.id for check in required if not check.passed)
    return replace(
        row,
        passed=not failed,
        required_passed=len(required) - len(failed),
        required=len(required),
        failed=failed,
        unpacked_size=built.unpacked_size,
    )


class _Limit:
    """Interrupts what runs in its block when the time is over, as Ctrl-C would.

    By a signal of its own: a shell's background jobs start with Ctrl-C's ignored.
    """

    def __init__(self, limit: float) -> None:
        self.expired = False
        self._done = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(limit, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> None:
        if sys.platform != "win32":
            self._before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._done = True
        if sys.platform != "win32":
            signal.signal(signal.SIGUSR1, self._before)

    def _expire(self) -> None:
        with self._lock:
            if self._done:
                return
            self.expired = True
            if sys.platform == "win32":
                _thread.interrupt_main()
            else:  # ends also a system call that the main thread waits in
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


@contextmanager
def table(file: Path | None, *, to_stdout: bool) -> Iterator[Callable[[Row], None]]:
    """Open the CSV, and yield what writes a row to it at once.

    Raises:
        UsageError: there is such a file already, or it cannot be written.
        MachineError: the disk is full; the rows so far are on standard error.
    """
    with contextlib.ExitStack() as stack:
        stream: IO[str] | None = sys.stdout if to_stdout else None
        if file is not None:
            try:
                stream = stack.enter_context(
                    file.open("x", encoding="utf-8", errors="replace", newline="")
                )
            except FileExistsError as error:
                raise UsageError(
                    f"There is a file {file} already.", mend="Name another one with --to."
                ) from error
            except OSError as error:
                raise UsageError(
                    f"The table cannot be written: {error.strerror}.",
                    where=str(file), mend="Name another file with --to.",
                ) from error  # fmt: skip
        if stream is None:
            yield lambda _row: None
            return
        put = _writer(stream, str(file or "standard output"))
        put(COLUMNS)
        yield lambda row: put([cell(getattr(row, column)) for column in COLUMNS])


def _writer(stream: IO[str], where: str) -> Callable[[Sequence[object]], None]:
    """Return what writes a line of the table at once, and tells all lines where it cannot."""
    # All text in quotes: where a semicolon parts cells, one within a text does not.
    to = partial(csv.writer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer, lines = to(stream), list[Sequence[object]]()

    def put(line: Sequence[object]) -> None:
        lines.append(line)
        try:
            writer.writerow(line)
            stream.flush()
        except BrokenPipeError:  # whoever read it has gone
            raise
        except OSError as error:
            with contextlib.suppress(OSError):  # closing writes what is left: once more in vain
                stream.close()
            if lines[1:]:
                to(sys.stderr).writerows(lines)
            raise MachineError(
                f"The table cannot be written: {error.strerror}.",
                where=where,
                mend="Make room there, or name another file with --to."
                + (" The rows so far are above." if lines[1:] else ""),
            ) from error

    return put


def cell(value: object) -> str | int | float:
    """Return a value as a spreadsheet may have it: text stays text, and is no formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return value
    text = "; ".join(value) if isinstance(value, tuple) else str(value or "")
    text = plain(text).replace("\n", " ")
    return f"'{text}" if text.startswith(_FORMULA) else text


def summary(rows: Sequence[Row], total: int, *, interrupted: bool) -> str:
    """Return in one line what came of it."""
    passed = sum(row.passed for row in rows)
    faults = sum(bool(row.error) for row in rows)
    text = f"{passed} passed, {len(rows) - passed - faults} did not, {faults} could not be checked"
    return f"Interrupted after {len(rows)} of {total}: {text}." if interrupted else f"{text}."
