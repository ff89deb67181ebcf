"""What ADD does and COPY does not: fetch an address, and unpack an archive."""

from __future__ import annotations

import bz2
import errno
import hashlib
import http.client
import lzma
import os
import posixpath
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from multistage.engines.daemonless import copy
from multistage.engines.daemonless.copy import Selected
from multistage.engines.daemonless.layers.unpack import unpack_layer
from multistage.engines.daemonless.plan import CopyStep
from multistage.engines.daemonless.tree import ROOT_OWNER, FolderDelta, Tree
from multistage.engines.daemonless.writer import DeltaWriter
from multistage.errors import LearnerError, MachineError
from multistage.images.streams import Readable, decompressed, read_fully

_TAR_MAGIC = (257, b"ustar")
_OPENERS: dict[bytes, Callable[..., Any]] = {b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_SECONDS = 60
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_address(source: str) -> bool:
    """Return whether a source of ADD is fetched."""
    return source.startswith(("http://", "https://"))


def expand_sources(
    step: CopyStep, session: Path, log: Callable[[str], None]
) -> tuple[Tree | None, CopyStep]:
    """Fetch the addresses among the sources of an ADD; return their files and the step without.

    Raises:
        LearnerError: an address is none, has nothing to give, or not what ``--checksum`` says.
        MachineError: it cannot be reached.
    """
    addresses = [s for s in step.sources if step.keyword == "ADD" and is_address(s)]
    if not addresses:
        return None, step
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=session))
    destination = step.destination
    for address in addresses:
        try:
            name = posixpath.basename(urllib.parse.urlsplit(address).path)
        except ValueError as error:
            raise _no_address(address, error) from error
        if not destination.endswith("/"):
            name = posixpath.basename(destination)
        if not name or name in (".", ".."):
            raise LearnerError(
                f"ADD cannot tell a file name from {address}.",
                mend="Write the file's name at the end of the destination.",
            )
        log(f"fetching {address}\n")
        _fetch(address, folder / name, step.checksum)
    rest = tuple(s for s in step.sources if s not in addresses)
    return Tree([FolderDelta("download", folder, owner=ROOT_OWNER)]), replace(
        step, sources=rest, unpack=False if step.unpack is None else step.unpack
    )


def _fetch(address: str, file: Path, checksum: str) -> None:
    try:
        with _opened(address) as answer, file.open("wb") as out:
            shutil.copyfileobj(answer, out)
            modified = answer.headers.get("Last-Modified")
            if answer.length:  # bytes that were promised and did not come
                raise http.client.IncompleteRead(b"", answer.length)
    except http.client.IncompleteRead as error:
        raise MachineError(f"ADD {address}: the download broke off.", mend="Try again.") from error
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "filename", None) or getattr(error, "errno", None) in _FULL:
            raise  # of the disk
        raise MachineError(
            f"ADD {address} cannot be fetched: {error}.", mend="Check the network, then try again."
        ) from error
    found = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    if checksum and checksum != found:
        raise LearnerError(f"ADD {address} is not what --checksum says: it has {found}.")
    file.chmod(0o600)
    seconds = _seconds(modified)
    os.utime(file, (seconds, seconds))


def _opened(address: str) -> http.client.HTTPResponse:
    """Ask for what lies at an address.

    Raises:
        LearnerError: it is no address, or the server has nothing there.
    """
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(address, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        raise LearnerError(f"ADD {address}: the server answered {error.code}.") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise _no_address(address, error) from error
    return answer


def _no_address(address: str, error: Exception) -> LearnerError:
    return LearnerError(f"{address} is no address: {error}.", mend="Check how it is written.")


def _seconds(modified: str | None) -> float:
    """Return the time of a ``Last-Modified``, 0 where it is none: as BuildKit dates the file."""
    try:
        return parsedate_to_datetime(modified).timestamp() if modified else 0
    except (ValueError, OverflowError):
        return 0


def unpack_archives(
    step: CopyStep, selected: tuple[Selected, ...], below: Tree, writer: DeltaWriter
) -> tuple[Selected, ...]:
    """Unpack the archives among the sources of an ADD; return the other sources."""
    if step.keyword != "ADD" or step.unpack is False:
        return selected
    plain = []
    for selection in selected:
        top = selection.entries[0] if selection.entries else None
        opened = _open_archive(top.real) if top is not None and top.is_file else None
        if opened is None:
            plain.append(selection)
            continue
        place = below.resolve(step.destination)
        with opened as stream:
            folder = writer.folder_on_disk(place, copy.owner_of(step, below) or ROOT_OWNER)
            found = unpack_layer(stream, folder, owners=writer.keeps_owners, whiteouts=False)
        for path, owner in found.owners.items():
            writer.own(posixpath.normpath(posixpath.join(place, path)), owner)
    return tuple(plain)


def _open_archive(path: str) -> Any | None:
    """Open a tar archive, compressed or not; ``None`` where the file is none."""
    with _plain(path) as stream:
        try:
            head = read_fully(stream, 512)
        except (OSError, EOFError, ValueError, lzma.LZMAError):
            return None
    offset, magic = _TAR_MAGIC
    return _plain(path) if head[offset : offset + len(magic)] == magic else None


@contextmanager
def _plain(path: str) -> Iterator[Readable]:
    """Open a file, decompressed where it is compressed."""
    with Path(path).open("rb") as file:
        head = file.read(6)
        file.seek(0)
        opener = next((o for start, o in _OPENERS.items() if head.startswith(start)), None)
        if opener is None:
            yield decompressed(file)  # knows gzip and zstd
        else:
            with opener(file) as stream:
                yield stream
