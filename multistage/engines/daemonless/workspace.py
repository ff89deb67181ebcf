"""A stage's files as a RUN sees and changes them: put together by overlayfs, or copied.

Both give, after a RUN, what it changed: a folder with the new files, and the removed paths.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from multistage.engines.daemonless.files import lies_in
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.sandbox import Overlay, Sandbox
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.tree import Delta, Tree, is_whiteout
from multistage.engines.daemonless.writer import copy_attributes, copy_file

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a RUN changed. ``scratch`` holds ``fs``; ``None`` where it changed nothing."""

    scratch: Path | None
    removed: frozenset[str]


class Workspace(Protocol):
    """The files of a stage while its RUNs are done."""

    def enter(self, deltas: Sequence[Delta]) -> dict[str, object]:
        """Make the files of these deltas ready; return what a sandbox's command needs of it."""

    def leave(self, stubs: Iterable[str], *, last: bool) -> Changes:
        """Return what changed, without the stubs. ``last``: no RUN of this stage follows."""

    def committed(self, delta: Delta) -> None:
        """Hear that what changed is this delta now."""


def make_workspace(sandbox: Sandbox, snapshots: Snapshots, session: Path) -> Workspace:
    """Return the workspace of one stage, in the scratch folder of its build."""
    folder = Path(tempfile.mkdtemp(prefix="stage-", dir=session))
    if sandbox.overlay:
        return OverlayWorkspace(sandbox, snapshots, folder)
    return CopyWorkspace(sandbox, folder)


class OverlayWorkspace:
    """Files put together by overlayfs, which keeps what changes apart."""

    def __init__(self, sandbox: Sandbox, snapshots: Snapshots, folder: Path) -> None:
        self._sandbox, self._snapshots, self._folder = sandbox, snapshots, folder
        self._scratch = folder

    def enter(self, deltas: Sequence[Delta]) -> dict[str, object]:
        """Give the sandbox an overlay of these deltas."""
        self._scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
        upper, work = self._scratch / "fs", self._scratch / "work"
        upper.mkdir()
        work.mkdir()
        _like_root(upper, deltas)
        lower = tuple(f"{delta.id}/fs" for delta in reversed(deltas)) or ("empty/fs",)
        options = self._sandbox.options
        folder = str(self._snapshots.deltas)
        return {"overlay": Overlay(folder, lower, str(upper), str(work), options)}

    def leave(self, stubs: Iterable[str], *, last: bool) -> Changes:
        """Take overlayfs's marks for what was removed out of the upper folder."""
        del last
        remove_tree(self._scratch / "work")
        _remove_stubs(self._scratch / "fs", stubs, parents=True)
        removed = set(_marks(str(self._scratch / "fs")))
        if not removed and not any(os.scandir(self._scratch / "fs")):
            return Changes(None, frozenset())
        return Changes(self._scratch, frozenset(removed))

    def committed(self, delta: Delta) -> None:
        """Nothing to do: the next overlay has it among its lower folders."""


def _like_root(folder: Path, deltas: Sequence[Delta]) -> None:
    """Give a folder the mode and the owner of the image's root folder."""
    root = Tree(deltas).lookup("")
    os.chmod(folder, stat.S_IMODE(root.status.st_mode) if root else 0o755)
    if root and os.geteuid() == 0:
        os.chown(folder, root.status.st_uid, root.status.st_gid)


def _marks(root: str) -> Iterator[str]:
    """Yield what overlayfs marks as removed, and folders that hide those below."""
    for path, entry in _walk(root):
        if entry.is_dir(follow_symlinks=False):
            if _is_opaque(entry.path):
                yield path
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            continue
        elif is_whiteout(entry.stat(follow_symlinks=False)):
            yield path


def _walk(root: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that is in a folder, by a list: Python nests fewer calls than folders go deep."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{root}/{folder}") as listing:
            for entry in listing:
                path = f"{folder}/{entry.name}" if folder else entry.name
                yield path, entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _remove_stubs(root: Path, stubs: Iterable[str], *, parents: bool) -> None:
    """Remove what was made for mounts, where nothing was put into it.

    ``parents``: also the folders left empty, which only came along with what was in them.
    """
    for stub in sorted(stubs, reverse=True):
        place = f"{root}/{stub.lstrip('/')}"
        if not lies_in(root, stub):
            continue
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            _remove_empty(place)
        elif stat.S_ISCHR(status.st_mode) or status.st_size == 0:
            os.unlink(place)
        parent = os.path.dirname(place)
        if parents and parent != str(root) and not _is_opaque(parent):
            _remove_empty(parent)


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return


_Signature = tuple[int, ...]


class CopyWorkspace:
    """Files copied into one folder; what a RUN changed is found by looking at all of them."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._keeps_owners = sandbox.keeps_owners
        self._folder = folder
        self._root = folder / "root"
        self._present: list[Delta] = []
        self._before: dict[str, _Signature] = {}

    def enter(self, deltas: Sequence[Delta]) -> dict[str, object]:
        """Copy what is not there yet."""
        if self._present != list(deltas[: len(self._present)]) or not self._root.exists():
            remove_tree(self._root) if self._root.exists() else None
            self._root.mkdir()
            self._present = []
        for delta in deltas[len(self._present) :]:
            self._apply(delta)
            self._present.append(delta)
        self._before = dict(_signatures(str(self._root)))
        return {"root": self._root}

    def _apply(self, delta: Delta) -> None:
        for path in sorted(delta.removed):
            _remove(f"{self._root}/{path}")
        _copy_tree(delta.files, str(self._root), keeps_owners=self._keeps_owners)

    def leave(self, stubs: Iterable[str], *, last: bool) -> Changes:
        """Copy what changed into a folder of its own; move it where nobody needs it here."""
        _remove_stubs(self._root, stubs, parents=False)
        after = dict(_signatures(str(self._root)))
        changed = [path for path, seen in after.items() if self._before.get(path) != seen]
        removed = _topmost(path for path in self._before if path not in after)
        # A folder whose time alone changed came along with what changed in it.
        real = [p for p in changed if not _same_but_for_time(self._before.get(p), after[p])]
        if not real and not removed:
            return Changes(None, frozenset())
        replaced = {path for path in changed if _is_other_type(self._before.get(path), after[path])}
        scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
        (scratch / "fs").mkdir()
        _gather(
            str(self._root), f"{scratch}/fs", changed, after, move=last, owners=self._keeps_owners
        )
        return Changes(scratch, frozenset({*removed, *replaced}))

    def committed(self, delta: Delta) -> None:
        """Remember that the files of a delta are here already."""
        self._present.append(delta)


def _topmost(paths: Iterable[str]) -> set[str]:
    """Return the paths that have no parent among them."""
    found: set[str] = set()
    for path in sorted(paths):
        parts = path.split("/")
        if not any("/".join(parts[:n]) in found for n in range(1, len(parts))):
            found.add(path)
    return found


def _same_but_for_time(before: _Signature | None, after: _Signature) -> bool:
    return before is not None and stat.S_ISDIR(after[0]) and before[:3] == after[:3]


def _is_other_type(before: _Signature | None, after: _Signature) -> bool:
    return before is not None and stat.S_IFMT(before[0]) != stat.S_IFMT(after[0])


def _signatures(root: str) -> Iterator[tuple[str, _Signature]]:
    """Yield each path with what changes when the file does. Mode, owner and group come first."""
    for path, entry in _walk(root):
        s = entry.stat(follow_symlinks=False)
        is_folder = stat.S_ISDIR(s.st_mode)
        # A folder's size and times follow what is in it, which is compared on its own.
        rest = () if is_folder else (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
        yield path, (s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns if is_folder else 0, *rest)


def _remove(place: str) -> None:
    if os.path.isdir(place) and not os.path.islink(place):
        remove_tree(Path(place))
    elif os.path.lexists(place):
        os.unlink(place)


def _copy_tree(source: str, target: str, *, keeps_owners: bool) -> None:
    """Copy a folder's content over another's, hard links kept."""
    links: dict[tuple[int, int], str] = {}
    folders: list[tuple[str, os.stat_result]] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in os.scandir(f"{source}/{folder}"):
            path = f"{folder}/{entry.name}" if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            place = f"{target}/{path}"
            if stat.S_ISDIR(status.st_mode):
                if os.path.islink(place) or not os.path.isdir(place):
                    _remove(place)
                    os.mkdir(place, 0o700)
                os.chmod(place, 0o700)
                folders.append((path, status))
                pending.append(path)
            else:
                _remove(place)
                _copy_one(entry.path, place, status, links, keeps_owners=keeps_owners)
    for path, status in reversed(folders):
        _finish(f"{source}/{path}", f"{target}/{path}", status, keeps_owners=keeps_owners)
    _finish(source, target, os.lstat(source), keeps_owners=keeps_owners)


def _copy_one(
    source: str,
    place: str,
    status: os.stat_result,
    links: dict[tuple[int, int], str],
    *,
    keeps_owners: bool,
) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), place)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(place)
    elif not stat.S_ISREG(status.st_mode):
        return
    else:
        if status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), place)
            if first != place:
                os.link(first, place)
                return
        copy_file(source, place, status.st_size)
    _finish(source, place, status, keeps_owners=keeps_owners)


def _finish(source: str, place: str, status: os.stat_result, *, keeps_owners: bool) -> None:
    """Give a copy the owner, the mode, the attributes and the times of its source."""
    if keeps_owners:
        os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        copy_attributes(source, place)
        os.chmod(place, stat.S_IMODE(status.st_mode))
    os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _gather(
    root: str,
    target: str,
    changed: list[str],
    after: dict[str, _Signature],
    *,
    move: bool,
    owners: bool,
) -> None:
    """Bring the changed files, and the folders above them, into ``target``."""
    folders: dict[str, None] = {}
    links: dict[tuple[int, int], str] = {}
    for path in sorted(changed):
        parts = path.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts))]
        is_folder = stat.S_ISDIR(after[path][0])
        for folder in [*above, path] if is_folder else above:
            if folder not in folders:
                os.mkdir(f"{target}/{folder}", 0o700)
                folders[folder] = None
        if is_folder:
            continue
        source = f"{root}/{path}"
        if move:
            _open_parent(source)
            os.rename(source, f"{target}/{path}")
        else:
            _copy_one(source, f"{target}/{path}", os.lstat(source), links, keeps_owners=owners)
    for folder in reversed(folders):
        source = f"{root}/{folder}"
        _finish(source, f"{target}/{folder}", os.lstat(source), keeps_owners=owners)
        os.chmod(f"{target}/{folder}", stat.S_IMODE(after[folder][0]))
    _finish(root, target, os.lstat(root), keeps_owners=owners)


def _open_parent(path: str) -> None:
    """Allow this user to take a file out of its folder."""
    parent = os.path.dirname(path)
    mode = stat.S_IMODE(os.lstat(parent).st_mode)
    if os.geteuid() != 0 and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(parent, mode | stat.S_IRWXU)
