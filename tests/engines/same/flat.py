"""Reads an image's archive and lays its layers over one another: with Python's tarfile alone.

That is on purpose not the package's own reader: what they agree on is not agreed with oneself.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."
_XATTR = "SCHILY.xattr."
PAST = 1_000_000_000  # the time of all that the cases' contexts hold
_BLOCK = 1 << 20
_SHOWN = 500  # bytes; such a file is compared as it is, so that a difference can be read
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
}


@dataclass(frozen=True)
class File:
    """What is at one path of an image. ``inode`` is the same for hard links to one file."""

    kind: str
    mode: int
    owner: tuple[int, int]
    inode: int
    target: str = ""
    device: tuple[int, int] = (0, 0)
    size: int = 0
    content: str = ""
    time: int = 0
    attributes: tuple[tuple[str, str], ...] = ()
    linked: frozenset[str] = frozenset()

    def shown(self, *, owner: bool = True) -> dict[str, object]:
        """Return all that is compared, by name."""
        return {
            "kind": self.kind,
            "mode": oct(self.mode),
            "owner": self.owner if owner else None,
            "target": self.target,
            "device": self.device,
            "content": self.content,
            "attributes": self.attributes,
            # A file of the build context keeps its time; the times of a build are its own. Those
            # of folders change while Docker's client sends what is in them, or not.
            "time": self.time if self.time == PAST and self.kind != "folder" else None,
            "hard links": sorted(self.linked),
        }


@dataclass(frozen=True)
class Image:
    """An image: its config document, its files, and the bytes of files in each layer."""

    document: dict[str, Any]
    files: dict[str, File]
    layer_sizes: list[int]
    layer_names: list[frozenset[str]] = field(default_factory=list)


def read_image(archive: Path) -> Image:
    """Read an archive as ``docker save`` writes it."""
    with tarfile.open(archive) as tar:
        (entry,) = json.loads(_read(tar, "manifest.json"))
        document = json.loads(_read(tar, entry["Config"]))
        tree = _Tree()
        for layer in entry["Layers"] or ():  # Docker writes null for none
            tree.begin()
            with _opened(tar, layer) as opened:
                for member in opened:
                    tree.add(member, opened)
    return Image(document, tree.finished(), tree.sizes, [frozenset(n) for n in tree.names])


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None, name
    return member.read()


def _opened(tar: tarfile.TarFile, name: str) -> tarfile.TarFile:
    stream: Any = tar.extractfile(name)
    head = stream.read(4)
    stream.seek(0)
    if head[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=stream)
    elif head == b"\x28\xb5\x2f\xfd":
        stream = zstandard.ZstdDecompressor().stream_reader(stream)
    return tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")


class _Tree:
    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._new: set[str] = set()  # of the layer that is being read
        self._inodes = 0
        self.sizes: list[int] = []
        self.names: list[set[str]] = []

    def begin(self) -> None:
        self._new = set()
        self.sizes.append(0)
        self.names.append(set())

    def add(self, member: tarfile.TarInfo, layer: tarfile.TarFile) -> None:
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        folder, _, name = path.rpartition("/")
        self.names[-1].add(path)
        if name == _OPAQUE:
            for below in list(self._below(folder)):
                if below not in self._new:
                    del self._files[below]
            return
        if name.startswith(_WHITEOUT):
            self._remove("/".join(filter(None, (folder, name.removeprefix(_WHITEOUT)))))
            return
        if not path:
            return  # the root itself: engines set it up
        self._put(path, member, layer)
        self._new.add(path)

    def _below(self, folder: str) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        return (path for path in self._files if path.startswith(prefix))

    def _remove(self, path: str) -> None:
        for below in list(self._below(path)):
            del self._files[below]
        self._files.pop(path, None)

    def _put(self, path: str, member: tarfile.TarInfo, layer: tarfile.TarFile) -> None:
        present = self._files.get(path)
        if present is not None and not (present.kind == "folder" and member.isdir()):
            self._remove(path)
        if member.islnk():
            source = "/".join(p for p in member.linkname.split("/") if p not in ("", "."))
            self._files[path] = self._files[source]
            return
        self._inodes += 1
        size, content = self._content(member, layer)
        self._files[path] = File(
            kind=_KINDS[member.type],
            mode=0 if member.issym() else stat.S_IMODE(member.mode),  # a link's mode means nothing
            owner=(member.uid, member.gid),
            inode=self._inodes,
            target=member.linkname if member.issym() else "",
            device=(member.devmajor, member.devminor) if member.isdev() else (0, 0),
            size=size,
            content=content,
            time=int(member.mtime),
            attributes=tuple(
                sorted(
                    (name.removeprefix(_XATTR), value)
                    for name, value in member.pax_headers.items()
                    if name.startswith(_XATTR)
                )
            ),
        )

    def _content(self, member: tarfile.TarInfo, layer: tarfile.TarFile) -> tuple[int, str]:
        if not member.isreg():
            return 0, ""
        stream = layer.extractfile(member)
        assert stream is not None
        self.sizes[-1] += member.size
        if member.size <= _SHOWN:
            return member.size, repr(stream.read())
        hasher = hashlib.sha256()
        while data := stream.read(_BLOCK):
            hasher.update(data)
        return member.size, hasher.hexdigest()

    def finished(self) -> dict[str, File]:
        """Return the files, each with its other names."""
        names: dict[int, set[str]] = defaultdict(set)
        for path, file in self._files.items():
            names[file.inode].add(path)
        return {
            path: replace(file, linked=frozenset(names[file.inode] - {path}))
            for path, file in self._files.items()
        }
