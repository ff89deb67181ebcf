"""The images that stages build on: fetched, kept in the store, and unpacked once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.layers.unpack import unpack_layer
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.sandbox import Sandbox
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.store import LAYER, MANIFEST, Store, StoredImage
from multistage.engines.daemonless.tree import ROOT_OWNER, Delta, Owner
from multistage.errors import MachineError
from multistage.images.streams import Readable
from multistage.units import megabytes

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def go_on() -> None:
    """Raise nothing: for work that is not to be interrupted."""


def pull(
    store: Store,
    reference: str,
    platform: str,
    tell: Callable[[str], None],
    check: Callable[[], None] = go_on,
) -> StoredImage:
    """Fetch an image from its registry into the store, one blob at a time.

    Args:
        store: where it goes.
        reference: its name.
        platform: for which platform.
        tell: is told what is fetched.
        check: called on the way; may raise.

    Raises:
        MachineError: it cannot be had.
    """
    from multistage.engines.daemonless.registry import Registry

    registry = Registry()
    try:
        manifest = registry.resolve(reference, platform)
        for place, blob in enumerate((manifest.config, *manifest.layers), 1):
            with store.fetching(blob.digest, check):
                if store.has(blob.digest, blob.size):
                    continue
                size = megabytes(blob.size)
                tell(f"{blob.digest[:19]} {size}, {place} of {len(manifest.layers) + 1}\n")
                file = store.blob(blob.digest)
                registry.fetch_blob(manifest, blob, file, lambda _there: check())
    except MachineError:
        check()  # what ended the fetch may have been a fault for the registry
        raise
    finally:
        registry.close()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": manifest.config.digest,
            "size": manifest.config.size,
        },
        "layers": [
            {"mediaType": _media_type(b.media_type), "digest": b.digest, "size": b.size}
            for b in manifest.layers
        ],
    }
    return store.add(reference, document)


def _media_type(given: str) -> str:
    """Return the OCI's word for a layer's type."""
    if given.startswith(_DOCKER_LAYER):
        return LAYER + ("+gzip" if given.endswith(".gzip") else "")
    return given


def unpacked(
    image: StoredImage,
    store: Store,
    snapshots: Snapshots,
    sandbox: Sandbox,
    check: Callable[[], None] = go_on,
) -> Delta:
    """Return an image's files, all layers in one, unpacked where they are not yet.

    Raises:
        MachineError: a layer is missing, damaged, or not what the config says.
    """
    diff_ids = _diff_ids(image)
    digest = hashlib.sha256(json.dumps(diff_ids).encode()).hexdigest()
    identifier = f"base-{digest[:16]}"
    known = snapshots.delta(identifier)
    if known is not None:
        return known
    with snapshots.only_one(identifier, check), snapshots.session() as session:
        known = snapshots.delta(identifier)
        if known is not None:
            return known
        scratch = Path(tempfile.mkdtemp(prefix="base-", dir=session))
        try:
            owners = _unpack(image, store, sandbox, scratch, check)
            owner = None if sandbox.keeps_owners else ROOT_OWNER
            return snapshots.commit(scratch, owner=owner, owners=owners, identifier=identifier)
        finally:
            if scratch.exists():
                remove_tree(scratch)


def _diff_ids(image: StoredImage) -> list[Any]:
    rootfs = image.config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return list(diff_ids) if isinstance(diff_ids, list) else []


class _Checked:
    """A stream that stops where the build does."""

    def __init__(self, stream: Readable, check: Callable[[], None]) -> None:
        self._stream, self._check = stream, check

    def read(self, size: int = -1, /) -> bytes | memoryview:
        self._check()
        return self._stream.read(size)


def _unpack(
    image: StoredImage,
    store: Store,
    sandbox: Sandbox,
    scratch: Path,
    check: Callable[[], None],
) -> dict[str, Owner]:
    """Unpack all layers; return whose the files are."""
    layers, diff_ids = image.manifest.get("layers", []), _diff_ids(image)
    if len(layers) != len(diff_ids):
        raise MachineError(
            "An image has another number of layers than its config says.",
            mend="Pull or build it again.",
        )
    (scratch / "fs").mkdir()
    owners: dict[str, Owner] = {}
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        digest = layer["digest"]
        if not store.has(digest):
            raise MachineError(
                f"The store lacks the layer {digest[:19]}.", mend="Pull the image again."
            )
        with store.blob(digest).open("rb") as stream:
            try:
                found = unpack_layer(
                    _Checked(stream, check),
                    scratch / "fs",
                    owners=sandbox.keeps_owners,
                    owners_below=owners,
                )
            except MachineError as error:
                if store.digest_of(digest) == digest:
                    raise
                raise store.damaged(digest) from error
        owners = dict(found.owners)
        if found.diff_id != diff_id:
            raise store.damaged(digest)
    return owners
