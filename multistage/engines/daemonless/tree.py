"""An image's files as the layers show them together, read without mounting anything.

A tree is a chain of deltas, lowest first: each holds what one step of a build added or changed,
and says what it removed. Paths are written without a leading slash; the root is the empty text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MAX_LINKS = 40  # as the kernel: path_resolution(7)

Owner = tuple[int, int]
ROOT_OWNER: Owner = (0, 0)


@dataclass(frozen=True, eq=False)
class Delta:
    """What one step changed.

    Attributes:
        id: its name in the store.
        folder: holds ``fs``, the files that were added or changed.
        removed: the paths that are no longer there; a folder that is also in ``fs`` was made anew.
        owner: whose the files are that ``owners`` does not name; ``None`` where the files on disk
            belong to whom they should.
        owners: user and group by path.
    """

    id: str
    folder: Path
    removed: frozenset[str] = frozenset()
    owner: Owner | None = None
    owners: Mapping[str, Owner] = field(default_factory=dict, hash=False)

    @property
    def files(self) -> str:
        """The folder of the files."""
        return f"{self.folder}/fs"

    def at(self, path: str) -> os.stat_result | None:
        """Return what this delta has at ``path``, of which every parent is a folder in it."""
        if "\0" in path:  # no file has such a name
            return None
        try:
            status = os.lstat(f"{self.files}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if is_whiteout(status) else status

    def owner_of(self, path: str, status: os.stat_result) -> Owner:
        """Return whose a file of this delta is."""
        if self.owner is None:
            return status.st_uid, status.st_gid
        return self.owners.get(path, self.owner)


class FolderDelta(Delta):
    """A folder of this machine as if it were a delta."""

    @property
    def files(self) -> str:
        """The folder itself."""
        return str(self.folder)


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether this is overlayfs's mark for a file that was removed.

    https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
    """
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link of a tree. ``real`` is where it lies on disk."""

    path: str
    real: str
    status: os.stat_result
    owner: Owner

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)


class Tree:
    """The files of a chain of deltas. Nothing in it leads out of it."""

    def __init__(self, deltas: Sequence[Delta]) -> None:
        self.deltas = tuple(deltas)
        self._folders: dict[str, list[Delta]] = {"": list(reversed(self.deltas))}

    def lookup(self, path: str) -> Entry | None:
        """Return what is at ``path``; a link is returned, not followed, also on the way there."""
        if not path:
            return self._root()
        for delta in self._showing(os.path.dirname(path)):
            status = delta.at(path)
            if status is not None:
                real = f"{delta.files}/{path}"
                return Entry(path, real, status, self.owner(delta, path, status))
            if path in delta.removed:
                return None
        return None

    def owner(self, delta: Delta, path: str, status: os.stat_result) -> Owner:
        """Return the owner. Where one user owns all files on disk, a change keeps the old one."""
        if delta.owner is None or path in delta.owners:
            return delta.owner_of(path, status)
        for lower in self.deltas[: self.deltas.index(delta)][::-1]:
            if path in lower.owners:
                return lower.owners[path]
        for lower in self.deltas[: self.deltas.index(delta)][::-1]:
            if (found := lower.at(path)) is not None:
                return lower.owner_of(path, found)
        return delta.owner

    def _root(self) -> Entry | None:
        if not self.deltas:
            return None
        status = os.lstat(self.deltas[-1].files)
        return Entry("", self.deltas[-1].files, status, ROOT_OWNER)

    def _showing(self, folder: str) -> list[Delta]:
        """Return the deltas whose files a folder shows, highest first; none if it is no folder."""
        missing = []  # no recursion here either
        while folder not in self._folders:
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            self._folders[path] = self._showing_too(path, self._folders[folder])
            folder = path
        return self._folders[folder]

    @staticmethod
    def _showing_too(folder: str, above: list[Delta]) -> list[Delta]:
        """Return which of the deltas that the folder above shows this one shows too."""
        found: list[Delta] = []
        for delta in above:
            status = delta.at(folder)
            if status is not None:
                if not stat.S_ISDIR(status.st_mode):
                    break
                found.append(delta)
            if folder in delta.removed:
                break
        return found

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted."""
        seen: dict[str, bool] = {}
        prefix = f"{folder}/" if folder else ""
        for delta in self._showing(folder):
            try:
                entries = list(os.scandir(f"{delta.files}/{folder}"))
            except FileNotFoundError:
                continue
            for entry in entries:
                if entry.name not in seen:
                    hidden = not (
                        entry.is_dir(follow_symlinks=False)
                        or entry.is_file(follow_symlinks=False)
                        or entry.is_symlink()
                    ) and is_whiteout(entry.stat(follow_symlinks=False))
                    seen[entry.name] = not hidden
            for path in delta.removed:
                if path.startswith(prefix) and "/" not in path[len(prefix) :]:
                    seen.setdefault(path[len(prefix) :], False)
        return sorted(name for name, shown in seen.items() if shown)

    def walk(self, path: str) -> Iterator[Entry]:
        """Yield what is at ``path`` and below, parents first, in order."""
        # A list, not recursion: an image may nest folders deeper than Python nests calls.
        pending = [path]
        while pending:
            path = pending.pop()
            entry = self.lookup(path)
            if entry is None:
                continue
            yield entry
            if entry.is_folder:
                names = reversed(self.names(path))
                pending += [f"{path}/{name}" if path else name for name in names]

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """Return ``path`` without links, ``.`` and ``..``; parts that are not there stay.

        Raises:
            OSError: links lead in a circle.
        """
        pending = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            if not pending and not follow_last:
                break
            entry = self.lookup("/".join(done))
            if entry is not None and entry.is_link:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(f"/{path}: too many links")
                target = os.readlink(entry.real)
                done = [] if target.startswith("/") else done[:-1]
                pending[:0] = [p for p in target.split("/") if p not in ("", ".")]
        return "/".join(done)

    def read(self, path: str) -> bytes | None:
        """Return a file's content, links followed; ``None`` where there is none."""
        entry = self.lookup(self.resolve(path))
        return Path(entry.real).read_bytes() if entry is not None and entry.is_file else None
