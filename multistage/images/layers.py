"""Measures one layer: a tar archive, plain or compressed, read once as a stream.

Layer format: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from threading import Lock

import zstandard
from isal import isal_zlib

from multistage.errors import UsageError
from multistage.images.streams import ForwardStream, Pump, Readable, decompressed, tar_entries

KINDS = ("base", "dependencies", "app", "config")

_GZIP_LEVEL = 1  # of ISA-L's 0 to 3: about 8 % larger than gzip -6, and many times as fast
_GZIP_WINDOW_BITS = 31  # 15 bits of window and a gzip header (zlib.h, deflateInit2)
_MAX_TAR_BYTES = 64 << 30  # a layer that unpacks to more than this is taken for a bomb

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
    """A regular file in a layer. ``path`` has no leading slash; ``size`` is in bytes."""

    path: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class MeasuredLayer:
    """One layer under the meter.

    Attributes:
        digest: SHA-256 of the uncompressed tar, the layer's DiffID in the image's config.
        unpacked_size: bytes of all regular files in the layer, hard links counted once.
        compressed_size: bytes of the layer's tar under this meter's gzip. Registries store
            a layer as its builder compressed it, so theirs differ by a few per cent.
        kind: what most of its bytes are: ``dependencies``, ``app`` or ``config``.
        files: the regular files, where the caller asked for them.
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


def measure_layer(stream: Readable, *, keep_files: bool = False) -> MeasuredLayer:
    """Read a layer to its end and measure it, in constant memory unless files are kept.

    Raises:
        UsageError: the data is no tar archive, is cut short, or unpacks beyond all reason.
    """
    hasher, compressor = hashlib.sha256(), _Compressor()
    with Pump(hasher.update) as hash_pump, Pump(compressor.update, threads=2) as compress_pump:
        tar = ForwardStream(
            decompressed(stream), (hash_pump.put, compress_pump.put), limit=_MAX_TAR_BYTES
        )
        try:
            kinds, files = _walk(tar, keep_files)
            tar.drain()
        except (tarfile.TarError, EOFError, OSError, isal_zlib.error, zstandard.ZstdError) as error:
            raise UsageError(
                f"A layer of this image cannot be read: {error}.",
                mend="Build or save the image again.",
            ) from error
    return MeasuredLayer(
        digest=f"sha256:{hasher.hexdigest()}",
        unpacked_size=sum(kinds.values()),
        compressed_size=compressor.size,
        kind=max(kinds, key=lambda kind: kinds[kind]) if any(kinds.values()) else "config",
        files=tuple(files),
    )


def _walk(stream: ForwardStream, keep_files: bool) -> tuple[dict[str, int], list[File]]:
    kinds = {"dependencies": 0, "app": 0, "config": 0}
    files: list[File] = []
    for member in tar_entries(stream):
        if member.isreg():
            path = member.name.removeprefix("./").lstrip("/")
            kinds[file_kind(path)] += member.size
            if keep_files:
                files.append(File(path, member.size, member.mode))
    return kinds, files


class _Compressor:
    """Counts what gzip would make of the data, block by block as pigz does.

    Blocks of a fixed size keep the answer the same however the data arrives.
    """

    def __init__(self) -> None:
        self.size = 0
        self._lock = Lock()

    def update(self, block: bytes) -> None:
        size = len(isal_zlib.compress(block, _GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS))
        with self._lock:
            self.size += size
