"""What was handed in: finds the Dockerfiles below a folder, and reads each without trust."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from multistage.errors import UsageError
from multistage.labs import LabFolder

_SUFFIX = ".Dockerfile"
_NO_LINKS = "is a symbolic link, which is not followed"
_WHICH_LAB = "does not say of which lab it is: name the lab with --lab"
_NO_LAB = "has no folder that is called like a lab"
_LARGEST = 1 << 20  # bytes; the parser takes no longer Dockerfile
_LAYOUT = (
    "It should hold STUDENT/LAB/Dockerfile; with --lab also STUDENT/Dockerfile or "
    "STUDENT.Dockerfile."
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted Dockerfile: its place below ``folder``, or in ``fault`` why it has none."""

    student: str
    lab: LabFolder | None
    folder: Path
    path: PurePosixPath
    fault: str = ""


def find(
    folder: Path, labs: Sequence[LabFolder], only: LabFolder | None = None
) -> tuple[Submission, ...]:
    """Return the submissions below a folder, those that cannot be judged included.

    Raises:
        UsageError: the folder is none, cannot be read, or has nothing in it.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UsageError(
            f"The folder cannot be read: {error.strerror}.", where=str(folder), mend=_LAYOUT
        ) from error
    found = [s for name in names for s in _of_entry(folder, name, labs, only)]
    if not found:
        raise UsageError(f"{folder} has no submissions in it.", mend=_LAYOUT)
    return tuple(found)


def _of_entry(
    folder: Path, name: str, labs: Sequence[LabFolder], only: LabFolder | None
) -> Iterator[Submission]:
    """Return the submissions of one entry of the folder: a student's folder, or one file."""
    path = PurePosixPath(name)
    if name.endswith(_SUFFIX) and name != _SUFFIX and not (folder / name).is_dir():
        fault = "" if only else _WHICH_LAB
        yield Submission(name.removesuffix(_SUFFIX), only, folder, path, fault)
    elif (folder / name).is_symlink():
        yield Submission(name, only, folder, path, _NO_LINKS)
    elif (folder / name).is_dir():
        wanted = [only] if only else labs
        own = [lab for lab in wanted if os.path.lexists(folder / name / lab.name)]
        for lab in own:
            yield Submission(name, lab, folder, path / lab.name / "Dockerfile")
        is_above = os.path.lexists(folder / name / "Dockerfile")
        if only and not own:
            yield Submission(name, only, folder, path / "Dockerfile")
        elif is_above and not only:
            yield Submission(name, None, folder, path / "Dockerfile", _WHICH_LAB)
        elif not own:
            yield Submission(name, None, folder, path, _NO_LAB)


def read(submission: Submission) -> bytes:
    """Return the text that was submitted.

    Raises:
        UsageError: it is no ordinary file in the folder, or too long for a Dockerfile.
    """
    fault, data = submission.fault, b""
    try:
        fault = fault or _not_a_file(submission)
        if not fault:
            # The file may be swapped for a link or a pipe meanwhile: neither is waited for.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with os.fdopen(os.open(submission.folder / submission.path, flags), "rb") as handle:
                data = handle.read(_LARGEST + 1)
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except ValueError:
        fault = "has a name that no file can have"
    if len(data) > _LARGEST:
        fault = f"is longer than {_LARGEST:,} bytes, which no Dockerfile is"
    if fault:
        raise UsageError(f"The submission {fault}.", where=str(submission.path))
    return data


def _not_a_file(submission: Submission) -> str:
    """Return what is on the way to the file that is no folder, or in its place and no file."""
    *parents, _ = submission.path.parents  # without the folder itself
    for part in reversed(parents):
        mode = (submission.folder / part).lstat().st_mode
        if not stat.S_ISDIR(mode):
            return _NO_LINKS if stat.S_ISLNK(mode) else "is not in a folder of its own"
    file = submission.folder / submission.path
    if not os.path.lexists(file):
        return "has no Dockerfile"
    mode = file.lstat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return _NO_LINKS if stat.S_ISLNK(mode) else "is no ordinary file"
