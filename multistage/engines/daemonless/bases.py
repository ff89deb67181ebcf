"""The images that stages build on: fetched, kept in the store, and unpacked once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.layers.unpack import unpack_layer
from multistage.engines.daemonless.sandbox import Sandbox
from multistage.engines.daemonless.snapshots import Snapshots, remove_tree
from multistage.engines.daemonless.store import LAYER, MANIFEST, Store, StoredImage
from multistage.engines.daemonless.tree import ROOT_OWNER, Delta
from multistage.errors import MachineError
from multistage.units import megabytes

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def pull(store: Store, reference: str, platform: str, tell: Callable[[str], None]) -> StoredImage:
    """Fetch an image from its registry into the store, one blob at a time.

    Raises:
        MachineError: it cannot be had.
    """
    from multistage.engines.daemonless.registry import Registry

    registry = Registry()
    try:
        manifest = registry.resolve(reference, platform)
        for place, blob in enumerate((manifest.config, *manifest.layers), 1):
            if store.has(blob.digest, blob.size):
                continue
            size = megabytes(blob.size)
            tell(f"{blob.digest[:19]} {size}, {place} of {len(manifest.layers) + 1}\n")
            registry.fetch_blob(manifest, blob, store.blob(blob.digest), lambda _there: None)
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


def unpacked(image: StoredImage, store: Store, snapshots: Snapshots, sandbox: Sandbox) -> Delta:
    """Return an image's files, all layers in one, unpacked where they are not yet.

    Raises:
        MachineError: a layer is missing, damaged, or not what the config says.
    """
    diff_ids = list(image.config.get("rootfs", {}).get("diff_ids", []))
    digest = hashlib.sha256(json.dumps(diff_ids).encode()).hexdigest()
    identifier = f"base-{digest[:16]}"
    if snapshots.has(identifier):
        return snapshots.delta(identifier)
    with snapshots.only_one(identifier), snapshots.session() as session:
        if snapshots.has(identifier):
            return snapshots.delta(identifier)
        scratch = Path(tempfile.mkdtemp(prefix="base-", dir=session))
        try:
            return _unpack(image, diff_ids, store, snapshots, sandbox, scratch, identifier)
        finally:
            if scratch.exists():
                remove_tree(scratch)


def _unpack(
    image: StoredImage,
    diff_ids: list[Any],
    store: Store,
    snapshots: Snapshots,
    sandbox: Sandbox,
    scratch: Path,
    identifier: str,
) -> Delta:
    layers = image.manifest.get("layers", [])
    if len(layers) != len(diff_ids):
        raise MachineError(
            "An image has another number of layers than its config says.",
            mend="Pull or build it again.",
        )
    (scratch / "fs").mkdir()
    owners: dict[str, tuple[int, int]] = {}
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if not store.has(layer["digest"]):
            raise MachineError(
                f"The store lacks the layer {layer['digest'][:19]}.", mend="Pull the image again."
            )
        with store.blob(layer["digest"]).open("rb") as stream:
            found = unpack_layer(
                stream, scratch / "fs", owners=sandbox.keeps_owners, owners_below=owners
            )
        owners = dict(found.owners)
        if found.diff_id != diff_id:
            store.blob(layer["digest"]).unlink(missing_ok=True)
            raise MachineError(
                f"The layer {layer['digest'][:19]} is damaged; it is removed now.",
                mend="Pull or build the image again.",
            )
    owner = None if sandbox.keeps_owners else ROOT_OWNER
    return snapshots.commit(scratch, owner=owner, owners=owners, identifier=identifier)
