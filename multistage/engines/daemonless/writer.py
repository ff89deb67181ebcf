"""Writes a delta: the files that a COPY, an ADD or a WORKDIR brings, on top of a tree."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.tree import ROOT_OWNER, Delta, Entry, Owner, Tree

_FOLDER_MODE = 0o755
_SMALL = 1 << 20  # bytes; such a file is copied in one read and one write
_NEVER = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotAFolderError(Exception):
    """A folder is needed where the image has something else."""


class DeltaWriter:
    """Writes files for one step.

    Args:
        scratch: where; a folder of the snapshots' file system.
        below: what is there already.
        keeps_owners: whether files on disk can belong to whom they should.
    """

    def __init__(self, scratch: Path, below: Tree, *, keeps_owners: bool) -> None:
        self.scratch = scratch
        self._files = f"{scratch}/fs"
        os.mkdir(self._files)
        self._below = below
        self.keeps_owners = keeps_owners
        self._owners: dict[str, Owner] = {}
        self._folders: dict[str, tuple[int, int | None]] = {"": (_FOLDER_MODE, None)}
        self._links: dict[tuple[int, int], str] = {}
        root = below.lookup("")
        if root is not None:
            self._folders[""] = (stat.S_IMODE(root.status.st_mode), root.status.st_mtime_ns)
        self.changed = False

    def make_folders(self, path: str, owner: Owner = ROOT_OWNER) -> None:
        """Make a folder and those above it, where they are not there.

        Raises:
            NotAFolderError: the image has something else there.
        """
        missing = []
        while path not in self._folders:  # no recursion: Python nests fewer calls than folders go
            missing.append(path)
            path = os.path.dirname(path)
        for folder in reversed(missing):
            self._make_folder(folder, owner)

    def _make_folder(self, path: str, owner: Owner) -> None:
        if os.path.lexists(f"{self._files}/{path}"):
            raise NotAFolderError(f"/{path} is no folder")
        present = self._below.lookup(path)
        if present is None:
            self._new_folder(path, _FOLDER_MODE, owner, None)
            self.changed = True
        elif present.is_folder:
            # As overlayfs does when something in a folder changes: the folder comes along.
            mode = stat.S_IMODE(present.status.st_mode)
            self._new_folder(path, mode, present.owner, present.status.st_mtime_ns)
            copy_attributes(present.real, f"{self._files}/{path}")
        else:
            raise NotAFolderError(f"/{path} is no folder")

    def _new_folder(self, path: str, mode: int, owner: Owner, modified: int | None) -> None:
        os.mkdir(f"{self._files}/{path}", 0o700)
        self._give(path, owner)
        self._folders[path] = (mode, modified)

    def date_folder(self, path: str, modified: int) -> None:
        """Give a folder of this delta the time of what is copied into it."""
        self._folders[path] = (self._folders[path][0], modified)

    def next_source(self) -> None:
        """Begin another source of a COPY: files are hard links to others of the same one only."""
        self._links.clear()

    def put(self, entry: Entry, path: str, owner: Owner | None, mode: int | None) -> None:
        """Copy one file, folder or link to ``path``; owner and mode its own where not given.

        Raises:
            NotAFolderError: a folder meets something else, or the other way round.
        """
        owner = entry.owner if owner is None else owner
        self.changed = True
        if entry.is_folder:
            self.make_folders(path, owner)
            self._set_folder(entry, path, owner, mode)
            return
        self._clear(path, owner)
        target = f"{self._files}/{path}"
        if entry.is_link:
            os.symlink(os.readlink(entry.real), target)
        elif not entry.is_file:
            if not stat.S_ISFIFO(entry.status.st_mode):
                return  # devices and sockets are no part of an image
            os.mkfifo(target)
        elif not self._is_linked(entry, path, mode):
            copy_file(entry.real, target, entry.status.st_size)
            copy_attributes(entry.real, target)
        self._give(path, owner)
        if not entry.is_link:
            wanted = stat.S_IMODE(entry.status.st_mode) if mode is None else mode
            os.chmod(target, wanted)
        times = (entry.status.st_mtime_ns, entry.status.st_mtime_ns)
        os.utime(target, ns=times, follow_symlinks=False)

    def _set_folder(self, entry: Entry, path: str, owner: Owner, mode: int | None) -> None:
        wanted = stat.S_IMODE(entry.status.st_mode) if mode is None else mode
        self._folders[path] = (wanted, entry.status.st_mtime_ns)
        if path:
            self._give(path, owner)
            copy_attributes(entry.real, f"{self._files}/{path}")

    def put_bytes(self, data: bytes, path: str, owner: Owner, mode: int) -> None:
        """Write a file."""
        self.changed = True
        self._clear(path, owner)
        target = f"{self._files}/{path}"
        handle = os.open(target, _NEVER, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        self._give(path, owner)
        os.chmod(target, mode)

    def folder_on_disk(self, path: str, owner: Owner) -> Path:
        """Return where a folder of this delta lies, for an archive to be unpacked into it."""
        self.make_folders(path, owner)
        self.changed = True
        return Path(f"{self._files}/{path}")

    def own(self, path: str, owner: Owner) -> None:
        """Say whose a file is that was written by another hand."""
        if not self.keeps_owners:
            self._owners[path] = owner

    def _clear(self, path: str, owner: Owner) -> None:
        """Make room for a file."""
        self.make_folders(os.path.dirname(path), owner if owner else ROOT_OWNER)
        if path in self._folders:
            raise NotAFolderError(f"/{path} is a folder")
        present = self._below.lookup(path)
        if present is not None and present.is_folder:
            raise NotAFolderError(f"/{path} is a folder")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._files}/{path}")

    def _is_linked(self, entry: Entry, path: str, mode: int | None) -> bool:
        """Make a hard link where the source is one to a file that was copied before."""
        if entry.status.st_nlink == 1 or mode is not None:
            return False
        key = (entry.status.st_dev, entry.status.st_ino)
        first = self._links.setdefault(key, path)
        if first == path:
            return False
        os.link(f"{self._files}/{first}", f"{self._files}/{path}")
        return True

    def _give(self, path: str, owner: Owner) -> None:
        if self.keeps_owners:
            os.chown(f"{self._files}/{path}", *owner, follow_symlinks=False)
        elif owner != ROOT_OWNER:
            self._owners[path] = owner
        else:
            self._owners.pop(path, None)

    def commit(self, snapshots: Snapshots) -> Delta:
        """Make it a delta of the store. Folders get their modes now, when they are filled."""
        for path in sorted(self._folders, reverse=True):
            mode, modified = self._folders[path]
            os.chmod(f"{self._files}/{path}", mode)
            if modified is not None:
                os.utime(f"{self._files}/{path}", ns=(modified, modified))
        owner = None if self.keeps_owners else ROOT_OWNER
        return snapshots.commit(self.scratch, owner=owner, owners=self._owners)


def copy_file(source: str, target: str, size: int) -> None:
    """Copy a file's content to a new file."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(target, _NEVER, 0o600)
        try:
            if size <= _SMALL:
                _copy_small(reading, writing)
            else:
                _copy_large(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_small(reading: int, writing: int) -> None:
    while data := os.read(reading, _SMALL):
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view) :]


def _copy_large(reading: int, writing: int) -> None:
    """Copy within the kernel; file systems that can share the blocks of two files do."""
    try:
        while os.copy_file_range(reading, writing, 1 << 30):
            pass
    except OSError:  # between file systems that cannot, or a kernel that does not
        os.lseek(reading, 0, os.SEEK_SET)
        os.ftruncate(writing, 0)
        os.lseek(writing, 0, os.SEEK_SET)
        _copy_small(reading, writing)


def copy_attributes(source: str, target: str) -> None:
    """Copy extended attributes, as far as this user may; overlayfs's own are left out."""
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            with contextlib.suppress(OSError):
                value = os.getxattr(source, name, follow_symlinks=False)
                os.setxattr(target, name, value, follow_symlinks=False)
