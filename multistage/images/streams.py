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

BLOCK = 1 << 18  # bytes; how much a stream takes from its source at a time
_MAX_ENTRIES = 2_000_000


class Readable(Protocol):
    """Anything with ``read(size)``."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most ``size`` bytes, empty at the end."""


class ForwardStream:
    """A stream that can be skipped through without copying, and that others may listen to.

    ``tarfile`` in its plain mode skips a file's content with ``seek``; here that costs
    nothing, while its streaming mode (``r|``) copies every byte several times.

    Args:
        source: what to read.
        listeners: are given the whole source, in order, in blocks of ``BLOCK`` bytes.
        limit: more bytes than this are taken for a bomb.
    """

    def __init__(
        self,
        source: Readable,
        listeners: tuple[Callable[[bytes], None], ...] = (),
        limit: int | None = None,
    ) -> None:
        self._source, self._listeners, self._limit = source, listeners, limit
        self._chunk, self._chunk_start, self._position = b"", 0, 0

    def tell(self) -> int:
        """Return the position, in bytes from the start."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all that is left for -1."""
        pieces = []
        while size != 0 and self._ready():
            start = self._position - self._chunk_start
            piece = self._chunk[start:] if size < 0 else self._chunk[start : start + size]
            pieces.append(piece)
            self._position += len(piece)
            size -= len(piece) if size > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

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
        self._chunk = _read_fully(self._source, BLOCK)
        if self._limit is not None and self._chunk_start + len(self._chunk) > self._limit:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit:,} bytes")
        for listener in self._listeners:
            listener(self._chunk)
        return bool(self._chunk)


def _read_fully(source: Readable, size: int) -> bytes:
    """Return ``size`` bytes, fewer only at the end, however small the source's own pieces are."""
    pieces = []
    while size and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Prefixed(io.RawIOBase):
    """A stream with the bytes that were looked at put back in front."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes: first the head, then the rest."""
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read()
        head, self._head = self._head[:size], self._head[size:]
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
    head = _read_fully(stream, 4)
    whole = Prefixed(head, stream)
    if head.startswith(b"\x1f\x8b"):
        return igzip.IGzipFile(fileobj=whole, mode="rb")
    if head == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().stream_reader(whole, read_across_frames=True)
    return whole


def tar_entries(stream: ForwardStream) -> Iterator[tarfile.TarInfo]:
    """Yield the entries of a tar in one pass, without keeping their headers in memory.

    Raises:
        tarfile.TarError: the stream is no tar archive, is cut short, or has too many entries.
    """
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for _ in range(_MAX_ENTRIES):
            member = archive.next()
            if member is None:
                return
            archive.members = []
            yield member
        raise tarfile.ReadError(f"it holds more than {_MAX_ENTRIES:,} entries")


def content(stream: ForwardStream, member: tarfile.TarInfo) -> Readable:
    """Return the content of the entry that was just yielded, to be read before the next."""
    return _Content(stream, member.size)


class _Content:
    def __init__(self, stream: ForwardStream, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class Pump:
    """Feeds a consumer from threads of its own: hashing and compressing release the GIL.

    With more than one thread the consumer must not mind the order.
    """

    def __init__(self, consume: Callable[[bytes], object], threads: int = 1) -> None:
        self._consume = consume
        self._queue: Queue[bytes] = Queue(maxsize=8)
        self._error: BaseException | None = None
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(threads)]

    def put(self, block: bytes) -> None:
        """Hand over a block; waits while the consumer is far behind."""
        if block:
            self._queue.put(block)

    def __enter__(self) -> Pump:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._queue.put(b"")
        for thread in self._threads:
            thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        while block := self._queue.get():
            if self._error is None:
                try:
                    self._consume(block)
                except Exception as error:
                    self._error = error
