"""A delta to a layer: a tar archive that is the same for the same files.

Format: https://github.com/opencontainers/image-spec/blob/main/layer.md. Entries are sorted, owners
are numbers, times whole seconds, at most ``SOURCE_DATE_EPOCH`` where that is set
(https://reproducible-builds.org/specs/source-date-epoch/).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from multistage.engines.daemonless.store import Store
from multistage.engines.daemonless.tree import Delta, Tree, is_whiteout

_BLOCK = 1 << 20
_RECORD = tarfile.RECORDSIZE
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."
_CAPABILITIES = "security.capability"


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer in the store. It is not compressed, so ``digest`` is its DiffID too."""

    digest: str
    size: int


def pack(delta: Delta, tree: Tree, store: Store, epoch: int | None = None) -> PackedLayer:
    """Write a delta as a layer into the store.

    Args:
        delta: the delta, the highest one of ``tree``.
        tree: knows whose the files are.
        store: where the layer goes.
        epoch: no time in the layer is later, in seconds since 1970.
    """
    with store.incoming() as out:
        writer = _Writer(out)
        for header, source in _entries(delta, tree, epoch):
            writer.add(header, source)
        writer.finish()
        out.flush()
        digest = f"sha256:{writer.hasher.hexdigest()}"
        store.adopt(Path(out.name), digest)
        return PackedLayer(digest, writer.size)


class _Writer:
    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.hasher = hashlib.sha256()
        self.size = 0

    def _write(self, data: bytes) -> None:
        self.hasher.update(data)
        self._out.write(data)
        self.size += len(data)

    def add(self, header: tarfile.TarInfo, source: str | None) -> None:
        self._write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        if source is None:
            return
        left = header.size
        with open(source, "rb", buffering=0) as file:  # paths may not be UTF-8
            while left:
                data = file.read(min(left, _BLOCK))
                if not data:
                    raise OSError(f"{source} became shorter while it was read")
                self._write(data)
                left -= len(data)
        self._write(bytes(-header.size % tarfile.BLOCKSIZE))

    def finish(self) -> None:
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.size % _RECORD))


def _entries(
    delta: Delta, tree: Tree, epoch: int | None
) -> Iterator[tuple[tarfile.TarInfo, str | None]]:
    links: dict[tuple[int, int], str] = {}
    removed = sorted(delta.removed)
    for path, status in _walk(delta.files):
        header = _header(delta, tree, path, status, epoch)
        source = None
        if stat.S_ISREG(status.st_mode):
            key = (status.st_dev, status.st_ino)
            first = links.setdefault(key, path) if status.st_nlink > 1 else path
            if first != path:
                header.type, header.linkname = tarfile.LNKTYPE, first
            else:
                header.size, source = status.st_size, f"{delta.files}/{path}"
        yield header, source
        if stat.S_ISDIR(status.st_mode) and path in delta.removed:
            yield _mark(f"{path}/{_OPAQUE}"), None
    for path in removed:
        if delta.at(path) is None:
            folder, _, name = path.rpartition("/")
            yield _mark(f"{folder}/.wh.{name}" if folder else f".wh.{name}"), None


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is in a folder in order, each folder before what is in it."""
    # A list, not recursion: an image may nest folders deeper than Python nests calls.
    pending = _listed(root, "")
    while pending:
        path, status = pending.pop()
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            pending += _listed(root, path)


def _listed(root: str, folder: str) -> list[tuple[str, os.stat_result]]:
    """Return what is in one folder, the last first."""
    with os.scandir(f"{root}/{folder}") as listing:
        entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
    found = []
    for entry in entries:
        status = entry.stat(follow_symlinks=False)
        if not is_whiteout(status) and not stat.S_ISSOCK(status.st_mode):
            found.append((f"{folder}/{entry.name}" if folder else entry.name, status))
    return found


def _mark(path: str) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.mode = 0
    return header


def _header(
    delta: Delta, tree: Tree, path: str, status: os.stat_result, epoch: int | None
) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.mode = stat.S_IMODE(status.st_mode)
    header.uid, header.gid = tree.owner(delta, path, status)
    header.mtime = int(status.st_mtime) if epoch is None else min(int(status.st_mtime), epoch)
    header.type = _TYPES.get(stat.S_IFMT(status.st_mode), tarfile.REGTYPE)
    real = f"{delta.files}/{path}"
    if header.type == tarfile.SYMTYPE:
        header.linkname = os.readlink(real)
    elif header.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        header.devmajor, header.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    header.pax_headers = _extended_attributes(real)
    return header


_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


def _extended_attributes(real: str) -> dict[str, str]:
    """Return a file's capabilities as pax records: Docker puts no other attribute into a layer."""
    try:
        value = os.getxattr(real, _CAPABILITIES, follow_symlinks=False)
    except OSError:
        return {}
    return {_XATTR + _CAPABILITIES: value.decode("utf-8", "surrogateescape")}
