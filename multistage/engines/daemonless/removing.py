"""Removes folders that images filled: of any depth, and whatever their files forbid."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

_OPENED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> None:
    """Remove a folder; what the system does not let go of, a mount for example, is left there.

    Each folder in it is moved up to the first level before it is emptied: neither Python's calls,
    nor open files, nor the length of a path grow with the depth, as they do in shutil.rmtree.
    """
    with contextlib.suppress(OSError):
        with _opened(str(folder)) as top:
            waiting = _emptied(top)
            while waiting:
                waiting += _removed(waiting.pop(), top)
        os.rmdir(folder)


def _removed(name: str, top: int) -> list[str]:
    """Remove a folder of the first level; return the names of those moved there from in it."""
    moved = []
    with contextlib.suppress(OSError), _opened(name, top) as folder:
        if os.fstat(folder).st_dev == os.fstat(top).st_dev:  # else something is mounted on it
            for inner in _emptied(folder):
                with contextlib.suppress(OSError):
                    _allow(inner, folder)  # to move a folder changes what is in it: its ".."
                    unique = f".removing-{secrets.token_hex(8)}"
                    os.rename(inner, unique, src_dir_fd=folder, dst_dir_fd=top)
                    moved.append(unique)
            os.rmdir(name, dir_fd=top)
    return moved


def _emptied(folder: int) -> list[str]:
    """Remove the files and links in an open folder; return the names of the folders in it."""
    folders = []
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            folders.append(name)
        else:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
    return folders


@contextlib.contextmanager
def _opened(path: str, top: int | None = None) -> Iterator[int]:
    _allow(path, top)
    descriptor = os.open(path, _OPENED, dir_fd=top)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _allow(path: str, top: int | None) -> None:
    """Give the right to change a folder, where its image takes that right away."""
    mode = os.stat(path, dir_fd=top, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU, dir_fd=top)
