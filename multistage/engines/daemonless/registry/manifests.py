"""What a registry says about an image: manifests and indexes, checked before they are used.

https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and image-index.md beside it;
https://distribution.github.io/distribution/spec/manifest-v2-2/ for Docker's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multistage.engines.daemonless.registry.client import DIGEST, MAX_DOCUMENT
from multistage.errors import MachineError

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
ACCEPTED = _MANIFESTS + _INDEXES
_CONFIGS = (
    f"{_OCI}.config.v1+json",
    f"{_DOCKER}.container.image.v1+json",
    "application/octet-stream",  # what Docker wrote before 2017
)
_LAYERS = (
    *(f"{_OCI}.layer.v1.tar{packed}" for packed in ("", "+gzip", "+zstd")),
    *(f"{_DOCKER}.image.rootfs.diff.tar{packed}" for packed in ("", ".gzip", ".zstd")),
)
_FOREIGN = ("nondistributable", "foreign")
_SHOWN = 12  # platforms named in an error


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or document as others refer to it.

    Attributes:
        media_type: what it is.
        digest: ``sha256:`` and 64 digits.
        size: bytes.
    """

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an image for one platform.

    Attributes:
        reference: the reference it was asked for by, in full.
        digest: its own digest, not that of an index it was found in.
        media_type: OCI's or Docker's.
        config: the image's config.
        layers: lowest first.
        data: the manifest as it came.
    """

    reference: str
    digest: str
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    data: bytes


class DocumentError(MachineError):
    """A registry's document is not what it has to be."""

    def __init__(self, reference: str, fault: str) -> None:
        super().__init__(
            f"{reference} cannot be used: {fault}.",
            mend="Take another tag of it, or try again later.",
        )


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index that was read: its digest is right, and it is a JSON object."""

    reference: str
    digest: str
    media_type: str
    content: dict[str, Any]
    data: bytes

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests for several platforms."""
        return self.media_type in _INDEXES


def read_document(reference: str, wanted: str, content_type: str, data: bytes) -> Document:
    """Return a document that came from a registry.

    Args:
        reference: the image, for errors.
        wanted: the digest it has to have; an empty string where none is known.
        content_type: the header of that name.
        data: the document.

    Raises:
        DocumentError: it has another digest, or is no manifest and no index.
    """
    if len(data) > MAX_DOCUMENT:
        raise DocumentError(reference, f"its manifest is larger than {MAX_DOCUMENT:,} bytes")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if wanted and digest != wanted:
        raise DocumentError(reference, f"its manifest has the digest {digest}, not {wanted}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentError(reference, "its manifest is not JSON, or was cut short") from error
    if not isinstance(content, dict):
        raise DocumentError(reference, "its manifest is no JSON object")
    told = content_type.partition(";")[0].strip()
    media_type = content.get("mediaType") or told
    if content.get("schemaVersion") == 1 or "distribution.manifest.v1+" in told:
        raise DocumentError(
            reference, "it is in the old format, schema 1, which Docker no longer reads either"
        )
    if content.get("schemaVersion") != 2 or media_type not in ACCEPTED:  # noqa: PLR2004
        raise DocumentError(reference, "what the registry has under this name is no image")
    # A document that can be read as both is an attack: CVE-2021-41190.
    both = "manifests" in content and ("layers" in content or "config" in content)
    if both or (told in ACCEPTED and told != media_type):
        raise DocumentError(reference, "its manifest says two things about what it is")
    return Document(reference, digest, media_type, content, data)


def read_manifest(document: Document) -> Manifest:
    """Return what a manifest says.

    Raises:
        DocumentError: it is none, is damaged, or has layers that registries do not hand out.
    """
    reference, content = document.reference, document.content
    if document.is_index:
        raise DocumentError(reference, "its index leads to another index")
    config = _descriptor(reference, content.get("config"))
    if config.media_type not in _CONFIGS:
        raise DocumentError(reference, "it is no container image but something else")
    if config.size > MAX_DOCUMENT:
        raise DocumentError(reference, f"its config is larger than {MAX_DOCUMENT:,} bytes")
    layers = tuple(_descriptor(reference, layer) for layer in _list(document, "layers"))
    for layer in layers:
        if any(word in layer.media_type for word in _FOREIGN):
            raise DocumentError(
                reference, "one of its layers is foreign: its registry does not hand it out"
            )
        if layer.media_type not in _LAYERS:
            raise DocumentError(reference, f"{layer.media_type!r:.100} is no layer we can read")
    return Manifest(reference, document.digest, document.media_type, config, layers, document.data)


def find_platform(index: Document, platform: str) -> Descriptor:
    """Return the manifest for a platform, such as ``linux/arm64``, out of an index.

    Raises:
        DocumentError: there is none, or the index is damaged.
    """
    there: dict[str, Descriptor] = {}
    for name, descriptor in _platforms(index):
        there.setdefault(name, descriptor)
    wanted = normal_platform(platform)
    if wanted not in there:
        names = ", ".join(list(there)[:_SHOWN]) or "none at all"
        raise DocumentError(index.reference, f"it is not there for {wanted}, only for {names}")
    return there[wanted]


def normal_platform(platform: str) -> str:
    """Return a platform in the words of indexes, without a variant that goes without saying.

    https://github.com/containerd/platforms, database.go (``normalizeArch``).
    """
    system, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    if architecture == "arm" and not variant:
        variant = "v7"
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return "/".join(part for part in (system, architecture, variant) if part)


def _platforms(index: Document) -> Iterator[tuple[str, Descriptor]]:
    for entry in _list(index, "manifests"):
        descriptor = _descriptor(index.reference, entry)
        platform = entry.get("platform")
        if descriptor.media_type not in _MANIFESTS or not isinstance(platform, dict):
            continue
        parts = [platform.get(key) or "" for key in ("os", "architecture", "variant")]
        if not all(isinstance(part, str) for part in parts):
            raise DocumentError(index.reference, "its index is damaged")
        # Build records stand in indexes as images for no platform.
        if parts[0] != "unknown":
            yield normal_platform("/".join(part for part in parts if part)), descriptor


def _list(document: Document, key: str) -> list[Any]:
    value = document.content.get(key)
    if not isinstance(value, list):
        raise DocumentError(document.reference, f"its manifest has no list of {key}")
    return value


def _descriptor(reference: str, value: object) -> Descriptor:
    if isinstance(value, dict):
        media_type, digest, size = (value.get(key) for key in ("mediaType", "digest", "size"))
        named = isinstance(media_type, str) and isinstance(digest, str) and DIGEST.fullmatch(digest)
        if named and type(size) is int and size >= 0:
            return Descriptor(str(media_type), str(digest), size)
    raise DocumentError(reference, "its manifest refers to something without type, digest or size")
