"""Finds what the store, the build cache and the stand-ins no longer need, and removes it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multistage import bases
from multistage.bases.build import cache_folder as stand_in_folder
from multistage.bases.build import folder_of
from multistage.engines.daemonless.paths import cache_folder
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.store import Store, locked
from multistage.errors import MachineError

_DAY = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that can go.

    Attributes:
        kind: ``image``, ``layer``, ``build step``, ``cache mount`` or ``stand-in``.
        name: what it is called where it lies.
        path: the file or folder.
        size: bytes on disk.
        age: seconds since it was last used.
    """

    kind: str
    name: str
    path: Path
    size: int
    age: float


def leftovers(
    days: float, keep: int | None = None, folder: Path | None = None
) -> tuple[Leftover, ...]:
    """Return what was not used for so many days, oldest first.

    Args:
        days: what was used since stays; images that have a name stay in any case.
        keep: bytes of build cache that may stay; more than that goes too, oldest first.
        folder: the engine's folder.
    """
    place = folder or cache_folder()
    found = [*_build_cache(place, days, keep), *_images(place, days), *_stand_ins()]
    return tuple(sorted(found, key=lambda leftover: -leftover.age))


def remove(found: tuple[Leftover, ...], folder: Path | None = None) -> int:
    """Remove these; return the bytes that were freed.

    Raises:
        MachineError: a build is running, which may need them.
    """
    place = folder or cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    try:
        with locked(place / "lock", wait=False):
            gone = {leftover.name for leftover in found if leftover.kind == "image"}
            if gone:
                Store(place / "images").keep_only(lambda entry: entry["digest"] not in gone)
            for leftover in found:
                if leftover.path.is_dir():
                    remove_tree(leftover.path)
                else:
                    leftover.path.unlink(missing_ok=True)
    except BlockingIOError as error:
        raise MachineError(
            "A build or a check is running.", mend="Prune when it has ended."
        ) from error
    return sum(leftover.size for leftover in found)


def _build_cache(place: Path, days: float, keep: int | None) -> Iterator[Leftover]:
    found = []
    for delta in place.glob("snapshots/*/deltas/*"):
        mark = delta / "delta.json"
        if mark.exists():
            found.append(Leftover("build step", delta.name, delta, _size(delta), _age(mark)))
    for cache in place.glob("snapshots/caches/*"):
        if cache.is_dir():
            found.append(Leftover("cache mount", cache.name, cache, _size(cache), _age(cache)))
    found.sort(key=lambda leftover: leftover.age)
    total = 0
    for leftover in found:
        total += leftover.size
        if leftover.age > days * _DAY or (keep is not None and total > keep):
            yield leftover


def _images(place: Path, days: float) -> Iterator[Leftover]:
    """Yield images that have lost their name, and blobs that no other image needs."""
    if not (place / "images").is_dir():
        return
    store = Store(place / "images")
    needed: set[str] = set()
    for entry in store.manifests():
        digest = entry["digest"]
        named = "org.opencontainers.image.ref.name" in entry.get("annotations", {})
        image = store.image(digest)
        if image is None:
            continue
        if named or _age(store.blob(digest)) < days * _DAY:
            blobs = [layer["digest"] for layer in image.manifest["layers"]]
            needed.update([digest, image.id, *blobs])
        else:
            yield Leftover("image", digest, store.blob(digest), 0, _age(store.blob(digest)))
    for blob in (place / "images" / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in needed and _age(blob) > min(days, 1) * _DAY:
            yield Leftover("layer", blob.name[:12], blob, blob.stat().st_size, _age(blob))


def _stand_ins() -> Iterator[Leftover]:
    """Yield stand-ins whose recipe has changed since."""
    folder = stand_in_folder()
    if not folder.is_dir():
        return
    current = {folder_of(recipe).name for recipe in bases.recipes()}
    for built in folder.iterdir():
        if built.is_dir() and built.name not in current and _age(built) > _DAY:
            yield Leftover("stand-in", built.name, built, _size(built), _age(built))


def _age(path: Path) -> float:
    return max(0.0, time.time() - path.lstat().st_mtime)


def _size(folder: Path) -> int:
    """Return the bytes that a folder takes on disk."""
    total = 0
    pending = [str(folder)]
    while pending:
        try:
            for entry in os.scandir(pending.pop()):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
        except OSError:  # a folder that this user may not look into, or that has just gone
            continue
    return total
