"""Reads an image archive: ``docker save``'s tar, an OCI archive, or an OCI layout on disk.

Formats: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and
https://github.com/moby/docker-image-spec/blob/main/spec.md (``manifest.json``). Everything is
found by digest, so the order of the members and their names do not matter.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from multistage.errors import UsageError
from multistage.images.layers import MeasuredLayer, measure_layer
from multistage.images.streams import (
    ForwardStream,
    Prefixed,
    Readable,
    content,
    read_fully,
    tar_entries,
)

_MAX_DOCUMENT = 8 << 20  # bytes; manifests and configs are far smaller
_MAX_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """An image as its archive tells it.

    Attributes:
        config: the image's config: https://github.com/opencontainers/image-spec config.md.
        layers: the layers, lowest first.
    """

    config: dict[str, Any]
    layers: tuple[MeasuredLayer, ...]

    @property
    def unpacked_size(self) -> int:
        """Bytes of all files in all layers."""
        return sum(layer.unpacked_size for layer in self.layers)

    @property
    def compressed_size(self) -> int:
        """Bytes of all layers, compressed by the meter."""
        return sum(layer.compressed_size for layer in self.layers)

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def user(self) -> str:
        """The user its command runs as; empty for root."""
        return str((self.config.get("config") or {}).get("User") or "")


@dataclass
class _Parts:
    """What an archive held: JSON documents by member name and by digest, layers by DiffID."""

    documents: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, MeasuredLayer] = field(default_factory=dict)


def read_path(path: Path, *, keep_files: bool = False) -> ImageArchive:
    """Measure an image in a file (``docker save``, OCI archive) or folder (OCI layout).

    Raises:
        UsageError: the file is no image archive, a damaged one, or one of several images.
    """
    try:
        if path.is_dir():
            parts = _gather(_folder_members(path), keep_files)
            _refuse_several(parts.documents, str(path))
            return _assemble(parts, str(path), keep_files)
        with path.open("rb") as stream:
            return read_archive(stream, str(path), keep_files=keep_files)
    except (OSError, *_MALFORMED) as error:
        raise UsageError(
            f"{path} cannot be read: {error}.", mend="Save the image again."
        ) from error


# What JSON documents raise that are well-formed and mean nothing.
_MALFORMED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


def read_archive(
    stream: Readable,
    name: str = "the archive",
    *,
    keep_files: bool = False,
    keep_digests: bool = False,
    from_engine: bool = False,
) -> ImageArchive:
    """Measure an image from a tar stream, in one pass and constant memory.

    Args:
        stream: the archive.
        name: what error messages call it.
        keep_files: whether the layers' files are listed.
        keep_digests: whether the files that are listed have the digest of their content.
        from_engine: whether an engine hands it out at this moment, and so vouches for the
            digests that its names say. Those of a file that lay somewhere are computed.

    Raises:
        UsageError: the stream holds no image, several, or a damaged one.
    """
    try:
        parts = _gather(_tar_members(stream), keep_files, keep_digests, from_engine)
        if not from_engine:  # which was asked for one
            _refuse_several(parts.documents, name)
        return _assemble(parts, name, keep_files)
    except (tarfile.TarError, *_MALFORMED) as error:
        raise UsageError(
            f"{name} is not an image archive: {error}.",
            mend="Make one with: docker save IMAGE -o image.tar",
        ) from error


def _tar_members(stream: Readable) -> Iterator[tuple[str, int, Readable]]:
    archive = ForwardStream(stream)
    for member in tar_entries(archive):
        if member.isreg():
            yield member.name.removeprefix("./"), member.size, content(archive, member)


def _folder_members(folder: Path) -> Iterator[tuple[str, int, Readable]]:
    if not (folder / "oci-layout").is_file():
        raise UsageError(
            f"{folder} is no OCI image layout: it has no file oci-layout.",
            mend="Name a folder that holds oci-layout, index.json and blobs/.",
        )
    for path in (folder / "oci-layout", folder / "index.json", *folder.glob("blobs/sha256/*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as blob:
                yield path.relative_to(folder).as_posix(), path.stat().st_size, blob


def _gather(
    members: Iterator[tuple[str, int, Readable]],
    keep_files: bool,
    keep_digests: bool = False,
    from_engine: bool = False,
) -> _Parts:
    parts = _Parts()
    measure = partial(measure_layer, keep_files=keep_files, keep_digests=keep_digests)
    for name, size, blob in members:
        head = bytes(blob.read(1))
        if head in (b"{", b"[") and size <= _MAX_DOCUMENT:
            data = head + read_fully(blob, size)
            try:
                document = json.loads(data)
            except (ValueError, RecursionError):
                _add_layer(parts, measure, io.BytesIO(data))
                continue
            if len(parts.documents) > _MAX_DOCUMENTS:
                raise UsageError("The image archive holds too many JSON documents.")
            parts.documents[name] = document
            parts.documents[f"sha256:{hashlib.sha256(data).hexdigest()}"] = document
        else:
            diff_id = _diff_id(name, head) if from_engine else None
            _add_layer(parts, partial(measure, diff_id=diff_id), Prefixed(head, blob))
    return parts


def _diff_id(name: str, head: bytes) -> str | None:
    """Return the DiffID that a blob's name says, ``None`` where it is not its DiffID."""
    match = _BLOB.match(name)
    return f"sha256:{match[1]}" if match and head not in _COMPRESSED else None


_BLOB = re.compile(r"^blobs/sha256/([0-9a-f]{64})$")
_COMPRESSED = (b"\x1f", b"\x28")  # how gzip and zstd begin: then the name is another digest


def _add_layer(parts: _Parts, measure: Callable[[Readable], MeasuredLayer], blob: Readable) -> None:
    try:
        layer = measure(blob)
    except UsageError:
        return  # not every member is a layer; one that is needed will be missed
    parts.layers[layer.digest] = layer


def _assemble(parts: _Parts, name: str, keep_files: bool) -> ImageArchive:
    config = _config(parts.documents, name)
    for key, kind in (("rootfs", dict), ("config", dict), ("history", list)):
        if not isinstance(config.get(key) or kind(), kind):
            raise UsageError(f"{name} is damaged: its config's {key} is no {kind.__name__}.")
    empty = measure_layer(io.BytesIO(bytes(10240)), keep_files=keep_files)
    layers = []
    for digest in config.get("rootfs", {}).get("diff_ids") or []:
        layer = parts.layers.get(digest) or (empty if digest in _EMPTY_LAYERS else None)
        if layer is None:
            raise UsageError(
                f"{name} is incomplete: its layer {digest[:19]} is missing or damaged.",
                mend="Build or save the image again.",
            )
        layers.append(layer)
    return ImageArchive(config, tuple(layers))


# A tar of no files, 1,024 bytes of zeros: what BuildKit and Docker write for an empty layer.
_EMPTY_LAYERS = ("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",)


def _refuse_several(documents: dict[str, Any], name: str) -> None:
    """Stop where nothing tells which of several images is meant."""
    saved, index = documents.get("manifest.json"), documents.get("index.json")
    manifests = index.get("manifests") if isinstance(index, dict) else None
    found = _entries(saved, "Config") or _entries(manifests, "digest")
    # One image for several platforms has the same names for all of them, or a platform for each.
    images = {(str(e.get("RepoTags") or ""), str(e.get("annotations") or "")) for e in found}
    platforms = {str(e["platform"]) for e in found if e.get("platform")}
    is_one = len(platforms) == len(found) or (len(images) == 1 and ("", "") not in images)
    if len(found) > 1 and not is_one:
        raise UsageError(
            f"{name} holds several images.",
            mend="Save one alone: docker save IMAGE -o image.tar",
        )


def _entries(found: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects of a list, one for each value of a key; without what is about another."""
    objects = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
    return list({str(entry.get(key)): entry for entry in objects if _is_image(entry)}.values())


def _is_image(entry: dict[str, Any]) -> bool:
    """Return whether an entry is no attestation, signature or list that stands beside an image."""
    notes = entry.get("annotations")
    kinds = [str(value) for value in notes.values()] if isinstance(notes, dict) else []
    about = isinstance(notes, dict) and _ATTESTATION in notes
    signature = any(kind.startswith(_COSIGN) and not kind.endswith("/image") for kind in kinds)
    return not (about or signature or entry.get("artifactType") or entry.get("subject"))


_ATTESTATION = "vnd.docker.reference.type"  # of BuildKit
_COSIGN = "dev.cosignproject.cosign/"  # https://github.com/sigstore/cosign, cosign save


def _config(documents: dict[str, Any], name: str) -> dict[str, Any]:
    for digest in _config_names(documents):
        document = documents.get(digest)
        if isinstance(document, dict) and "rootfs" in document:
            return document
    raise UsageError(
        f"{name} is not an image archive: it holds no image config.",
        mend="Make one with: docker save IMAGE -o image.tar",
    )


def _config_names(documents: dict[str, Any]) -> Iterator[str]:
    """Yield the names or digests under which a config may stand, best first."""
    saved = documents.get("manifest.json")
    if isinstance(saved, list):
        yield from (str(entry.get("Config", "")) for entry in saved if isinstance(entry, dict))
    pending: list[Any] = [documents.get("index.json")]
    visited = 0
    while pending and visited < _MAX_DOCUMENTS:
        document = pending.pop(0)
        visited += 1
        if not isinstance(document, dict):
            continue
        if isinstance(document.get("config"), dict):
            yield str(document["config"].get("digest", ""))
        for child in (document.get("manifests") or [])[:_MAX_DOCUMENTS]:
            digest = str(child.get("digest", "")) if isinstance(child, dict) else ""
            if digest.startswith("sha256:") and len(pending) < _MAX_DOCUMENTS:
                pending.append(documents.get(digest))
