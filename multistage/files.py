"""Files: what is at a path, and those that several processes write, one at a time and whole."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PATIENCE = 10.0  # seconds to wait for another process
_PAUSE = 0.05
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # some network file systems


def mode_of(path: Path) -> int:
    """Return the mode of what is at a path, 0 where nothing is there.

    Unlike ``Path.is_file`` it takes any text, also one that is too long for a name.
    """
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


@contextmanager
def locked(file: Path, seconds: float = _PATIENCE) -> Iterator[None]:
    """Keep every other process that asks for the same file's lock waiting.

    The lock is a file of its own beside ``file``, and stays: to remove it would let two
    processes hold two locks of one name. Its holder's end releases it, whatever the end.

    Raises:
        OSError: the folder cannot be written to; a TimeoutError where another holds the lock.
    """
    with file.with_name(f".{file.name}.lock").open("ab") as handle:
        deadline = time.monotonic() + seconds
        while not _taken(handle):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds it", str(file))
            time.sleep(_PAUSE)
        yield


def _taken(handle: IO[bytes]) -> bool:
    """Take the lock if it is free; closing the file gives it back."""
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS_HERE
    return True


def replace(file: Path, data: bytes) -> None:
    """Write a file so that a reader finds the old text or the new one, also after a power cut.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    replace_link(Path(os.path.realpath(file)), data)  # what a link leads to, not the link


def replace_link(file: Path, data: bytes) -> None:
    """Write a file as :func:`replace` does, in the place of a link where there is one.

    Raises:
        OSError: it cannot be written; the link, and what it leads to, are as they were.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def free_name(file: Path, word: str) -> Path:
    """Return ``NAME.word-N.SUFFIX`` beside ``file``, with the first N that is not taken."""
    number = 1
    while True:
        path = file.with_name(f"{file.stem}.{word}-{number}{file.suffix}")
        if not os.path.lexists(path):
            return path
        number += 1
