"""Keeps what each step of a build changed, and which step it was.

In the folder of one kind of sandbox: ``deltas/<id>/`` with ``fs`` and ``delta.json``,
``steps/<key>.json`` (the build cache), and ``sessions/``, the scratch folders of running builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.files import locked, sweep, write_whole
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.tree import Delta, Owner

_ID_BYTES = 4  # short: all lower folders of an overlay mount must fit into one page
_ID = re.compile(r"[0-9a-z-]+")


@dataclass(frozen=True, slots=True)
class CachedStep:
    """What the build cache knows of a step: its delta, ``None`` where it changed nothing."""

    delta: Delta | None


class Snapshots:
    """Deltas and the build cache, for one kind of sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deltas = folder / "deltas"
        self._steps = folder / "steps"
        self._sessions = folder / "sessions"
        for place in (self.deltas, self._steps, self._sessions):
            place.mkdir(parents=True, exist_ok=True)
        (self.deltas / "empty" / "fs").mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def session(self) -> Iterator[Path]:
        """Give a scratch folder for one build; what killed builds left behind is swept."""
        self._sweep()
        folder = self._sessions / secrets.token_hex(8)
        with locked(self._sessions / f"{folder.name}.lock", remove=True):
            folder.mkdir()
            try:
                yield folder
            finally:
                remove_tree(folder)

    def _sweep(self) -> None:
        for folder in self._sessions.iterdir():
            if folder.suffix != ".lock":
                lock = folder.with_name(f"{folder.name}.lock")
                with contextlib.suppress(BlockingIOError), locked(lock, wait=False, remove=True):
                    remove_tree(folder)
        for place in (self._sessions, self._steps):
            sweep(place)

    def commit(
        self,
        scratch: Path,
        *,
        removed: frozenset[str] = frozenset(),
        owner: Owner | None = None,
        owners: Mapping[str, Owner] | None = None,
        identifier: str | None = None,
    ) -> Delta:
        """Make ``scratch``, a folder with ``fs`` in it, a delta of the store."""
        owners = dict(owners or {})
        document = {"removed": sorted(removed), "owner": owner, "owners": owners}
        write_whole(scratch / "delta.json", json.dumps(document).encode())
        while True:
            name = identifier or secrets.token_hex(_ID_BYTES)
            try:
                scratch.rename(self.deltas / name)
            except OSError:
                if not (self.deltas / name).exists():
                    raise
                if identifier:
                    return self._instead(scratch, name)
                continue
            return Delta(name, self.deltas / name, removed, owner, owners)

    def _instead(self, scratch: Path, name: str) -> Delta:
        """Return the delta that is there already, or put ``scratch`` where a damaged one is."""
        known = self.delta(name)
        if known is not None:  # another build was first, with the same content
            remove_tree(scratch)
            return known
        damaged = scratch.with_name(f"damaged-{secrets.token_hex(_ID_BYTES)}")
        (self.deltas / name).rename(damaged)
        scratch.rename(self.deltas / name)
        remove_tree(damaged)
        made = self.delta(name)
        assert made is not None
        return made

    def delta(self, identifier: str) -> Delta | None:
        """Return a delta, ``None`` where there is none of that name, or a damaged one."""
        folder = self.deltas / identifier
        try:
            known = json.loads((folder / "delta.json").read_bytes())
            owner = None if known["owner"] is None else _owner(known["owner"])
            owners = {str(path): _owner(ids) for path, ids in known["owners"].items()}
            removed = frozenset(map(str, known["removed"]))
        except (FileNotFoundError, NotADirectoryError, *_DAMAGE):
            return None
        if not (folder / "fs").is_dir():
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder / "delta.json")  # it was used now: see prune
        return Delta(identifier, folder, removed, owner, owners)

    def verify(self) -> list[str]:
        """Return what is wrong with the deltas; none if all is well.

        A record of the cache whose delta is gone counts for nothing, and is nothing wrong: prune
        leaves such records.
        """
        return [
            f"the delta {folder.name} is damaged"
            for folder in self.deltas.iterdir()
            if folder.name != "empty" and self.delta(folder.name) is None
        ]

    def cached(self, key: str) -> CachedStep | None:
        """Return what the cache knows of a step, ``None`` if nothing."""
        try:
            known = json.loads((self._steps / f"{key}.json").read_bytes())["delta"]
        except (FileNotFoundError, *_DAMAGE):
            return None
        delta = None
        if known is not None:
            delta = self.delta(known) if isinstance(known, str) and _ID.fullmatch(known) else None
            if delta is None:
                return None
        with contextlib.suppress(OSError):
            os.utime(self._steps / f"{key}.json")
        return CachedStep(delta)

    def remember(self, key: str, delta: Delta | None) -> None:
        """Put a step into the cache."""
        document = {"delta": delta.id if delta else None}
        write_whole(self._steps / f"{key}.json", json.dumps(document).encode())

    @contextlib.contextmanager
    def only_one(self, key: str, check: Callable[[], None] | None = None) -> Iterator[None]:
        """Let one build at a time do this step: the others find it in the cache after.

        Args:
            key: which step.
            check: called while it waits; may raise.
        """
        with locked(self._steps / f"{key}.lock", check=check, remove=True):
            yield


# What reading a damaged document may raise.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def _owner(ids: Any) -> Owner:
    user, group = ids
    return int(user), int(group)


def read_note(delta: Delta, name: str) -> dict[str, Any] | None:
    """Return a note that was written beside a delta: what its layer is, for example."""
    try:
        note = json.loads((delta.folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, *_DAMAGE):
        return None
    return note if isinstance(note, dict) else None


def write_note(delta: Delta, name: str, note: dict[str, Any]) -> None:
    """Write a note beside a delta."""
    write_whole(delta.folder / f"{name}.json", json.dumps(note).encode())
