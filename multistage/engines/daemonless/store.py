"""Keeps images on disk: an OCI image layout, shared by all builds of this user.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Everything is
written beside its place and then moved there, so a process may end at any moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multistage.bases.recipe import normal_reference
from multistage.engines.daemonless.files import locked, sweep, unfinished, write_whole
from multistage.errors import MachineError

__all__ = ["CONFIG", "INDEX", "LAYER", "MANIFEST", "Store", "StoredImage", "is_digest", "locked"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"

_NAME = "org.opencontainers.image.ref.name"
_IMAGE_ID = "org.multistage-course.image-id"
_CREATED = "org.opencontainers.image.created"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredImage:
    """An image of the store. ``id`` is the digest of its config."""

    id: str
    digest: str
    manifest: dict[str, Any]
    config: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict((self.config.get("config") or {}).get("Labels") or {})


class Store:
    """Blobs by digest, and images by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        layout = folder / "oci-layout"
        if not layout.exists():
            write_whole(layout, json.dumps({"imageLayoutVersion": "1.0.0"}).encode())

    def blob(self, digest: str) -> Path:
        """Return where a blob lies or would lie."""
        if not is_digest(digest):
            raise MachineError(f"{digest[:80]!r} is no digest.", mend="Pull the image again.")
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: str, size: int | None = None) -> bool:
        """Return whether a blob is there, whole as far as its size tells."""
        try:
            found = self.blob(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def put(self, data: bytes) -> str:
        """Keep some bytes as a blob; return their digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self._has_bytes(digest, data):
            write_whole(self.blob(digest), data)
        return digest

    def _has_bytes(self, digest: str, data: bytes) -> bool:
        try:
            return self.blob(digest).read_bytes() == data
        except FileNotFoundError:
            return False

    def put_json(self, document: dict[str, Any]) -> tuple[str, int]:
        """Keep a document as a blob; return its digest and its size in bytes."""
        data = json.dumps(document, separators=(",", ":")).encode()
        return self.put(data), len(data)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[IO[bytes]]:
        """Give a file in the store's folder to write a blob to; gone after unless adopted."""
        with unfinished(self._blobs, ".incoming-") as (_handle, name), open(name, "wb") as file:
            yield file

    @contextlib.contextmanager
    def fetching(self, digest: str, check: Callable[[], None] | None = None) -> Iterator[None]:
        """Let one process at a time fetch this blob: the others find it there after."""
        place = self.blob(digest)
        with locked(place.with_name(f"{place.name}.lock"), check=check, remove=True):
            yield

    def sweep(self) -> None:
        """Remove what killed processes have left half-written."""
        sweep(self.folder)
        sweep(self._blobs)

    def adopt(self, file: Path, digest: str) -> None:
        """Make a file in the store's folder the blob ``digest``: the caller has verified it."""
        os.chmod(file, 0o644)
        file.rename(self.blob(digest))

    def read(self, digest: str) -> bytes:
        """Return a small blob.

        Raises:
            MachineError: it is not there or damaged.
        """
        try:
            data = self.blob(digest).read_bytes()
        except FileNotFoundError as error:
            raise MachineError(
                f"The store lacks {digest[:19]}.", mend="Build or pull the image again."
            ) from error
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise self.damaged(digest)
        return data

    def damaged(self, digest: str) -> MachineError:
        """Remove a damaged blob, so that it is made or pulled anew; return what says so."""
        self.blob(digest).unlink(missing_ok=True)
        return MachineError(
            f"The store's {digest[:19]} is damaged; it is removed now.",
            mend="Build or pull the image again.",
        )

    def read_json(self, digest: str) -> dict[str, Any]:
        """Return a document."""
        try:
            document = json.loads(self.read(digest))
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise MachineError(f"{digest[:19]} is no image.", mend="Pull the image again.")
        return document

    def image(self, name: str) -> StoredImage | None:
        """Return the image of a name or an ID, ``None`` where there is none that is whole.

        Whole as far as the sizes of its layers tell: reading all of them takes too long here.
        """
        wanted = name if name.startswith("sha256:") else normal_reference(name)
        for entry in self._index()["manifests"]:
            notes = entry.get("annotations", {})
            if wanted in (notes.get(_NAME), notes.get(_IMAGE_ID), entry["digest"]):
                found = self._stored(entry["digest"])
                if found is not None:
                    return found
        return None

    def _stored(self, digest: str) -> StoredImage | None:
        try:
            manifest = self.read_json(digest)
            identifier = manifest["config"]["digest"]
            if not all(self.has(layer["digest"], layer["size"]) for layer in manifest["layers"]):
                return None
            return StoredImage(identifier, digest, manifest, self.read_json(identifier))
        except (MachineError, KeyError, TypeError, ValueError):
            return None

    def add(self, name: str, manifest: dict[str, Any]) -> StoredImage:
        """Keep an image, of which the blobs are there, under a name. The name leaves its last.

        Raises:
            MachineError: a blob is not there, or damaged.
        """
        digest, size = self.put_json(manifest)
        found = self._stored(digest)
        if found is None:
            raise MachineError(
                f"The store has not all of {name}.", mend="Build or pull the image again."
            )
        entry = {
            "mediaType": manifest.get("mediaType", MANIFEST),
            "digest": digest,
            "size": size,
            "annotations": {
                _NAME: normal_reference(name),
                _IMAGE_ID: manifest["config"]["digest"],
                _CREATED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        }
        with self._changing() as index:
            others = []
            for known in index["manifests"]:
                notes = dict(known.get("annotations", {}))
                if notes.get(_NAME) == normal_reference(name):
                    del notes[_NAME]  # builds hold images by ID, which stays for now
                if known["digest"] != digest or _NAME in notes:
                    others.append({**known, "annotations": notes})
            index["manifests"] = [*others, entry]
        return found

    def names(self) -> dict[str, str]:
        """Return the manifest's digest for each name."""
        entries = self._index()["manifests"]
        notes = ((entry.get("annotations", {}), entry["digest"]) for entry in entries)
        return {note[_NAME]: digest for note, digest in notes if _NAME in note}

    def keep_only(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the images whose entry ``wanted`` does not want."""
        with self._changing() as index:
            index["manifests"] = [entry for entry in index["manifests"] if wanted(entry)]

    def manifests(self) -> list[dict[str, Any]]:
        """Return the entries of the index."""
        return list(self._index()["manifests"])

    def verify(self) -> list[str]:
        """Return what is wrong with the images' blobs, a sentence each; none if all is well.

        Every blob is read: this takes as long as reading the disk does.
        """
        found = []
        wanted: dict[str, None] = {}
        for entry in self.manifests():
            wanted[entry["digest"]] = None
            try:
                manifest = self.read_json(entry["digest"])
                wanted[manifest["config"]["digest"]] = None
                wanted.update(dict.fromkeys(layer["digest"] for layer in manifest["layers"]))
            except (MachineError, KeyError, TypeError) as error:
                found.append(f"{entry['digest']} cannot be read: {error}")
        for digest in wanted:
            try:
                if self.digest_of(digest) != digest:
                    found.append(f"{digest} is damaged")
            except OSError as error:
                found.append(f"{digest} cannot be read: {error}")
        return found

    def digest_of(self, digest: str) -> str:
        """Return the digest that a blob has, which should be its name."""
        hasher = hashlib.sha256()
        with self.blob(digest).open("rb") as file:
            while data := file.read(1 << 20):
                hasher.update(data)
        return f"sha256:{hasher.hexdigest()}"

    def _index(self) -> dict[str, Any]:
        """Return the index. What is damaged in it is left out: it is built or pulled again."""
        try:
            index = json.loads((self.folder / "index.json").read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            index = {}
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list):
            return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        return {**index, "manifests": [entry for entry in entries if _is_entry(entry)]}

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with locked(self.folder / "index.lock"):
            index = self._index()
            yield index
            write_whole(self.folder / "index.json", json.dumps(index, indent=1).encode())


def is_digest(text: str) -> bool:
    """Return whether a text is the digest of a blob."""
    return _DIGEST.fullmatch(text) is not None


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("digest"), str)
        and is_digest(entry["digest"])
        and isinstance(entry.get("annotations", {}), dict)
    )
