"""Files that several processes share: written whole, and held by locks that end with their holder.

A process may end at any moment, by ``kill -9`` too. What it was writing has a name that begins with
a dot, and is locked: where nobody holds the lock, nobody will finish it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_SECONDS = 0.05


def lies_in(root: Path, path: str) -> bool:
    """Return whether the folder of ``path``, a place below ``root``, is reached without links.

    A command may have put a link in place of a folder, which leads out of the image's files.
    """
    folder = os.path.dirname(path.strip("/"))
    real = os.path.realpath(root)
    return os.path.realpath(f"{real}/{folder}") == os.path.normpath(f"{real}/{folder}")


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that others see the old content or the new, never a part."""
    with unfinished(file.parent, f".{file.name}-") as (handle, name):
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.replace(name, file)


@contextlib.contextmanager
def unfinished(folder: Path, prefix: str) -> Iterator[tuple[int, Path]]:
    """Give a new file, open and locked, and its path; gone after unless moved elsewhere.

    Args:
        folder: where.
        prefix: how its name begins, with a dot.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, dir=folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_at(handle, Path(name)):  # swept before it was locked
                continue
            yield handle, Path(name)
            return
        finally:
            os.close(handle)
            Path(name).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of processes that have ended, and the locks nobody holds."""
    with os.scandir(folder) as listing:
        names = [e.name for e in listing if e.name.startswith(".") or e.name.endswith(".lock")]
    for name in names:
        with contextlib.suppress(OSError):
            _remove_if_free(folder / name)


def _remove_if_free(file: Path) -> None:
    handle = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(handle, file):
            file.unlink()
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(
    file: Path,
    *,
    shared: bool = False,
    wait: bool = True,
    check: Callable[[], None] | None = None,
    remove: bool = False,
) -> Iterator[None]:
    """Hold a lock file; another process that wants it waits. The kernel frees it at any end.

    Args:
        file: made where it is not there.
        shared: whether others may hold it like that too.
        wait: whether to wait for it.
        check: called while it waits; may raise. Without it nothing interrupts a waiting thread.
        remove: whether the file goes when the lock does.

    Raises:
        BlockingIOError: another holds it, and ``wait`` is false.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = _hold(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait=wait, check=check)
    try:
        yield
    finally:
        if remove:
            file.unlink(missing_ok=True)
        os.close(handle)


def _hold(file: Path, how: int, *, wait: bool, check: Callable[[], None] | None) -> int:
    while True:
        handle = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            _flock(handle, how, wait=wait, check=check)
            if _is_at(handle, file):
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Whoever held it before has removed it: a lock on this file keeps nobody out.
        os.close(handle)


def _flock(handle: int, how: int, *, wait: bool, check: Callable[[], None] | None) -> None:
    if wait and check is None:
        fcntl.flock(handle, how)
        return
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not wait or check is None:
                raise
        check()
        time.sleep(_POLL_SECONDS)


def _is_at(handle: int, file: Path) -> bool:
    """Return whether an open file is still the one that its path names."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file, follow_symlinks=False))
    except FileNotFoundError:
        return False
