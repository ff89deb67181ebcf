"""A file tree in the making: paths from packages and recipes, written out as one layer."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, cast

# The folders that a merged /usr replaces: https://wiki.debian.org/UsrMerge
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_SETUID = 0o6000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link. Content is ``data``, or lies in ``file`` at ``offset``."""

    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    data: bytes = b""
    file: Path | None = None
    offset: int = 0
    size: int = 0


class Tree:
    """Paths, without leading slash, to entries. Adding to a path replaces what was there."""

    def __init__(self, keep: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self._keep, self._drop = tuple(keep), tuple(drop)

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        """Add an empty folder."""
        self.entries[path] = Entry(tarfile.DIRTYPE, mode)

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.entries[path] = Entry(tarfile.SYMTYPE, 0o777, target=target)

    def add_bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file with this content."""
        self.entries[path] = Entry(tarfile.REGTYPE, mode, data=data, size=len(data))

    def add_folder_content(self, folder: Path) -> None:
        """Add every file below ``folder``, executable where it is a script."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                data = file.read_bytes()
                mode = 0o755 if data.startswith(b"#!") else 0o644
                self.add_bytes(file.relative_to(folder).as_posix(), data, mode)

    def add_deb(self, package: Path, scratch: Path) -> str:
        """Add a Debian package's files that are wanted; return its control paragraph.

        Its tar is kept in ``scratch`` until the layer is written. Format: deb(5).
        """
        tar = scratch / f"{package.stem}.tar"
        with tar.open("wb") as out:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=out, check=True)
        self._add_tar(tar, merged_path)
        control = subprocess.run(
            ["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True
        )
        return control.stdout

    def add_tgz(self, package: Path, scratch: Path, folder: str) -> None:
        """Add an npm package: all in its ``package/`` goes to ``folder``."""
        tar = scratch / f"{package.stem}.tar"
        with tarfile.open(package) as compressed, tar.open("wb") as out:
            unpacked = cast("IO[bytes]", compressed.fileobj)
            unpacked.seek(0)
            shutil.copyfileobj(unpacked, out)
        self._add_tar(tar, lambda path: f"{folder}/{path.partition('/')[2]}")

    def _add_tar(self, tar: Path, place: Callable[[str], str]) -> None:
        with tarfile.open(tar) as archive:
            for member in archive:
                path = place(inside(member.name)).strip("/")
                if not path or path in _MERGED or not self._wanted(path, folder=member.isdir()):
                    continue
                target = member.linkname
                if member.islnk():
                    target = place(inside(target))
                self.entries[path] = Entry(
                    member.type, member.mode & 0o7777, member.uid, member.gid, target,
                    file=tar, offset=member.offset_data, size=member.size,
                )  # fmt: skip

    def add_wheel(self, wheel: Path, scratch: Path, moves: dict[str, str]) -> None:
        """Add the folders of a wheel that ``moves`` names, each at its new place."""
        folder = scratch / wheel.stem
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                source = next((s for s in moves if info.filename.startswith(s)), None)
                if source is None or info.is_dir():
                    continue
                path = moves[source] + inside(info.filename)[len(source) :]
                mode = (info.external_attr >> 16) & 0o777 or 0o644
                if self._wanted(path, folder=False):
                    file = Path(archive.extract(info, folder))
                    self.entries[path] = Entry(
                        tarfile.REGTYPE, mode, file=file, size=info.file_size
                    )

    def _wanted(self, path: str, *, folder: bool) -> bool:
        if any(fnmatchcase(path, glob) for glob in self._drop):
            return False
        if not self._keep:
            return True
        return not folder and any(fnmatchcase(path, glob) for glob in self._keep)

    def content(self, path: str) -> bytes:
        """Return a file's content, following links.

        Raises:
            ValueError: the links lead in a circle.
        """
        start, seen = path, set()
        while (entry := self.entries[path]).kind == tarfile.SYMTYPE:
            if path in seen:
                raise ValueError(f"the links of {start} lead in a circle")
            seen.add(path)
            path = _resolved(path, entry.target)
        if entry.file is None:
            return entry.data
        with entry.file.open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.size)

    def write(self, out: IO[bytes]) -> None:
        """Write the tree as a tar: sorted, parents first, times zero, so always the same."""
        self._add_parents()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.entries, key=lambda p: (self._is_hard_link(p), p)):
                entry = self.entries[path]
                member = tarfile.TarInfo(path)
                member.type, member.mode, member.linkname = entry.kind, entry.mode, entry.target
                member.uid, member.gid, member.mtime = entry.uid, entry.gid, 0
                if entry.kind != tarfile.REGTYPE:
                    archive.addfile(member)
                    continue
                member.size = entry.size
                if entry.file is None:
                    archive.addfile(member, io.BytesIO(entry.data))
                else:
                    with entry.file.open("rb") as file:
                        file.seek(entry.offset)
                        archive.addfile(member, file)

    def _is_hard_link(self, path: str) -> bool:
        return self.entries[path].kind == tarfile.LNKTYPE

    def _add_parents(self) -> None:
        for path in list(self.entries):
            for parent in Path(path).parents:
                if parent.as_posix() not in (".", *self.entries):
                    self.add_folder(parent.as_posix())

    def drop_setuid(self) -> None:
        """Take set-user-ID bits off, which an image for builds has no use for."""
        for path, entry in self.entries.items():
            if entry.kind == tarfile.REGTYPE and entry.mode & _SETUID:
                self.entries[path] = replace(entry, mode=entry.mode & ~_SETUID)


def inside(name: str) -> str:
    """Return an archive member's name without ``./`` and leading slashes.

    Raises:
        ValueError: it leads out of the tree.
    """
    if ".." in name.split("/"):
        raise ValueError(f"the package has a file that leads out of it: {name}")
    return name.removeprefix("./").strip("/")


def merged_path(path: str) -> str:
    """Return where a path lies when /bin, /sbin and /lib are links into /usr."""
    first, _, rest = path.partition("/")
    return f"usr/{first}/{rest}" if first in _MERGED and rest else path


def add_merged_links(tree: Tree) -> None:
    """Add the links that make /bin, /sbin and /lib parts of /usr."""
    for name in ("bin", "lib", "lib64", "sbin"):
        tree.add_folder(f"usr/{name}")
        tree.add_link(name, f"usr/{name}")


def _resolved(path: str, target: str) -> str:
    if target.startswith("/"):
        return merged_path(target.lstrip("/"))
    parts = [*path.split("/")[:-1]]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]  # at the root it stays there
        elif part not in ("", "."):
            parts.append(part)
    return merged_path("/".join(parts))
