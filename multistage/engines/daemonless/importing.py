"""Takes an image archive into the store: an OCI layout in a tar, as the stand-ins are."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.store import Store
from multistage.errors import MachineError

_BLOB = re.compile(r"^blobs/sha256/([0-9a-f]{64})$")
_NAME = "io.containerd.image.name"
_MAX_DOCUMENT = 4 << 20
_DAMAGE = (tarfile.TarError, KeyError, ValueError, TypeError, AttributeError, EOFError)


def load(store: Store, archive: Path) -> None:
    """Keep every named image of an archive; every blob is verified.

    Raises:
        MachineError: it is no such archive, or damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                match = _BLOB.match(member.name)
                if match and member.isreg() and not store.has(f"sha256:{match[1]}", member.size):
                    _keep(store, tar, member, match[1])
            index = _json(tar, "index.json")
        for entry in index.get("manifests", []):
            name = entry.get("annotations", {}).get(_NAME)
            if name:
                store.add(name, store.read_json(entry["digest"]))
    except _DAMAGE as error:
        raise MachineError(
            f"{archive} is no image archive: {error}.", mend="Save or build the image again."
        ) from error


def _keep(store: Store, tar: tarfile.TarFile, member: tarfile.TarInfo, digest: str) -> None:
    source = tar.extractfile(member)
    assert source is not None
    hasher = hashlib.sha256()
    with store.incoming() as out:
        while data := source.read(1 << 20):
            hasher.update(data)
            out.write(data)
        out.flush()
        if hasher.hexdigest() != digest:
            raise tarfile.ReadError(f"{member.name} is not what its name says")
        store.adopt(Path(out.name), f"sha256:{digest}")


def _json(tar: tarfile.TarFile, name: str) -> dict[str, Any]:
    source = tar.extractfile(name)
    document = json.loads(source.read(_MAX_DOCUMENT) if source else b"")
    if not isinstance(document, dict):
        raise TypeError(f"{name} is no object")
    return document
