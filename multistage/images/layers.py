"""Measures one layer: a tar archive, plain or compressed, read once as a stream.

Layer format: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass

import zstandard
from isal.igzip_lib import IsalError

from multistage.errors import UsageError
from multistage.images.streams import (
    BLOCK,
    ForwardStream,
    Pump,
    Readable,
    content,
    decompressed,
    is_plain,
    tar_entries,
)

# What reading a damaged layer may raise.
_DAMAGE = (
    tarfile.TarError,
    EOFError,
    OSError,
    IsalError,
    zstandard.ZstdError,
)

KINDS = ("base", "dependencies", "app", "config")

# At level 1 about 6 % above the gzip -6 that registries mostly store, and many times as fast.
# Fast gzip libraries were tried first: ISA-L's answer differs by a byte now and then for the same
# data, zlib-ng takes longer than the engine takes to hand the image out.
_ZSTD_LEVEL = 1
_THREADS = 3
_JOB = 1 << 20  # bytes that a thread takes at a time; more needs more memory
_MAX_TAR_BYTES = 64 << 30  # a layer that unpacks to more than this is taken for a bomb

_USERS = "etc/passwd"
_MAX_USERS = 1 << 20  # bytes of the list of users; others are a few kilobytes

# Paths, without the leading slash, that tell what a file is there for.
_CONFIG_FOLDERS = ("etc/",)
_DEPENDENCY_MARKS = ("node_modules/", "site-packages/", "dist-packages/", "/.cache/", "/_cacache/")
_DEPENDENCY_FOLDERS = (
    "usr/lib",
    "usr/bin/",
    "usr/sbin/",
    "usr/include/",
    "usr/local/go/",
    "usr/local/lib/",
    "usr/local/include/",
    "usr/share/doc/",
    "usr/share/man/",
    "root/.npm/",
    "root/.cache/",
    "go/pkg/",
    "lib/",
    "lib64/",
    "var/cache/",
    "var/lib/",
)


@dataclass(frozen=True, slots=True)
class File:
    """A file or link in a layer.

    Attributes:
        path: without a leading slash.
        size: bytes, 0 for links.
        mode: its permissions.
        digest: SHA-256 of a regular file's content, where the caller asked for it. A hard link
            has that of the file it names. Empty for other links, and for sparse files.
        content: of the list of users, where digests were asked for; empty for all other files.
    """

    path: str
    size: int
    mode: int
    digest: str = ""
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class MeasuredLayer:
    """One layer under the meter.

    Attributes:
        digest: SHA-256 of the uncompressed tar, the layer's DiffID in the image's config.
        unpacked_size: bytes of all regular files in the layer, hard links counted once.
        compressed_size: bytes of the layer's tar under this meter's zstd. Registries store
            a layer as its builder compressed it, so theirs differ by a few per cent.
        kind: what most of its bytes are: ``dependencies``, ``app`` or ``config``.
        files: the files and links, where the caller asked for them.
    """

    digest: str
    unpacked_size: int
    compressed_size: int
    kind: str
    files: tuple[File, ...] = ()


def file_kind(path: str) -> str:
    """Return what a file at ``path`` is there for: dependencies, config or app."""
    if any(mark in path for mark in _DEPENDENCY_MARKS) or path.startswith(_DEPENDENCY_FOLDERS):
        return "dependencies"
    return "config" if path.startswith(_CONFIG_FOLDERS) else "app"


def measure_layer(
    stream: Readable,
    *,
    keep_files: bool = False,
    keep_digests: bool = False,
    diff_id: str | None = None,
) -> MeasuredLayer:
    """Read a layer to its end and measure it, in constant memory unless files are kept.

    Args:
        stream: the layer, compressed or not.
        keep_files: whether the files are listed.
        keep_digests: whether the files that are listed have the digest of their content.
        diff_id: the digest of the uncompressed tar, where whoever hands out the layer vouches
            for it; else it is computed.

    Raises:
        UsageError: the data is no tar archive, is cut short, or unpacks beyond all reason.
    """
    hasher, compressor = hashlib.sha256(), _Compressor()
    with Pump(hasher.update) as hash_pump, Pump(compressor.update) as compress_pump:
        listeners = (compress_pump.put,) if diff_id else (hash_pump.put, compress_pump.put)
        tar = ForwardStream(decompressed(stream), listeners, limit=_MAX_TAR_BYTES)
        try:
            kinds, files = _walk(tar, keep_files, keep_digests)
            tar.drain()
        except _DAMAGE as error:  # type: ignore[misc]  # IsalError has no type
            raise UsageError(
                f"A layer of this image cannot be read: {error}.",
                mend="Build or save the image again.",
            ) from error
    compressor.finish()
    return MeasuredLayer(
        digest=diff_id or f"sha256:{hasher.hexdigest()}",
        unpacked_size=sum(kinds.values()),
        compressed_size=compressor.size,
        kind=max(kinds, key=lambda kind: kinds[kind]) if any(kinds.values()) else "config",
        files=tuple(files),
    )


def _walk(
    stream: ForwardStream, keep_files: bool, keep_digests: bool
) -> tuple[dict[str, int], list[File]]:
    kinds = {"dependencies": 0, "app": 0, "config": 0}
    files: list[File] = []
    digests = _Digests(stream) if keep_digests else None
    for member in tar_entries(stream):
        path = _path(member.name)
        size = member.size if member.isreg() else 0
        if not 0 <= size <= _MAX_TAR_BYTES:
            raise tarfile.ReadError(f"{path} says that it has {size:,} bytes")
        kinds[file_kind(path)] += size
        if keep_files and not member.isdir():
            digest, kept = digests.of(member) if digests else ("", b"")
            files.append(File(path, size, member.mode, digest, kept))
    return kinds, files


def _path(name: str) -> str:
    return name.removeprefix("./").lstrip("/")


class _Digests:
    """Hashes a layer's files, and knows the hashed ones by path: a hard link names one of them."""

    def __init__(self, stream: ForwardStream) -> None:
        self._stream = stream
        self._known: dict[str, tuple[str, bytes]] = {}

    def of(self, member: tarfile.TarInfo) -> tuple[str, bytes]:
        """Return digest and kept content of the entry that was just yielded, empty without."""
        if member.islnk():
            found = self._known.get(_path(member.linkname), ("", b""))
        else:
            found = self._read(member) if is_plain(member) else ("", b"")
        self._known[_path(member.name)] = found
        return found

    def _read(self, member: tarfile.TarInfo) -> tuple[str, bytes]:
        hasher, blob, kept = hashlib.sha256(), content(self._stream, member), b""
        keep = _path(member.name) == _USERS and member.size <= _MAX_USERS
        while block := blob.read(BLOCK):
            hasher.update(block)
            kept += bytes(block) if keep else b""
        return f"sha256:{hasher.hexdigest()}", kept


class _Compressor:
    """Counts what zstd makes of the data, in threads of its own.

    Its answer depends neither on how the data arrives nor on the number of threads, as long as
    there is at least one: https://github.com/facebook/zstd/blob/dev/lib/zstd.h (ZSTD_c_nbWorkers).
    """

    def __init__(self) -> None:
        self.size = 0
        settings = zstandard.ZstdCompressionParameters.from_level(
            _ZSTD_LEVEL, threads=_THREADS, job_size=_JOB
        )
        self._stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()

    def update(self, block: memoryview) -> None:
        self.size += len(self._stream.compress(block))

    def finish(self) -> None:
        self.size += len(self._stream.flush())
