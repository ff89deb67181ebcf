"""File operations that stay inside a root folder, whatever links are planted there.

The kernel can do this alone (openat2(2), RESOLVE_IN_ROOT), but neither in Python nor in every
sandbox. So each folder on the way is opened by itself, relative to the one above, and links are
followed here: as if the root were ``/``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container
from pathlib import Path
from types import TracebackType

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_USABLE = 0o700
_IMPLIED = 0o755  # the mode of a folder that is only implied by what lies in it

_MAX_LINKS = 40  # on one way, as path_resolution(7) has it
_MAX_STEPS = 4096  # on one way: links can spell a way that takes hours
_MAX_PATH = 4096  # bytes; with links, folders can be put far below what an entry may name
_MAX_NAME = 255  # bytes, NAME_MAX of Linux
_MAX_OPEN = 256  # folders kept open; a process may often have 1024
_MAX_KNOWN = 4096
_MAX_SHOWN = 120


class Misplaced(Exception):
    """A way inside the root leads nowhere: through a file, in a circle, or too far."""


class Folder:
    """An open folder inside the root.

    Attributes:
        path: its way from the root, without leading slash and with no link in it; empty for
            the root itself.
        fd: for the ``dir_fd`` of what is done in it (open(2), O_PATH).
    """

    __slots__ = ("fd", "path")

    def __init__(self, path: bytes, fd: int) -> None:
        self.path, self.fd = path, fd

    def __del__(self) -> None:
        # Not when the cache lets go of it: whoever works in it may still hold it then.
        os.close(self.fd)

    def below(self, name: bytes) -> bytes:
        """Return the path of what is called ``name`` in this folder."""
        return b"%b/%b" % (self.path, name) if self.path else name


def shown(path: bytes) -> str:
    """Return a path for a message, short and without bytes that are no UTF-8."""
    text = path.decode("utf-8", "backslashreplace")
    return text if len(text) <= _MAX_SHOWN else f"{text[:60]}…{text[-50:]}"


class Rooted:
    """A root folder to work in. Paths are bytes, relative to the root, without ``.`` and ``..``.

    Folders are given ``u+rwx`` when they are entered, so that an ordinary user can fill them too;
    ``finish`` gives them the modes they should have.

    Args:
        root: the folder; it exists.
        removed: is told the path of every file and folder that is removed.

    Raises:
        OSError: ``root`` is no folder, or cannot be entered.
    """

    def __init__(self, root: Path, removed: Callable[[bytes], object] | None = None) -> None:
        self._removed = removed
        self._open: dict[bytes, Folder] = {}  # by path
        self._known: dict[bytes, Folder] = {}  # by the path that was asked for
        self._ends: dict[bytes, tuple[int, int | None]] = {}  # mode, mtime in ns
        self._root = Folder(b"", os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        mode = os.fstat(self._root.fd).st_mode
        if mode & _USABLE != _USABLE:
            # "." cannot be reached through a folder that may not be searched.
            root.chmod(stat.S_IMODE(mode) | _USABLE)
            self._ends[b""] = stat.S_IMODE(mode), None

    def __enter__(self) -> Rooted:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._forget()
        del self._root

    def folder(self, path: bytes) -> Folder:
        """Return a folder, made with mode 0755 where it is missing; so are those above it.

        Raises:
            Misplaced: there cannot be a folder.
        """
        found = self._known.get(path) or self._walk(path, make=True)
        if found is None:
            raise Misplaced(f"{shown(path)} has to be a folder, and is none")
        return self._remember(path, found)

    def find(self, path: bytes) -> Folder | None:
        """Return a folder, ``None`` where there is none.

        Raises:
            Misplaced: links on the way lead in a circle, or too far.
        """
        found = self._known.get(path) or self._walk(path, make=False)
        return found and self._remember(path, found)

    def stat(self, place: Folder, name: bytes) -> os.stat_result | None:
        """Return what ``name`` is, not following a link; ``None`` where there is nothing."""
        try:
            return os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def new_file(self, place: Folder, name: bytes) -> int:
        """Return a descriptor for writing a new file (mode 0600) in place of what is there."""
        try:
            return os.open(name, _NEW_FILE, 0o600, dir_fd=place.fd)
        except FileExistsError:
            self.remove(place, name)
            return os.open(name, _NEW_FILE, 0o600, dir_fd=place.fd)

    def new_folder(self, place: Folder, name: bytes) -> Folder:
        """Return the folder called ``name``: the one that is there, or a new one (mode 0700)."""
        try:
            os.mkdir(name, _USABLE, dir_fd=place.fd)
        except FileExistsError:
            there = self.stat(place, name)
            if there is None or not stat.S_ISDIR(there.st_mode):
                self.remove(place, name)
                os.mkdir(name, _USABLE, dir_fd=place.fd)
        found = self._step(place, name, make=False)
        assert isinstance(found, Folder)  # it was just made
        return found

    def end_with(self, folder: Folder, mode: int, mtime: int) -> None:
        """Let ``finish`` set a folder's mode, and its time of change in ns since 1970."""
        self._ends[folder.path] = mode, mtime

    def finish(self) -> None:
        """Set what folders should end with, the deepest first: it may close the way to them."""
        for path in sorted(self._ends, reverse=True):
            mode, mtime = self._ends[path]
            folder = self._at(path)
            if mtime is not None:
                os.utime(b".", ns=(mtime, mtime), dir_fd=folder.fd)
            os.chmod(b".", mode, dir_fd=folder.fd)
        self._ends.clear()

    def remove(self, place: Folder, name: bytes, keep: Container[bytes] = ()) -> None:
        """Remove a file, a link itself, or a folder with all that is in it, if it is there.

        Args:
            place: the folder it is in.
            name: what it is called there.
            keep: paths that stay, with the folders above them, which have to be in it too.
        """
        path, there = place.below(name), self.stat(place, name)
        if there is None:
            return
        if stat.S_ISDIR(there.st_mode):
            self._remove_folders([path], keep)
        elif path not in keep:
            os.unlink(name, dir_fd=place.fd)
            self._gone(path)
            if stat.S_ISLNK(there.st_mode):
                self._forget()

    def empty(self, folder: Folder, keep: Container[bytes] = ()) -> None:
        """Remove all that is in a folder, but the paths in ``keep``."""
        self._remove_folders(self._empty(folder, keep), keep)

    def _remove_folders(self, paths: list[bytes], keep: Container[bytes]) -> None:
        # A list, not recursion: an image may nest folders deeper than Python nests calls.
        todo = [(path, False) for path in paths]
        while todo:
            path, is_empty = todo.pop()
            if is_empty:
                above, _, name = path.rpartition(b"/")
                os.rmdir(name, dir_fd=self._at(above).fd)
                self._gone(path)
                continue
            if path not in keep:
                todo.append((path, True))
            todo += [(sub, False) for sub in self._empty(self._at(path), keep)]
        self._forget()

    def _empty(self, folder: Folder, keep: Container[bytes]) -> list[bytes]:
        """Remove the files and links in a folder; return the paths of the folders in it."""
        folders = []
        listed = os.open(b".", _LISTED, dir_fd=folder.fd)
        try:
            with os.scandir(listed) as entries:
                found = [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in entries]
        finally:
            os.close(listed)
        for name, is_folder in found:
            path = folder.below(name)
            if is_folder:
                folders.append(path)
            elif path not in keep:
                os.unlink(name, dir_fd=folder.fd)
                self._gone(path)
        return folders

    def _gone(self, path: bytes) -> None:
        self._ends.pop(path, None)
        if self._removed is not None:
            self._removed(path)

    def _forget(self) -> None:
        """Drop what was resolved: a link or a folder on some way has gone."""
        self._open.clear()
        self._known.clear()

    def _remember(self, asked: bytes, found: Folder) -> Folder:
        if len(self._known) >= _MAX_KNOWN:
            self._forget()
        self._known[asked] = found
        return found

    def _at(self, path: bytes) -> Folder:
        """Return a folder by a path that has no links in it."""
        found = self._open.get(path) or self._walk(path, make=False)
        if found is None or found.path != path:
            raise FileNotFoundError(f"{shown(path)} has changed while it was worked on")
        return found

    def _walk(self, path: bytes, make: bool) -> Folder | None:
        above, _, _ = path.rpartition(b"/")
        here = self._known.get(above)
        todo = [path[len(above) :]] if here else path.split(b"/")[::-1]
        here, links = here or self._root, 0
        for _ in range(_MAX_STEPS):
            if not todo:
                return here
            name = todo.pop().strip(b"/")
            if name == b"..":
                here = self._at(here.path.rpartition(b"/")[0])
            elif name not in (b"", b"."):
                below = self._step(here, name, make)
                if isinstance(below, Folder):
                    here = below
                    continue
                if below is None:
                    return None
                links += 1
                if links > _MAX_LINKS:
                    break
                here = self._root if below.startswith(b"/") else here
                todo += below.split(b"/")[::-1]
        raise Misplaced(f"the links on the way to {shown(path)} lead in a circle")

    def _step(self, place: Folder, name: bytes, make: bool) -> Folder | bytes | None:
        """Return the folder called ``name``, or the target of the link called so."""
        path = place.below(name)
        known = self._open.get(path)
        if known is not None:
            return known
        if len(path) > _MAX_PATH or len(name) > _MAX_NAME:
            raise Misplaced(f"{shown(path)} is too long a path")
        try:
            fd = os.open(name, _FOLDER, dir_fd=place.fd)
        except FileNotFoundError:
            if not make:
                return None
            os.mkdir(name, _IMPLIED, dir_fd=place.fd)
            os.chmod(name, _IMPLIED, dir_fd=place.fd)  # whatever the umask
            fd = os.open(name, _FOLDER, dir_fd=place.fd)
        except NotADirectoryError:
            there = self.stat(place, name)
            is_link = there is not None and stat.S_ISLNK(there.st_mode)
            return os.readlink(name, dir_fd=place.fd) if is_link else None
        return self._opened(place, name, Folder(path, fd))

    def _opened(self, place: Folder, name: bytes, folder: Folder) -> Folder:
        mode = stat.S_IMODE(os.fstat(folder.fd).st_mode)
        if mode & _USABLE != _USABLE:
            os.chmod(name, mode | _USABLE, dir_fd=place.fd)
            self._ends.setdefault(folder.path, (mode, None))
        if len(self._open) >= _MAX_OPEN:
            self._forget()
        self._open[folder.path] = folder
        return folder
