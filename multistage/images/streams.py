"""Streams that are read once, forwards: what the meter reads archives and layers through."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import zstandard
from isal import igzip

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20  # bytes; how much a stream takes from its source at a time
_MAX_ENTRIES = 2_000_000


class Readable(Protocol):
    """Anything with ``read(size)``."""

    def read(self, size: int = ..., /) -> bytes | memoryview:
        """Return at most ``size`` bytes, nothing at the end and only there."""


class ForwardStream:
    """A stream that can be read and skipped through without copying, and listened to.

    ``tarfile`` in its plain mode skips a file's content with ``seek``; here that costs
    nothing, while its streaming mode (``r|``) copies every byte several times.

    Args:
        source: what to read.
        listeners: are given the whole source, in order, in blocks of at most ``BLOCK`` bytes.
        limit: more bytes than this are taken for a bomb.
    """

    def __init__(
        self,
        source: Readable,
        listeners: tuple[Callable[[memoryview], None], ...] = (),
        limit: int | None = None,
    ) -> None:
        self._source, self._listeners, self._limit = source, listeners, limit
        self._chunk, self._chunk_start, self._position = memoryview(b""), 0, 0

    def tell(self) -> int:
        """Return the position, in bytes from the start."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all that is left for -1."""
        pieces = []
        while size != 0 and (piece := self.read_some(size)):
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(pieces)

    def read_some(self, size: int) -> memoryview:
        """Return at most ``size`` bytes without copying them, nothing only at the end."""
        if not self._ready():
            return memoryview(b"")
        start = self._position - self._chunk_start
        piece = self._chunk[start:] if size < 0 else self._chunk[start : start + size]
        self._position += len(piece)
        return piece

    def seek(self, position: int, _whence: int = 0, /) -> int:
        """Skip forwards to ``position``, or to the end where that comes first."""
        if position < self._position:
            raise tarfile.ReadError("the archive refers back to data that has passed")
        while self._position < position and self._ready():
            self._position = min(position, self._chunk_start + len(self._chunk))
        return self._position

    def seekable(self) -> bool:
        """Say that ``seek`` works, forwards."""
        return True

    def drain(self) -> None:
        """Read to the end, so that every listener has heard everything."""
        while self._ready():
            self._position = self._chunk_start + len(self._chunk)

    def _ready(self) -> bool:
        """Make sure a byte is at hand; return False at the end of the source."""
        if self._position < self._chunk_start + len(self._chunk):
            return True
        self._chunk_start += len(self._chunk)
        self._chunk = memoryview(self._source.read(BLOCK))
        if self._limit is not None and self._chunk_start + len(self._chunk) > self._limit:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit:,} bytes")
        for listener in self._listeners:
            listener(self._chunk)
        return bool(self._chunk)


def read_fully(source: Readable, size: int) -> bytes:
    """Return ``size`` bytes, fewer only at the end, however small the source's own pieces are."""
    pieces = []
    while size and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class Prefixed(io.RawIOBase):
    """A stream with the bytes that were looked at put back in front."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes | memoryview:
        """Return at most ``size`` bytes: first the head, then the rest."""
        if not self._head:
            return self._rest.read(size)
        end = len(self._head) if size < 0 else size
        head, self._head = self._head[:end], self._head[end:]
        return head

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` as far as one read goes; the decompressors call this."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True


def decompressed(stream: Readable) -> Readable:
    """Return the tar inside a layer, whether it is plain, gzip or zstd (by its first bytes)."""
    head = read_fully(stream, 4)
    whole = Prefixed(head, stream)
    if head.startswith(b"\x1f\x8b"):
        return igzip.IGzipFile(fileobj=io.BufferedReader(whole, BLOCK), mode="rb")
    if head == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor()
        return reader.stream_reader(whole, read_across_frames=True)  # type: ignore[arg-type]
    return whole


def tar_entries(stream: ForwardStream) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of a tar in one pass, without keeping their headers in memory.

    Raises:
        tarfile.TarError: the stream is no tar archive, is cut short, or has too many entries.
    """
    try:
        yield from _entries(stream)
    except _NONSENSE as error:
        raise tarfile.ReadError(f"a header makes no sense: {error}") from error


# What tarfile lets through where a header makes no sense.
_NONSENSE = (ValueError, LookupError, ArithmeticError, TypeError, RecursionError)


def _entries(stream: ForwardStream) -> Iterator[_Header]:
    with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as archive:  # type: ignore[call-overload]
        for _ in range(_MAX_ENTRIES):
            member = archive.next()
            if member is None:
                return
            archive.members = []
            member.room = archive.offset - stream.tell()
            yield member
        raise tarfile.ReadError(f"it holds more than {_MAX_ENTRIES:,} entries")


def content(stream: ForwardStream, member: tarfile.TarInfo) -> Readable:
    """Return the content of the entry that was just yielded, to be read before the next."""
    return _Content(stream, member.size)


def is_plain(member: tarfile.TarInfo) -> bool:
    """Return whether the entry that was just yielded is a regular file whose content follows it.

    Of a sparse file only parts do. And an extended header may say another size than the one by
    which the next header is found: reading so much would run into it.
    """
    blocks = -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    room = member.room if isinstance(member, _Header) else 0
    return member.isreg() and not member.issparse() and blocks == room


class _Content:
    def __init__(self, stream: ForwardStream, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1, /) -> memoryview:
        if not self._left:
            return memoryview(b"")
        data = self._stream.read_some(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Header(tarfile.TarInfo):
    """Reads what the meter needs of a header: name, size, mode, type and link.

    ``tarfile`` reads all of it and computes two checksums; an image of 1 GB has tens of thousands
    of headers, which then take as long as hashing all of the image. What is not a plain POSIX
    header (https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, "ustar
    Interchange Format") is left to ``tarfile``.

    Attributes:
        room: bytes from here to the next header.
    """

    room = 0

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if buf[156:157] in _IN_MEMORY and tarfile.nti(buf[124:136]) > _MAX_EXTENDED:  # type: ignore[attr-defined]
            raise tarfile.HeaderError("it has an extended header beyond all reason")
        if len(buf) != tarfile.BLOCKSIZE or buf[156:157] not in _PLAIN_TYPES:
            return super().frombuf(buf, encoding, errors)
        try:
            size, mode = int(buf[124:135], 8), int(buf[100:107], 8)
            checksum = int(buf[148:154], 8)
        except ValueError:
            return super().frombuf(buf, encoding, errors)
        if sum(buf) - sum(buf[148:156]) + _BLANK_CHECKSUM != checksum:
            return super().frombuf(buf, encoding, errors)
        header = cls(_text(buf[:100], encoding, errors).rstrip("/"))
        header.size, header.mode, header.type = size, mode, bytes(buf[156:157])
        header.linkname = _text(buf[157:257], encoding, errors)
        if prefix := _text(buf[345:500], encoding, errors):
            header.name = f"{prefix}/{header.name}"
        return header


# File, hard link, symbolic link, folder, extended header.
_PLAIN_TYPES = (b"0", b"1", b"2", b"5", b"x")
# Extended headers and long names, which tarfile reads into memory whole.
_IN_MEMORY = (b"x", b"g", b"X", b"L", b"K")
_MAX_EXTENDED = 1 << 20  # bytes
_BLANK_CHECKSUM = 8 * ord(" ")  # the checksum counts its own field as blanks


def _text(field: bytes | bytearray, encoding: str, errors: str) -> str:
    return field.partition(b"\0")[0].decode(encoding, errors)


class Pump:
    """Feeds a consumer from a thread of its own: hashing and compressing release the GIL."""

    def __init__(self, consume: Callable[[memoryview], object]) -> None:
        self._consume = consume
        self._queue: Queue[memoryview] = Queue(maxsize=8)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def put(self, block: memoryview) -> None:
        """Hand over a block; waits while the consumer is far behind."""
        if block:
            self._queue.put(block)

    def __enter__(self) -> Pump:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(memoryview(b""))
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        while block := self._queue.get():
            if self._error is None:
                try:
                    self._consume(block)
                except Exception as error:
                    self._error = error
