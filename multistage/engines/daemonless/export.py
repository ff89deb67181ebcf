"""Writes an image as an archive that ``docker load`` takes: OCI layout and ``manifest.json``.

Formats: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

import errno
import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multistage.bases.recipe import normal_reference
from multistage.engines.daemonless.store import INDEX, MANIFEST, Store, StoredImage

_BLOCK = 1 << 20


class ArchiveStream:
    """An image's archive as a stream: nothing is copied before it is read."""

    def __init__(self, store: Store, image: StoredImage, names: tuple[str, ...] = ()) -> None:
        self._pieces = _pieces(store, image, names)
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, nothing at the end; all that is left for -1."""
        if size < 0:
            data = self._left + b"".join(self._pieces)
            self._left = b""
            return data
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        data, self._left = self._left[:size], self._left[size:]
        return data


def export(store: Store, image: StoredImage, names: tuple[str, ...], file: Path) -> None:
    """Write an image's archive to a file, whole or not at all.

    Raises:
        MachineError: a blob of it is damaged.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as out:
            for piece in _pieces(store, image, names):
                out.write(piece)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _pieces(store: Store, image: StoredImage, names: tuple[str, ...]) -> Iterator[bytes]:
    layers = image.manifest["layers"]
    yield from _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    yield from _file("index.json", json.dumps(_index(store, image, names)).encode())
    saved = {
        "Config": _place(image.id),
        "RepoTags": list(names),
        "Layers": [_place(layer["digest"]) for layer in layers],
    }
    yield from _file("manifest.json", json.dumps([saved]).encode())
    for digest in dict.fromkeys([image.digest, image.id, *(layer["digest"] for layer in layers)]):
        yield from _blob(store, digest)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _index(store: Store, image: StoredImage, names: tuple[str, ...]) -> dict[str, Any]:
    entry = {
        "mediaType": image.manifest.get("mediaType", MANIFEST),
        "digest": image.digest,
        "size": store.blob(image.digest).stat().st_size,
    }
    full = [normal_reference(name) for name in names]
    named = [
        {
            **entry,
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            },
        }
        for name in full
    ]
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": named or [entry]}


def _file(name: str, data: bytes) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    yield header.tobuf(tarfile.USTAR_FORMAT)
    yield data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _blob(store: Store, digest: str) -> Iterator[bytes]:
    """Yield a blob as an entry.

    Raises:
        MachineError: it is damaged; it is removed then, so that the next build makes it anew.
    """
    header = tarfile.TarInfo(_place(digest))
    hasher = hashlib.sha256()
    file = store.blob(digest)
    with file.open("rb") as stream:
        header.size = file.stat().st_size
        yield header.tobuf(tarfile.PAX_FORMAT)
        left = header.size
        while left:
            try:
                data = stream.read(min(left, _BLOCK))
            except OSError as error:  # says nothing of the file
                raise OSError(error.errno, error.strerror, str(file)) from error
            if not data:
                raise OSError(errno.EIO, "it became shorter while it was read", str(file))
            left -= len(data)
            hasher.update(data)
            yield data
    if f"sha256:{hasher.hexdigest()}" != digest:
        raise store.damaged(digest)
    yield bytes(-header.size % tarfile.BLOCKSIZE)
