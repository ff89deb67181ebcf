"""Images from a registry, for a builder without a daemon: finds them and fetches their blobs.

The protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md, "Pull".
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import requests
from requests.exceptions import HTTPError, RequestException
from urllib3.exceptions import HTTPError as TransportError

from multistage.engines.daemonless.registry.client import (
    BAD_RANGE,
    DIGEST,
    MAX_DOCUMENT,
    PARTIAL,
    Client,
    Reference,
)
from multistage.engines.daemonless.registry.faults import (
    AGAIN,
    SERVER_FAILS,
    CutError,
    DeniedError,
    MissingError,
    damaged,
    fault,
    may_pass,
)
from multistage.engines.daemonless.registry.manifests import (
    ACCEPTED,
    Descriptor,
    Document,
    DocumentError,
    Manifest,
    find_platform,
    read_document,
    read_manifest,
)
from multistage.errors import MachineError
from multistage.images.streams import read_fully

__all__ = ["Descriptor", "Manifest", "Registry"]

_BLOCK = 1 << 16  # bytes; a cut loses no more than that
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WAITS = (0.5, 2.0, 5.0)  # seconds before the second, third and every later try
_T = TypeVar("_T")


class Registry:
    """Finds and fetches images, with the credentials of ``docker login`` where they are needed.

    Args:
        tries: how often a request is sent while the network or the registry fails.
        sleep: waits so many seconds between them.
        timeouts: seconds to wait for a connection, and for each piece of an answer.
    """

    def __init__(
        self,
        tries: int = 4,
        sleep: Callable[[float], object] = time.sleep,
        timeouts: tuple[float, float] = (10, 60),
    ) -> None:
        self._tries, self._sleep, self._timeouts = tries, sleep, timeouts
        self._clients: dict[tuple[str, str], Client] = {}

    def resolve(self, reference: str, platform: str) -> Manifest:
        """Return the manifest of an image for a platform, such as ``linux/arm64``.

        An image that is there for one platform only is returned whatever that platform is: only
        its config says so.

        Raises:
            UsageError: the reference cannot be the name of an image.
            MachineError: it is not there, cannot be had, or is not for this platform.
        """
        image = Reference.parse(reference)
        document = self._document(image, image.digest or image.tag)
        if document.is_index:
            entry = find_platform(document, platform)
            document = self._document(image, entry.digest)
            if len(document.data) != entry.size:
                raise DocumentError(image.name, "its index says another size of its manifest")
        return read_manifest(document)

    def has(self, reference: str) -> bool | None:
        """Return whether the registry has an image, ``None`` where it cannot be reached.

        One that it denies counts as missing: Docker Hub denies what it does not have.

        Raises:
            UsageError: the reference cannot be the name of an image.
            MachineError: the registry hands out no more for now.
        """
        image = Reference.parse(reference)
        client, name = self._client(image), image.digest or image.tag
        try:
            client.ask("manifests", name, "HEAD", {"Accept": ", ".join(ACCEPTED)}).close()
        except (MissingError, DeniedError):
            return False
        except HTTPError as error:
            if error.response.status_code < SERVER_FAILS:
                raise fault(error, image.host, image.name) from error
            return None
        except (RequestException, TransportError, MachineError):
            return None
        return True

    def fetch_blob(
        self,
        manifest: Manifest,
        descriptor: Descriptor,
        file: Path,
        progress: Callable[[int], None],
    ) -> None:
        """Download a blob; ``file`` is there only once it is whole and its digest is right.

        Until then the bytes are in ``<file>.part`` beside it, where the next call goes on.

        Args:
            manifest: says which repository.
            descriptor: says which blob.
            file: where it goes; replaced where it exists.
            progress: is told how many bytes of the blob are there; less than before where the
                server made us start anew.

        Raises:
            MachineError: it cannot be had, or not be written, or is not what it has to be.
        """
        image = Reference.parse(manifest.reference)
        part = _Part(file.with_name(f"{file.name}.part"), descriptor, progress)
        with _writing(file):
            self._tried(image, lambda: part.go_on(self._client(image)))
            part.finish(image, file)

    def close(self) -> None:
        """Close the connections that were kept for the next request."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _client(self, image: Reference) -> Client:
        key = (image.host, image.path)
        if key not in self._clients:
            self._clients[key] = Client(image, self._timeouts)
        return self._clients[key]

    def _document(self, image: Reference, name: str) -> Document:
        return self._tried(image, lambda: self._read_document(image, name))

    def _read_document(self, image: Reference, name: str) -> Document:
        headers = {"Accept": ", ".join(ACCEPTED)}
        with self._client(image).ask("manifests", name, headers=headers) as response:
            data = read_fully(response.raw, MAX_DOCUMENT + 1)
        told = response.headers.get("Docker-Content-Digest", "")
        wanted = name if ":" in name else told if DIGEST.fullmatch(told) else ""
        return read_document(image.name, wanted, response.headers.get("Content-Type", ""), data)

    def _tried(self, image: Reference, action: Callable[[], _T]) -> _T:
        """Return what ``action`` returns, tried again while the network or the registry fails."""
        for attempt in range(self._tries):
            try:
                return action()
            except (RequestException, TransportError) as error:
                if attempt + 1 == self._tries or not may_pass(error):
                    raise fault(error, image.host, image.name) from error
            self._sleep(_WAITS[min(attempt, len(_WAITS) - 1)])
        raise AssertionError("no try at all")


class _Part:
    """A blob on its way to the disk."""

    def __init__(self, path: Path, blob: Descriptor, progress: Callable[[int], None]) -> None:
        self._path, self._blob, self._progress = path, blob, progress
        self._there, self._hash = 0, hashlib.sha256()

    def go_on(self, client: Client) -> None:
        """Fetch what is missing, as far as one answer goes.

        Raises:
            CutError: that was not all.
        """
        with self._path.open("a+b") as stream:
            self._take_up(stream)
            if self._there == self._blob.size:
                return
            headers = {"Range": f"bytes={self._there}-"} if self._there else {}
            with client.ask("blobs", self._blob.digest, headers=headers) as response:
                self._place(stream, response)
                self._receive(stream, response)

    def finish(self, image: Reference, file: Path) -> None:
        """Give the blob its name, if it is the right one."""
        if f"sha256:{self._hash.hexdigest()}" != self._blob.digest:
            self._path.unlink(missing_ok=True)
            raise damaged(image.name, f"{self._blob.digest} came with another digest")
        self._path.replace(file)

    def _take_up(self, stream: IO[bytes]) -> None:
        """Hash what is there from an earlier try."""
        self._start_anew(stream, only_if_longer_than=self._blob.size)
        stream.seek(0)
        while block := stream.read(_BLOCK):
            self._hash.update(block)
            self._there += len(block)
        self._progress(self._there)

    def _start_anew(self, stream: IO[bytes], only_if_longer_than: int = -1) -> None:
        self._there, self._hash = 0, hashlib.sha256()
        if stream.seek(0, os.SEEK_END) > only_if_longer_than:
            stream.truncate(0)

    def _place(self, stream: IO[bytes], response: requests.Response) -> None:
        """Make what is there end where the answer begins."""
        span = response.headers.get("Content-Range", "")
        if response.status_code == PARTIAL and span.startswith(f"bytes {self._there}-"):
            return
        self._start_anew(stream)
        self._progress(0)
        if response.status_code in (PARTIAL, BAD_RANGE):
            raise CutError("another part than was asked for", response=response)

    def _receive(self, stream: IO[bytes], response: requests.Response) -> None:
        left = self._blob.size - self._there
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > left:
            stream.close()
            self._path.unlink(missing_ok=True)
            raise damaged(self._blob.digest, f"it came with {length} bytes instead of {left}")
        while self._there < self._blob.size:
            block = response.raw.read(min(_BLOCK, self._blob.size - self._there))
            if not block:
                at = f"{self._there:,} of {self._blob.size:,} bytes"
                raise CutError(f"after {at}", response=response)
            stream.write(block)
            self._hash.update(block)
            self._there += len(block)
            self._progress(self._there)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise MachineError(
            "The disk is full." if full else f"A download cannot be kept: {error.strerror}.",
            where=str(file.parent),
            mend=f"Make room. {AGAIN}" if full else "Check who may write to this folder.",
        ) from error
