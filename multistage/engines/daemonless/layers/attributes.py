"""Extended attributes of a tar's entries.

Format: star(1), "SCHILY.xattr.*", which GNU tar and Docker write too.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Mapping

from multistage.engines.daemonless.layers.entries import raw

_KEY = "SCHILY.xattr."
# Overlay's attributes hide files; those of security modules are for the machine to give.
_KEPT = ("user.", "security.capability")
_DROPPED = ("user.overlay.",)
# What a file system that takes no such attribute, or none as long, may answer.
_REFUSALS = (
    errno.EPERM,
    errno.EACCES,
    errno.ENOTSUP,
    errno.EINVAL,
    errno.E2BIG,
    errno.ERANGE,
    errno.ENOSPC,
    errno.EDQUOT,
)


def attributes(member: tarfile.TarInfo) -> Mapping[str, str]:
    """Return an entry's extended attributes, name to value."""
    headers = member.pax_headers
    return {key[len(_KEY) :]: headers[key] for key in headers if key.startswith(_KEY)}


def set_attributes(fd: int, found: Mapping[str, str]) -> int:
    """Set a file's or folder's extended attributes; return how many were left out.

    Raises:
        OSError: the disk fails.
    """
    return sum(not (_is_kept(name) and _is_set(fd, name, found[name])) for name in found)


def _is_kept(name: str) -> bool:
    return name.startswith(_KEPT) and not name.startswith(_DROPPED) and "\0" not in name


def _is_set(fd: int, name: str, value: str) -> bool:
    try:
        os.setxattr(fd, raw(name), raw(value))
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return False
    return True
