"""COPY and ADD: which files they take, and where each goes.

https://docs.docker.com/reference/dockerfile/#copy; what the reference leaves open is done as
BuildKit does it (solver/llbsolver/file/backend.go).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multistage.dockerfile.patterns import has_wildcard, wildcard
from multistage.engines.daemonless.digests import file_digest
from multistage.engines.daemonless.plan import CopyStep
from multistage.engines.daemonless.tree import ROOT_OWNER, Entry, Owner, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_owner
from multistage.engines.daemonless.writer import DeltaWriter, NotAFolderError, copy_file
from multistage.errors import LearnerError

_OCTAL = re.compile(r"^[0-7]{1,4}$")
_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Selected:
    """One source of a COPY.

    Attributes:
        top: its path in the tree it comes from.
        name: what it is called in its destination, if that is a folder.
        prefix: the folders that ``--parents`` keeps.
        entries: itself and, for a folder, everything in it.
    """

    top: str
    name: str
    prefix: str
    entries: tuple[Entry, ...]


def select(step: CopyStep, origin: Tree) -> tuple[Selected, ...]:
    """Return what a COPY's sources mean.

    Raises:
        LearnerError: a source is not there, or a pattern is malformed.
    """
    found = []
    for source in step.sources:
        pivot, pattern = _pivot(source) if step.parents else ("", source)
        places = list(_places(pattern, origin, deep=step.parents))
        if not places and not has_wildcard(source):  # BuildKit lets a pattern match nothing
            raise LearnerError(
                f"{source} is not there to be copied.",
                mend="Paths of COPY start at the build context, and .dockerignore may leave it out."
                if step.origin is None
                else "Paths of COPY --from start at the root of that stage: use absolute ones.",
            )
        for name, place in places:
            entries = tuple(_without(step.excludes, place, origin))
            prefix = ""
            if step.parents:
                below = place[len(pivot) :].strip("/") if pivot else place
                is_folder = bool(entries) and entries[0].is_folder
                prefix = below if is_folder else posixpath.dirname(below)
            found.append(Selected(place, name, prefix, entries))
    return tuple(found)


def _pivot(source: str) -> tuple[str, str]:
    """Split at ``/./``: only what comes behind it is kept of the parents."""
    before, mark, behind = source.partition("/./")
    return (before.strip("/"), f"{before}/{behind}") if mark else ("", source)


def _places(pattern: str, origin: Tree, *, deep: bool) -> Iterator[tuple[str, str]]:
    """Yield the names and paths that a source means, links on the way and at the end followed.

    Args:
        pattern: the source.
        origin: where it is looked for.
        deep: whether ``**`` means folders within one another: else it is another ``*``.
    """
    cleaned = posixpath.normpath(f"/{pattern}").lstrip("/")
    parts, wild = cleaned.split("/"), has_wildcard(pattern)
    if wild:
        for part in parts:  # also those that are never reached: BuildKit refuses them all
            _expression(part)
    for found in _matches("", parts, origin, deep=deep) if wild else (cleaned,):
        place = origin.resolve(found)
        if origin.lookup(place) is not None:
            yield posixpath.basename(found), place


def _matches(folder: str, parts: list[str], origin: Tree, *, deep: bool) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**" and deep:
        yield from _matches(folder, rest or ["*"], origin, deep=deep)
        for name in origin.names(folder):
            below = f"{folder}/{name}" if folder else name
            entry = origin.lookup(below)
            if entry is not None and entry.is_folder:
                yield from _matches(below, parts, origin, deep=deep)
        return
    expression = _expression(first)
    for name in origin.names(origin.resolve(folder)):
        if not expression.match(name):
            continue
        place = f"{folder}/{name}" if folder else name
        if rest:
            resolved = origin.resolve(place)
            entry = origin.lookup(resolved)
            if entry is not None and entry.is_folder:
                yield from _matches(resolved, rest, origin, deep=deep)
        else:
            yield place


def _without(excludes: tuple[str, ...], place: str, origin: Tree) -> Iterator[Entry]:
    """Yield a source and what is in it, without what ``--exclude`` names."""
    expressions = [_expression(posixpath.normpath(e).lstrip("/")) for e in excludes]
    left_out: str | None = None
    for entry in origin.walk(place):
        if left_out is not None and entry.path.startswith(left_out):
            continue
        left_out = None
        below = entry.path[len(place) :].lstrip("/") or posixpath.basename(place)
        if any(e.match(below) or e.match(entry.path) for e in expressions):
            left_out = f"{entry.path}/"
            continue
        yield entry


def _expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression.

    Raises:
        LearnerError: it is malformed.
    """
    try:
        return wildcard(pattern)
    except ValueError as error:
        raise LearnerError(
            f"{error}.", mend="Close the bracket; [[] stands for a bracket in a file's name."
        ) from error


def digest(step: CopyStep, selected: tuple[Selected, ...]) -> str:
    """Return a digest of what is copied: names, contents, modes and owners, and no times."""
    hasher = hashlib.sha256()
    for selection in selected:
        hasher.update(f"{selection.prefix}\0{selection.name}\n".encode("utf-8", "surrogateescape"))
        for entry in selection.entries:
            content = ""
            if entry.is_link:
                content = os.readlink(entry.real)
            elif entry.is_file:
                content = file_digest(entry.real, entry.status)
            owner = "" if step.chown else entry.owner
            line = (
                f"{entry.path[len(selection.top) :]}\0{entry.status.st_mode}\0{owner}\0{content}\n"
            )
            hasher.update(line.encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def copy(step: CopyStep, selected: tuple[Selected, ...], below: Tree, writer: DeltaWriter) -> None:
    """Write what a COPY brings.

    Args:
        step: the COPY.
        selected: what its sources mean.
        below: the stage's files so far.
        writer: writes the delta.

    Raises:
        LearnerError: the owner or the mode is unknown, or a folder meets a file.
    """
    owner = owner_of(step, below)
    mode = _mode(step.chmod)
    base = Tree([]) if step.link else below
    try:
        destination, is_folder = _destination(step, base)
        for name, content in step.files:
            place = posixpath.join(destination, name) if is_folder else destination
            chosen = _FILE_MODE if mode is None else mode
            writer.put_bytes(content.encode(), place.lstrip("/"), owner or ROOT_OWNER, chosen)
        for selection in selected:
            _copy_one(
                selection,
                destination,
                writer,
                is_folder=is_folder,
                owner=owner,
                mode=mode,
                parents=step.parents,
            )
    except NotAFolderError as error:
        raise LearnerError(
            f"{step.keyword} cannot write there: {error}.", mend="Choose another destination."
        ) from error


def _destination(step: CopyStep, below: Tree) -> tuple[str, bool]:
    """Return where it goes, links followed, and whether that is a folder."""
    place = below.resolve(step.destination)
    present = below.lookup(place)
    return place, step.destination.endswith("/") or (present is not None and present.is_folder)


def _copy_one(
    selection: Selected,
    destination: str,
    writer: DeltaWriter,
    *,
    is_folder: bool,
    owner: Owner | None,
    mode: int | None,
    parents: bool,
) -> None:
    if not selection.entries:
        return
    top = selection.entries[0]
    if parents:
        target = posixpath.join(destination, selection.prefix)
        if not top.is_folder:
            target = posixpath.join(target, selection.name)
    elif top.is_folder or not is_folder:
        target = destination
    else:
        target = posixpath.join(destination, selection.name)
    writer.next_source()
    for entry in selection.entries:
        below = entry.path[len(selection.top) :].lstrip("/")
        place = posixpath.join(target, below).strip("/")
        if entry is top and entry.is_folder and not parents:
            writer.make_folders(place, owner or ROOT_OWNER)
            if entry.path:  # the top of a build context or a stage has no time of its own
                writer.date_folder(place, entry.status.st_mtime_ns)
            continue
        writer.put(entry, place, owner, mode)


def owner_of(step: CopyStep, below: Tree) -> Owner | None:
    """Return what ``--chown`` says, ``None`` where it says nothing.

    Raises:
        LearnerError: the image has no such user or group.
    """
    if not step.chown:
        return None
    try:
        return find_owner(step.chown, below)
    except UnknownUserError as error:
        raise LearnerError(
            f"--chown={step.chown}: {error}.",
            mend="An image without /etc/passwd knows no names: use numbers, as in 65532:65532.",
        ) from error


def _mode(text: str) -> int | None:
    if not text:
        return None
    if not _OCTAL.match(text):
        raise LearnerError(f"--chmod={text} is no mode.", mend="Write it in octal: --chmod=755")
    return stat.S_IMODE(int(text, 8))


def materialize(step: CopyStep, origin: Tree, folder: Path, *, keeps_owners: bool) -> None:
    """Copy what a step takes into a folder of this machine, for a mount to show."""
    folders: list[tuple[str, Entry]] = []
    for selection in select(step, origin):
        for entry in selection.entries:
            below = entry.path[len(selection.top) :].lstrip("/")
            place = f"{folder}/{below or selection.name}"
            if entry.is_folder:
                os.makedirs(f"{folder}/{below}", exist_ok=True)
                folders.append((f"{folder}/{below}", entry))
                continue
            if entry.is_link:
                os.symlink(os.readlink(entry.real), place)
            elif entry.is_file:
                copy_file(entry.real, place, entry.status.st_size)
            else:
                continue
            _finish(entry, place, keeps_owners=keeps_owners)
    for place, entry in reversed(folders):
        _finish(entry, place, keeps_owners=keeps_owners)


def _finish(entry: Entry, place: str, *, keeps_owners: bool) -> None:
    """Give a copy the owner, the mode and the times of what it is a copy of."""
    if keeps_owners:
        os.chown(place, *entry.owner, follow_symlinks=False)
    if not entry.is_link:
        os.chmod(place, stat.S_IMODE(entry.status.st_mode))
    times = (entry.status.st_mtime_ns, entry.status.st_mtime_ns)
    os.utime(place, ns=times, follow_symlinks=False)
