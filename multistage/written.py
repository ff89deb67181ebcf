"""Files that a command writes for the learner: whole, and never over one of somebody else's."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from multistage.errors import UsageError
from multistage.files import mode_of, replace

if TYPE_CHECKING:
    from multistage.plots import Picture

_FORMATS = (".png", ".svg")
_MARK, _MARK_WITHIN = b"multistage", 2000  # bytes: in the metadata of the course's own figures
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257  # bytes from the start of a tar
_ANOTHER = "Name another file."


def refuse_other_figure(path: Path | None) -> None:
    """Say before the work, not after it, that a figure cannot be written under this name.

    Raises:
        UsageError: it is no figure's name, or the file is not an earlier figure of the course.
    """
    if path is None:
        return
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path} is neither .png nor .svg.", mend="Name one that is.")
    try:
        start = _start(path, _MARK_WITHIN, "figure.png")
    except OSError as error:
        raise _cannot_be_written("figure", path, error) from error
    if start and _MARK not in start:
        raise UsageError(f"{path} is no figure of the course: it is left as it is.", mend=_ANOTHER)


def save_figure(path: Path, picture: Picture) -> None:
    """Write a figure, as its name's ending says.

    Raises:
        UsageError: the file cannot be written; an older one is as it was.
    """
    is_png = path.suffix.lower() == ".png"
    buffer = io.BytesIO()
    metadata = {"Software" if is_png else "Creator": _MARK.decode()}
    picture.figure.savefig(buffer, format="png" if is_png else "svg", metadata=metadata)
    try:
        replace(path, buffer.getvalue())
    except OSError as error:
        raise _cannot_be_written("figure", path, error) from error


def refuse_other_archive(file: Path) -> None:
    """Stop where a file is no earlier archive: what it holds is somebody's.

    Raises:
        UsageError: it is none, or no file at all.
    """
    try:
        start = _start(file, _TAR_MARK_AT + len(_TAR_MARK), "image.tar")
    except OSError as error:
        raise _cannot_be_written("archive", file, error) from error
    if start and not start.endswith(_TAR_MARK):
        raise UsageError(f"{file} is no archive: it is left as it is.", mend=_ANOTHER)


def _start(file: Path, size: int, example: str) -> bytes:
    """Return a file's first bytes, none where there is no file."""
    mode = mode_of(file)
    if stat.S_ISDIR(mode):
        raise UsageError(f"{file} is a folder.", mend=f"Name a file, such as {example}.")
    if mode and not stat.S_ISREG(mode):
        raise UsageError(f"{file} is no ordinary file: it is left as it is.", mend=_ANOTHER)
    if not mode:
        return b""
    with file.open("rb") as handle:
        return handle.read(size)


def _cannot_be_written(what: str, file: Path, error: OSError) -> UsageError:
    why = error.strerror or error
    return UsageError(f"The {what} cannot be written: {why}.", where=str(file), mend=_ANOTHER)
