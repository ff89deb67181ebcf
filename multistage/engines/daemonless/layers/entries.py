"""The entries of a layer's tar, checked before anything acts on them.

Formats: pax(1) of POSIX.1-2017, "pax Interchange Format" and "ustar Interchange Format"; GNU tar
manual, D.2 "Storing Sparse Files", for sparse files and long names.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile

import zstandard
from isal.igzip_lib import IsalError

from multistage.engines.daemonless.layers.rooted import shown
from multistage.errors import MachineError
from multistage.images.streams import BLOCK, ForwardStream, Readable, decompressed

_DAMAGE = (EOFError, BadGzipFile, IsalError, zlib.error, zstandard.ZstdError)
# What tarfile lets through where a header makes no sense.
_NONSENSE = (ValueError, LookupError, ArithmeticError, TypeError, RecursionError)

# Extended headers and long names, which tarfile reads into memory whole.
_IN_MEMORY = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_PLAIN_TYPES = (
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.XHDTYPE,
)
# Where a header has mode, uid, gid, size, mtime and checksum; and name, target and prefix.
_NUMBERS = ((100, 107), (108, 115), (116, 123), (124, 135), (136, 147), (148, 154))
_TEXTS = ((0, 100), (157, 257), (345, 500))
_BLANK_CHECKSUM = 8 * ord(" ")  # the checksum counts its own field as blanks
_MAX_EXTENDED = 1 << 20  # bytes
_MAX_HEADERS = 4 << 20  # bytes, of all that one entry has

_TIME = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?")
_LAST_SECOND = (1 << 34) - 1  # what ext4 can store, in the year 2446 rounded up
_NO_ID = 0xFFFFFFFF  # stands for "leave it" in chown(2)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layer may have before it is taken for a bomb.

    Attributes:
        entries: how many.
        total_bytes: of all files, unpacked; holes count.
        path_bytes: of a path.
        name_bytes: of one name in a path.
        depth: names in a path.
    """

    entries: int = 2_000_000
    total_bytes: int = 64 << 30
    path_bytes: int = 4096
    name_bytes: int = 255
    depth: int = 256


def untrusted(why: str) -> MachineError:
    """Return the error for a layer that does what no builder of images does."""
    return MachineError(
        f"This layer cannot be trusted: {why}.",
        mend="Use another image, or build this one again with a builder you trust.",
    )


class LayerStream(ForwardStream):
    """The uncompressed tar of a layer; what its headers take is bounded.

    Args:
        layer: plain, gzip or zstd.
        listeners: are given the whole tar, in order, in blocks.
        limits: what is too much.

    Raises:
        tarfile.ReadError: when read, where the compressed data is damaged.
        OSError: when read, where the disk or the network fails.
    """

    def __init__(
        self, layer: Readable, listeners: tuple[Callable[[memoryview], None], ...], limits: Limits
    ) -> None:
        source = decompressed(layer)
        # A zstd frame that is cut short ends without an error: the tar has to say that it ends.
        self.must_say_end = isinstance(source, zstandard.ZstdDecompressionReader)
        headers = limits.entries * 4 * tarfile.BLOCKSIZE
        super().__init__(_Sound(source), listeners, limits.total_bytes + headers)
        self._left = _MAX_HEADERS
        self.has_said_end = False

    def next_entry(self) -> None:
        """Begin to count the bytes of another entry's headers."""
        self._left = _MAX_HEADERS

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end; tarfile reads headers through this."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise tarfile.ReadError("it has a header beyond all reason")
        data = super().read(size)
        self.has_said_end = bool(data)
        return data


class _Sound:
    """A source whose data may be damaged, which is another thing than a disk that fails."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes | memoryview:
        try:
            return self._source.read(size)
        except _DAMAGE as error:  # type: ignore[misc]  # IsalError has no type
            raise tarfile.ReadError(str(error)) from error


class _Header(tarfile.TarInfo):
    """Takes a damaged header for one: tarfile takes it for the end of the archive.

    Plain POSIX headers are read here, which takes a third of the time.
    """

    __slots__ = ()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = cls._plain(buf, encoding, errors) or super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0:
            raise tarfile.ReadError("an entry says that it has less than no bytes")
        if header.type in _IN_MEMORY and header.size > _MAX_EXTENDED:
            raise tarfile.ReadError("it has an extended header beyond all reason")
        return header

    @classmethod
    def _plain(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header | None:
        if len(buf) != tarfile.BLOCKSIZE or buf[156:157] not in _PLAIN_TYPES:
            return None
        header = cls()
        try:
            header.mode, header.uid, header.gid, header.size, header.mtime, checksum = (
                int(buf[start:end], 8) for start, end in _NUMBERS
            )
        except ValueError:
            return None
        if sum(buf) - sum(buf[148:156]) + _BLANK_CHECKSUM != checksum:
            return None
        name, target, prefix = (
            buf[start:end].partition(b"\0")[0].decode(encoding, errors) for start, end in _TEXTS
        )
        header.type, header.linkname = bytes(buf[156:157]), target
        # GNU tar keeps other things where POSIX has the prefix.
        header.name = f"{prefix}/{name}" if prefix and buf[257:263] == b"ustar\0" else name
        return header


class _Archive(tarfile.TarFile):
    """Leaves global extended headers out, as Docker does: they would add up in memory."""

    tarinfo = _Header
    members: list[tarfile.TarInfo]

    @property
    def pax_headers(self) -> dict[str, str]:
        return {}

    @pax_headers.setter
    def pax_headers(self, headers: object) -> None:
        pass


def entries(stream: LayerStream, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """Yield the entries in one pass; each one's content is to be read before the next.

    Raises:
        tarfile.ReadError: the archive is damaged, cut short, or has too many entries.
    """
    archive = None
    for place in range(limits.entries + 1):
        stream.next_entry()
        try:
            archive = archive or _Archive(fileobj=stream, encoding="utf-8")  # type: ignore[arg-type]
            member = archive.next()
        except _NONSENSE as error:
            raise tarfile.ReadError(f"a header makes no sense ({error})") from error
        if member is None:
            if stream.must_say_end and not stream.has_said_end:
                raise tarfile.ReadError("it is cut short")
            return
        if place == limits.entries:
            raise tarfile.ReadError(f"it holds more than {limits.entries:,} entries")
        if member.size < 0:
            raise tarfile.ReadError(
                f"{shown(raw(member.name))} says that it has less than no bytes"
            )
        archive.members = []
        yield member


def pieces(stream: LayerStream, member: tarfile.TarInfo) -> Iterator[tuple[int, memoryview]]:
    """Yield the content of a file with each piece's offset in it; between them are holes.

    Raises:
        tarfile.ReadError: there is less than the header says, or its map makes no sense.
    """
    end = 0
    sparse: list[tuple[int, int]] | None = member.sparse  # type: ignore[assignment]
    for offset, size in [(0, member.size)] if sparse is None else sparse:
        if offset < end or size < 0 or offset + size > member.size:
            raise tarfile.ReadError(f"the map of holes in {shown(raw(member.name))} makes no sense")
        start, end = offset, offset + size
        while start < end:
            piece = stream.read_some(min(end - start, BLOCK))
            if not piece:
                raise tarfile.ReadError("it is cut short")
            yield start, piece
            start += len(piece)


def raw(text: str) -> bytes:
    """Return the bytes of a header's text as they are in the archive."""
    return text.encode("utf-8", "surrogateescape")


def inside(name: str, limits: Limits) -> bytes:
    """Return an entry's path without ``.``, double and outer slashes; empty for the root.

    Raises:
        MachineError: it has a ``..`` or a NUL in it, or is too long.
    """
    parts = [part for part in raw(name).split(b"/") if part not in (b"", b".")]
    path = b"/".join(parts)
    if b".." in parts or b"\0" in path:
        raise untrusted(f"no file in an image has such a path: {shown(path)}")
    if len(path) > limits.path_bytes or len(parts) > limits.depth:
        raise untrusted(f"it has too long a path: {shown(path)}")
    if parts and max(map(len, parts)) > limits.name_bytes:
        raise untrusted(f"it has too long a name: {shown(path)}")
    return path


def mtime_ns(member: tarfile.TarInfo) -> int:
    """Return the time of change in ns since 1970, 0 for one that no file system has."""
    exact = _TIME.fullmatch(member.pax_headers.get("mtime", ""))
    if exact is None:
        time = member.mtime
        return int(time) * 10**9 if 0 <= time <= _LAST_SECOND else 0
    sign, seconds, fraction = exact.groups()
    if sign or int(seconds) > _LAST_SECOND:
        return 0
    return int(seconds) * 10**9 + int((fraction or "").ljust(9, "0"))


def owner(member: tarfile.TarInfo) -> tuple[int, int]:
    """Return the entry's (uid, gid).

    Raises:
        MachineError: Linux has no such IDs.
    """
    if not (0 <= member.uid < _NO_ID and 0 <= member.gid < _NO_ID):
        raise untrusted("it has files of users that cannot exist")
    return member.uid, member.gid
