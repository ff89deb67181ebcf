"""Unpacks one layer onto the folder that holds the layers below it.

Format: https://github.com/opencontainers/image-spec/blob/main/layer.md ("Applying Changesets"
and "Whiteouts"). What the specification leaves open is done as containerd does it:
https://github.com/containerd/containerd/blob/main/pkg/archive/tar.go
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multistage.engines.daemonless.layers.attributes import attributes, set_attributes
from multistage.engines.daemonless.layers.entries import (
    LayerStream,
    Limits,
    entries,
    inside,
    mtime_ns,
    owner,
    pieces,
    raw,
    untrusted,
)
from multistage.engines.daemonless.layers.rooted import Folder, Misplaced, Rooted, shown
from multistage.engines.daemonless.layers.whiteouts import Whiteouts
from multistage.errors import MachineError
from multistage.images.streams import Pump, Readable

__all__ = ["Limits", "Unpacked", "unpack_layer"]

_MODE = 0o7777
_MAX_TARGET = 4095  # bytes; symlink(2) takes no more
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was in a layer.

    Attributes:
        files: how many files and links were brought.
        unpacked_size: bytes of all regular files, hard links counted once.
        diff_id: ``sha256:…`` of the uncompressed tar, the layer's DiffID in the image's config.
        owners: path to (uid, gid), for all in the root that should not belong to 0:0. Paths have
            no leading slash and no link in them; the root's is ``.``. Empty where the files have
            been given their owners.
        left_out: (path, why) of the entries that were not made.
        attributes_left_out: how many extended attributes were not set.
    """

    files: int
    unpacked_size: int
    diff_id: str
    owners: dict[str, tuple[int, int]]
    left_out: tuple[tuple[str, str], ...]
    attributes_left_out: int


def unpack_layer(
    stream: Readable,
    root: Path,
    *,
    owners: bool,
    whiteouts: bool = True,
    limits: Limits = _LIMITS,
    owners_below: Mapping[str, tuple[int, int]] | None = None,
) -> Unpacked:
    """Unpack a layer onto what the layers below have brought; nothing leaves ``root``.

    Where it raises, ``root`` is left half done, and with modes that are not the layers'.

    Args:
        stream: the layer's tar, plain, gzip or zstd.
        root: an existing folder.
        owners: whether files get their owners, which takes root's rights.
        whiteouts: whether ``.wh.`` names remove what lower layers brought; else they are files.
        limits: what is taken for a bomb.
        owners_below: the ``owners`` of what was unpacked into ``root`` before.

    Raises:
        MachineError: the layer is damaged, or does what it should not.
        OSError: the disk fails, or whatever ``stream`` reads from.
    """
    hasher = hashlib.sha256()
    with Pump(hasher.update) as pump:
        job = _Job(root, LayerStream(stream, (pump.put,), limits), owners, whiteouts, limits)
        job.owners.update(owners_below or {})
        with job.rooted:
            try:
                job.run()
            except tarfile.TarError as error:
                raise MachineError(
                    f"A layer is damaged: {error}.", mend="Fetch or build it again."
                ) from error
            except Misplaced as error:
                raise untrusted(str(error)) from error
    return Unpacked(
        files=job.files,
        unpacked_size=job.size,
        diff_id=f"sha256:{hasher.hexdigest()}",
        owners=job.owners,
        left_out=tuple(job.left_out),
        attributes_left_out=job.attributes_left_out,
    )


class _Job:
    def __init__(
        self, root: Path, stream: LayerStream, chown: bool, whiteouts: bool, limits: Limits
    ) -> None:
        self._stream, self._limits = stream, limits
        self._chown = chown
        self.rooted = Rooted(root, self._removed)
        self._whiteouts = Whiteouts(self.rooted) if whiteouts else None
        self.files = self.size = self.attributes_left_out = 0
        self.owners: dict[str, tuple[int, int]] = {}
        self.left_out: list[tuple[str, str]] = []
        self._absent: set[bytes] = set()  # the paths that were left out

    def run(self) -> None:
        for member in entries(self._stream, self._limits):
            path = inside(member.name, self._limits)
            if not path:
                self._root(member)
            elif self._whiteouts is None or not self._whiteouts.is_reserved(path):
                self._bring(path, member)
            elif not self._whiteouts.obey(path):
                # AUFS kept files of its own under such names.
                self._leave_out(path, "its name is reserved for whiteouts")
        self._stream.drain()
        self.rooted.finish()

    def _removed(self, path: bytes) -> None:
        self.owners.pop(_text(path), None)

    def _leave_out(self, path: bytes, why: str) -> None:
        self._absent.add(path)
        self.left_out.append((_text(path), why))

    def _root(self, member: tarfile.TarInfo) -> None:
        if not member.isdir():
            raise untrusted("it replaces the root folder by a file")
        self._folder(self.rooted.folder(b""), member)

    def _bring(self, asked: bytes, member: tarfile.TarInfo) -> None:
        above, _, name = asked.rpartition(b"/")
        place = self.rooted.folder(above)
        path = place.below(name)
        if self._whiteouts is not None:
            self._whiteouts.added(path)
        if member.isdir():
            self._folder(self.rooted.new_folder(place, name), member)
            return
        if member.isreg():
            self._file(place, name, member)
        elif member.issym():
            self._link(place, name, member)
        elif member.islnk():
            if not self._hard_link(place, name, member):
                return
        elif member.isfifo():
            self._fifo(place, name, member)
        else:
            self.rooted.remove(place, name)
            self._leave_out(path, "a device" if member.isdev() else "of an unknown kind")
            return
        self.files += 1

    def _folder(self, folder: Folder, member: tarfile.TarInfo) -> None:
        self._owned(folder.path, member, lambda u, g: os.chown(b".", u, g, dir_fd=folder.fd))
        if found := attributes(member):
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.fd)
            try:
                self.attributes_left_out += set_attributes(fd, found)
            finally:
                os.close(fd)
        self.rooted.end_with(folder, member.mode & _MODE, mtime_ns(member))

    def _file(self, place: Folder, name: bytes, member: tarfile.TarInfo) -> None:
        self.size += member.size
        if self.size > self._limits.total_bytes:
            raise untrusted(f"it unpacks to more than {self._limits.total_bytes:,} bytes")
        fd = self.rooted.new_file(place, name)
        try:
            self._write(fd, member)
            self._owned(place.below(name), member, lambda u, g: os.fchown(fd, u, g))
            # After the owner, which takes capabilities and set-user-ID away; before the mode,
            # which may forbid it.
            self.attributes_left_out += set_attributes(fd, attributes(member))
            os.fchmod(fd, member.mode & _MODE)
            os.utime(fd, ns=(mtime_ns(member),) * 2)
        finally:
            os.close(fd)

    def _write(self, fd: int, member: tarfile.TarInfo) -> None:
        for offset, piece in pieces(self._stream, member):
            if member.sparse is not None:
                os.lseek(fd, offset, os.SEEK_SET)
            rest = piece
            while rest:
                rest = rest[os.write(fd, rest) :]
        if member.sparse is not None:
            os.ftruncate(fd, member.size)

    def _link(self, place: Folder, name: bytes, member: tarfile.TarInfo) -> None:
        target = raw(member.linkname)
        if not target or b"\0" in target or len(target) > _MAX_TARGET:
            raise untrusted(f"the link {shown(place.below(name))} has a target that no link has")
        self.rooted.remove(place, name)
        os.symlink(target, name, dir_fd=place.fd)
        self._dressed(place, name, member)

    def _fifo(self, place: Folder, name: bytes, member: tarfile.TarInfo) -> None:
        self.rooted.remove(place, name)
        os.mkfifo(name, 0o600, dir_fd=place.fd)
        self._dressed(place, name, member)
        os.chmod(name, member.mode & _MODE, dir_fd=place.fd)

    def _dressed(self, place: Folder, name: bytes, member: tarfile.TarInfo) -> None:
        """Give owner and time to what cannot be opened for it."""

        def chown(uid: int, gid: int) -> None:
            os.chown(name, uid, gid, dir_fd=place.fd, follow_symlinks=False)

        self._owned(place.below(name), member, chown)
        self.attributes_left_out += len(attributes(member))
        os.utime(name, ns=(mtime_ns(member),) * 2, dir_fd=place.fd, follow_symlinks=False)

    def _hard_link(self, place: Folder, name: bytes, member: tarfile.TarInfo) -> bool:
        """Make a hard link; return False where what it links to was left out."""
        above, _, base = inside(member.linkname, self._limits).rpartition(b"/")
        source, path = self.rooted.find(above), place.below(name)
        target = source.below(base) if source and base else None
        if target != path:
            self.rooted.remove(place, name)
        there = self.rooted.stat(source, base) if source and base else None
        if there is None and target in self._absent:
            self._leave_out(path, f"a link to {_text(target or b'')}, which was left out")
            return False
        if source is None or target is None or there is None or stat.S_ISDIR(there.st_mode):
            raise untrusted(f"{shown(path)} is a link to a file that is not there")
        if target != path:
            os.link(base, name, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
            self._own(path, self.owners.get(_text(target), (0, 0)))
        return True

    def _owned(
        self, path: bytes, member: tarfile.TarInfo, chown: Callable[[int, int], None]
    ) -> None:
        ids = owner(member)
        if self._chown:
            chown(*ids)
        else:
            self._own(path, ids)

    def _own(self, path: bytes, ids: tuple[int, int]) -> None:
        if ids != (0, 0):
            self.owners[_text(path)] = ids
        elif self.owners:
            self.owners.pop(_text(path), None)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape") or "."
