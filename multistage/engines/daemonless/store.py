"""Keeps images on disk: an OCI image layout, shared by all builds of this user.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Everything is
written beside its place and then moved there, so a process may end at any moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multistage.bases.recipe import normal_reference
from multistage.errors import MachineError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"

_NAME = "org.opencontainers.image.ref.name"
_IMAGE_ID = "org.multistage-course.image-id"
_CREATED = "org.opencontainers.image.created"
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


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
        if not _DIGEST.match(digest):
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
        if not self.has(digest, len(data)):
            write_whole(self.blob(digest), data)
        return digest

    def put_json(self, document: dict[str, Any]) -> tuple[str, int]:
        """Keep a document as a blob; return its digest and its size in bytes."""
        data = json.dumps(document, separators=(",", ":")).encode()
        return self.put(data), len(data)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[IO[bytes]]:
        """Give a file in the store's folder to write a blob to; gone after unless adopted."""
        handle, name = tempfile.mkstemp(prefix=".incoming-", dir=self._blobs)
        os.close(handle)
        try:
            with open(name, "wb") as file:
                yield file
        finally:
            Path(name).unlink(missing_ok=True)

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
            self.blob(digest).unlink(missing_ok=True)
            raise MachineError(
                f"The store's {digest[:19]} is damaged; it is removed now.",
                mend="Build or pull the image again.",
            )
        return data

    def read_json(self, digest: str) -> dict[str, Any]:
        """Return a document."""
        document = json.loads(self.read(digest))
        if not isinstance(document, dict):
            raise MachineError(f"{digest[:19]} is no image.", mend="Pull the image again.")
        return document

    def image(self, name: str) -> StoredImage | None:
        """Return the image of a name or an ID, ``None`` where there is none."""
        wanted = name if name.startswith("sha256:") else normal_reference(name)
        for entry in self._index()["manifests"]:
            notes = entry.get("annotations", {})
            if wanted in (notes.get(_NAME), notes.get(_IMAGE_ID), entry["digest"]):
                return self._stored(entry["digest"])
        return None

    def _stored(self, digest: str) -> StoredImage | None:
        try:
            manifest = self.read_json(digest)
            identifier = manifest["config"]["digest"]
            return StoredImage(identifier, digest, manifest, self.read_json(identifier))
        except (MachineError, KeyError, TypeError, ValueError):
            return None

    def add(self, name: str, manifest: dict[str, Any]) -> StoredImage:
        """Keep an image, of which the blobs are there, under a name. The name leaves its last."""
        digest, size = self.put_json(manifest)
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
        found = self._stored(digest)
        assert found is not None
        return found

    def names(self) -> dict[str, str]:
        """Return the manifest's digest for each name."""
        entries = self._index()["manifests"]
        notes = ((entry.get("annotations", {}), entry["digest"]) for entry in entries)
        return {note[_NAME]: digest for note, digest in notes if _NAME in note}

    def keep_only(self, wanted: Any) -> list[str]:
        """Drop the images whose entry ``wanted`` does not want; return their digests."""
        with self._changing() as index:
            kept = [entry for entry in index["manifests"] if wanted(entry)]
            dropped = [e["digest"] for e in index["manifests"] if e not in kept]
            index["manifests"] = kept
        return dropped

    def manifests(self) -> list[dict[str, Any]]:
        """Return the entries of the index."""
        return list(self._index()["manifests"])

    def _index(self) -> dict[str, Any]:
        try:
            index = json.loads((self.folder / "index.json").read_bytes())
        except (FileNotFoundError, ValueError):
            index = {}
        if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
            return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        return index

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with locked(self.folder / "index.lock"):
            index = self._index()
            yield index
            write_whole(self.folder / "index.json", json.dumps(index, indent=1).encode())


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that others see the old content or the new, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(file: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold a lock file; another process that wants it waits. The kernel frees it at any end.

    Raises:
        BlockingIOError: another holds it, and ``wait`` is false.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
