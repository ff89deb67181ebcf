"""Keeps what each step of a build changed, and which step it was.

In the folder of one kind of sandbox: ``deltas/<id>/`` with ``fs`` and ``delta.json``,
``steps/<key>.json`` (the build cache), and ``sessions/``, the scratch folders of running builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.store import locked, write_whole
from multistage.engines.daemonless.tree import Delta, Owner

_ID_BYTES = 4  # short: all lower folders of an overlay mount must fit into one page


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
        with locked(self._sessions / f"{folder.name}.lock"):
            folder.mkdir()
            try:
                yield folder
            finally:
                remove_tree(folder)
                (self._sessions / f"{folder.name}.lock").unlink(missing_ok=True)

    def _sweep(self) -> None:
        for folder in self._sessions.iterdir():
            if folder.suffix == ".lock":
                if not folder.with_suffix("").exists():
                    self._sweep_lock(folder)
                continue
            lock = folder.with_name(f"{folder.name}.lock")
            with contextlib.suppress(BlockingIOError), locked(lock, wait=False):
                remove_tree(folder)
                lock.unlink(missing_ok=True)

    def _sweep_lock(self, lock: Path) -> None:
        """Remove the lock of a build that ended before it had a folder."""
        with contextlib.suppress(BlockingIOError), locked(lock, wait=False):
            if not lock.with_suffix("").exists():
                lock.unlink(missing_ok=True)

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
                if identifier:  # another build was first, with the same content
                    remove_tree(scratch)
                    return self.delta(name)
                continue
            return Delta(name, self.deltas / name, removed, owner, owners)

    def delta(self, identifier: str) -> Delta:
        """Return a delta.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        folder = self.deltas / identifier
        known = json.loads((folder / "delta.json").read_bytes())
        os.utime(folder / "delta.json")  # it was used now: see prune
        owner = tuple(known["owner"]) if known["owner"] is not None else None
        owners = {path: (user, group) for path, (user, group) in known["owners"].items()}
        return Delta(identifier, folder, frozenset(known["removed"]), owner, owners)

    def has(self, identifier: str) -> bool:
        """Return whether there is a delta of that name."""
        return (self.deltas / identifier / "delta.json").exists()

    def cached(self, key: str) -> CachedStep | None:
        """Return what the cache knows of a step, ``None`` if nothing."""
        try:
            known = json.loads((self._steps / f"{key}.json").read_bytes())
            delta = self.delta(known["delta"]) if known["delta"] else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._steps / f"{key}.json")
        return CachedStep(delta)

    def remember(self, key: str, delta: Delta | None) -> None:
        """Put a step into the cache."""
        document = {"delta": delta.id if delta else None}
        write_whole(self._steps / f"{key}.json", json.dumps(document).encode())

    @contextlib.contextmanager
    def only_one(self, key: str) -> Iterator[None]:
        """Let one build at a time do this step: the others find it in the cache after."""
        with locked(self._steps / f"{key}.lock"):
            try:
                yield
            finally:
                (self._steps / f"{key}.lock").unlink(missing_ok=True)


def read_note(delta: Delta, name: str) -> dict[str, Any] | None:
    """Return a note that was written beside a delta: what its layer is, for example."""
    try:
        note = json.loads((delta.folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def write_note(delta: Delta, name: str, note: dict[str, Any]) -> None:
    """Write a note beside a delta."""
    write_whole(delta.folder / f"{name}.json", json.dumps(note).encode())


def remove_tree(folder: Path) -> None:
    """Remove a folder, also where the files of an image forbid it to an ordinary user."""

    def allow(_function: object, path: str, _information: object) -> None:
        parent = os.path.dirname(path)
        with contextlib.suppress(OSError):
            os.chmod(parent, stat.S_IRWXU)
        with contextlib.suppress(OSError):
            if not os.path.islink(path) and os.path.isdir(path):
                os.chmod(path, stat.S_IRWXU)
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    shutil.rmtree(folder, onerror=allow)
