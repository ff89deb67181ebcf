"""Digests of files, remembered as long as this process runs and the file does not change."""

from __future__ import annotations

import functools
import hashlib
import os

_BLOCK = 1 << 20


def file_digest(path: str, status: os.stat_result) -> str:
    """Return the SHA-256 of a file's content."""
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=200_000)
def _digest(path: str, _inode: int, size: int, _modified: int, _changed: int) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if size <= _BLOCK:
            return hashlib.sha256(os.read(handle, _BLOCK + 1)).hexdigest()
        hasher = hashlib.sha256()
        while data := os.read(handle, _BLOCK):
            hasher.update(data)
        return hasher.hexdigest()
    finally:
        os.close(handle)
