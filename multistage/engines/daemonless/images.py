"""A built stage to an image: layers, config, manifest."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.layers.pack import PackedLayer, pack
from multistage.engines.daemonless.snapshots import read_note, write_note
from multistage.engines.daemonless.stages import BuiltStage
from multistage.engines.daemonless.store import (
    CONFIG,
    LAYER,
    MANIFEST,
    Store,
    StoredImage,
    is_digest,
)
from multistage.engines.daemonless.tree import Delta, Tree

if TYPE_CHECKING:
    from multistage.engines.daemonless.builder import Workshop

_COMMENT = "multistage.dockerfile"
_NO_ENTRIES = bytes(1024)  # the layer that Docker has for a step which changed nothing


class Packer:
    """Packs deltas into layers while the build goes on."""

    def __init__(self, store: Store, epoch: int | None) -> None:
        self.epoch = epoch
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._packing: dict[str, Future[PackedLayer]] = {}

    def start(self, delta: Delta, deltas: list[Delta]) -> None:
        """Begin to pack a delta, the highest of ``deltas``."""
        if delta.id not in self._packing:
            self._packing[delta.id] = self._pool.submit(self._pack, delta, deltas)

    def layer(self, delta: Delta | None, deltas: list[Delta]) -> PackedLayer:
        """Return a delta's layer; that of no delta is an archive without entries."""
        if delta is None:
            return PackedLayer(self._store.put(_NO_ENTRIES), len(_NO_ENTRIES))
        self.start(delta, deltas)
        return self._packing[delta.id].result()

    def _pack(self, delta: Delta, deltas: list[Delta]) -> PackedLayer:
        name = "layer" if self.epoch is None else f"layer-{self.epoch}"
        known = self._known(delta, name)
        if known is not None:
            return known
        packed = pack(delta, Tree(deltas), self._store, self.epoch)
        write_note(delta, name, {"digest": packed.digest, "size": packed.size})
        return packed

    def _known(self, delta: Delta, name: str) -> PackedLayer | None:
        """Return the layer that a delta was packed to before, if it is still there."""
        note = read_note(delta, name) or {}
        digest, size = note.get("digest"), note.get("size")
        if not (isinstance(digest, str) and isinstance(size, int) and is_digest(digest)):
            return None
        return PackedLayer(digest, size) if self._store.has(digest, size) else None

    def close(self) -> None:
        """Stop packing."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def write_image(stage: BuiltStage, workshop: Workshop, packer: Packer, tag: str) -> StoredImage:
    """Write a stage's image into the store, under a name."""
    store = workshop.store
    base = stage.base
    created = _time(packer.epoch)
    layers = list(base.manifest["layers"]) if base else []
    diff_ids = list(base.config["rootfs"]["diff_ids"]) if base else []
    history: list[dict[str, Any]] = list(base.config.get("history") or []) if base else []
    place = 1 if base else 0  # in the deltas: the first one is the base
    for change in stage.changes:
        entry: dict[str, Any] = {
            "created": created, "created_by": change.created_by, "comment": _COMMENT,
        }  # fmt: skip
        if not change.has_layer:
            entry["empty_layer"] = True
        else:
            place += change.delta is not None
            packed = packer.layer(change.delta, stage.deltas[:place])
            layers.append({"mediaType": LAYER, "digest": packed.digest, "size": packed.size})
            diff_ids.append(packed.digest)
        history.append(entry)
    document = image_config.document(
        base.config if base else None,
        stage.config,
        diff_ids,
        history,
        created=created,
        platform=workshop.platform,
        author=stage.author,
    )
    known = store.image(tag)
    # As BuildKit has it: building the same again gives the same image, not one with a new time.
    if known and packer.epoch is None and _timeless(known.config) == _timeless(document):
        document = known.config
    digest, size = store.put_json(document)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest, "size": size},
        "layers": layers,
    }
    return store.add(tag, manifest)


def _timeless(config: dict[str, Any]) -> dict[str, Any]:
    entries = config.get("history") or []
    history = [{**entry, "created": ""} if isinstance(entry, dict) else entry for entry in entries]
    return {**config, "created": "", "history": history}


def _time(epoch: int | None) -> str:
    moment = datetime.fromtimestamp(time.time() if epoch is None else epoch, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
