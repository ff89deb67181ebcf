"""Writes an image archive that every engine loads: OCI image layout and ``manifest.json`` in one.

Formats: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and, for
``manifest.json``, https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

RECIPE_LABEL = "org.multistage-course.stand-in.recipe"
SOURCES_LABEL = "org.multistage-course.stand-in.sources"

_NO_TIME = "1970-01-01T00:00:00Z"
_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A layer on disk, compressed, and how it came to be."""

    file: Path
    digest: str
    diff_id: str
    created_by: str


def write_layer(write: Any, file: Path, created_by: str) -> LayerFile:
    """Write a layer: ``write(stream)`` gives its tar, which is gzipped on the way to ``file``."""
    plain, compressed = hashlib.sha256(), hashlib.sha256()
    with file.open("wb") as raw:
        # Faster gzip libraries exist; this one gives the same bytes, so the same digest, each time.
        zipped = gzip.GzipFile(
            filename="", mode="wb", fileobj=_Hashed(raw, compressed), mtime=0,
            compresslevel=_GZIP_LEVEL,
        )  # fmt: skip
        with zipped:
            write(_Hashed(zipped, plain))
    return LayerFile(
        file, f"sha256:{compressed.hexdigest()}", f"sha256:{plain.hexdigest()}", created_by
    )


def config(
    layers: Sequence[LayerFile], settings: dict[str, Any], labels: dict[str, str], machine: str
) -> bytes:
    """Return an image config (OCI image specification, config.md) as JSON."""
    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "os": "linux",
        "created": _NO_TIME,
        "config": {**settings, "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": _NO_TIME, "created_by": layer.created_by} for layer in layers],
    }
    return json.dumps(document, sort_keys=True).encode()


def write_archive(
    out: IO[bytes], layers: Sequence[LayerFile], config_data: bytes, references: Sequence[str]
) -> str:
    """Write the archive of one image under its references; return the config's digest."""
    config_digest = f"sha256:{hashlib.sha256(config_data).hexdigest()}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest,
                "size": len(config_data),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": layer.digest,
                    "size": layer.file.stat().st_size,
                }
                for layer in layers
            ],
        }
    ).encode()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for layer in dict.fromkeys(layers):
            with layer.file.open("rb") as blob:
                _add(archive, _blob(layer.digest), blob, layer.file.stat().st_size)
        for digest, data in ((config_digest, config_data), (_digest(manifest), manifest)):
            _add_bytes(archive, _blob(digest), data)
        _add_json(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add_json(archive, "index.json", _index(manifest, references))
        saved = {
            "Config": _blob(config_digest),
            "RepoTags": list(references),
            "Layers": [_blob(layer.digest) for layer in layers],
        }
        _add_json(archive, "manifest.json", [saved])
    return config_digest


def _index(manifest: bytes, references: Sequence[str]) -> dict[str, Any]:
    """Return the index. containerd names the image by an annotation, so each name has an entry."""
    from multistage.bases.recipe import normal_reference

    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": _digest(manifest),
        "size": len(manifest),
    }
    names = [normal_reference(reference) for reference in references]
    return {
        "schemaVersion": 2,
        "manifests": [
            {
                **entry,
                "annotations": {
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                },
            }
            for name in names
        ],
    }


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add_json(archive: tarfile.TarFile, name: str, document: object) -> None:
    _add_bytes(archive, name, json.dumps(document).encode())


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add(archive, name, io.BytesIO(data), len(data))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, content)


class _Hashed(io.RawIOBase):
    """A file for writing that also feeds a hash."""

    def __init__(self, out: IO[bytes] | Any, hasher: Any) -> None:
        self._out, self._hasher, self._written = out, hasher, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._hasher.update(data)
        self._out.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written
