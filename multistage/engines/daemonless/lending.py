"""Puts mounts into an image's files where nothing can be mounted, for the time of one RUN."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multistage.engines.daemonless.files import lies_in
from multistage.engines.daemonless.sandbox import Mount
from multistage.engines.daemonless.tree import FolderDelta, Tree
from multistage.errors import LearnerError, MachineError


@contextmanager
def lent(root: Path, mounts: list[Mount], stubs: list[str]) -> Iterator[list[Mount]]:
    """Move folders to where they should be mounted, copy files there, and take them back after.

    What is hidden by a mount is moved aside. ``stubs`` gets the folders that were made for it.

    Raises:
        LearnerError: the command moved a folder away that something is mounted in.
        MachineError: one cache is asked for at two places.
    """
    taken_back: list[tuple[str, str, str]] = []
    try:
        for number, mount in enumerate(mounts):
            place = f"{root}/{_place(root, mount.target)}"
            if not os.path.lexists(mount.source):  # moved already
                raise MachineError(
                    f"{mount.target}: a folder cannot be at two places in the chroot sandbox.",
                    mend="Give each cache mount an id of its own, or build with Docker.",
                )
            _make_parents(root, os.path.dirname(place), stubs)
            aside = f"{root}.aside-{number}"
            if os.path.lexists(place):
                os.rename(place, aside)
            taken_back.append((place, mount.source, aside))
            if os.path.isdir(mount.source):
                os.rename(mount.source, place)
            else:
                shutil.copy(mount.source, place)
                status = os.stat(mount.source)
                os.chown(place, status.st_uid, status.st_gid)
        yield []
        for place, _source, _aside in taken_back:
            if not _is_in(root, place):
                raise LearnerError(
                    f"The command put something in place of a folder above "
                    f"{place[len(str(root)) :]}, where something is mounted.",
                    mend="Docker does not allow that either: leave the folders of mounts alone.",
                )
    finally:
        for place, source, aside in reversed(taken_back):
            if not _is_in(root, place):  # it would be taken from this machine
                continue
            is_folder = os.path.isdir(place) and not os.path.islink(place)
            if is_folder and not os.path.lexists(source):
                os.rename(place, source)
            elif os.path.lexists(place):
                os.unlink(place)
            if os.path.lexists(aside):
                os.rename(aside, place)


def _is_in(root: Path, place: str) -> bool:
    return lies_in(root, place[len(str(root)) :])


def _place(root: Path, target: str) -> str:
    """Return a path in the image, links followed inside it."""
    return Tree([FolderDelta("root", root)]).resolve(target)


def _make_parents(root: Path, folder: str, stubs: list[str]) -> None:
    if os.path.isdir(folder):
        return
    _make_parents(root, os.path.dirname(folder), stubs)
    os.mkdir(folder, 0o755)
    stubs.append(folder[len(str(root)) :])
