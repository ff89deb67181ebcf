"""The keys of the build cache: what the result of a step depends on, in one digest. Pure.

As in BuildKit, files count by content: a file that was touched and not changed keeps the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from multistage.engines.daemonless.plan import CopyStep, WorkdirStep

_VERSION = 2  # another one when steps come to mean something else


def start_key(base: str) -> str:
    """Return the key of a stage that starts from an image, by ID, or from ``scratch``."""
    return _key(["FROM", base])


def copy_key(parent: str, step: CopyStep, content: str, owner: Sequence[int] | None) -> str:
    """Return the key of a COPY of files with this digest."""
    known = asdict(step)
    known.pop("origin")  # where the files come from does not matter, what they are does
    return _key([parent, known, content, owner])


def workdir_key(parent: str, step: WorkdirStep) -> str:
    """Return the key of a WORKDIR."""
    return _key([parent, "WORKDIR", step.path, step.user])


def run_key(parent: str, parts: Sequence[object]) -> str:
    """Return the key of a RUN."""
    return _key([parent, *parts])


def _key(parts: Sequence[object]) -> str:
    text = json.dumps([_VERSION, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
