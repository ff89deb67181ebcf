"""Requests to one repository of a registry: what the library oras does, and what it lacks.

oras 0.2.43 has no time limits, reads answers of any length, and between its own tries, which cannot
be turned off, it waits for minutes.
"""

from __future__ import annotations

import io
import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import oras.auth  # type: ignore[import-untyped]
import oras.container  # type: ignore[import-untyped]
import oras.provider  # type: ignore[import-untyped]
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import HTTPError, InvalidURL, RequestException

from multistage.bases.recipe import normal_reference
from multistage.engines.daemonless.registry.auth import HUB, Auth, is_loopback
from multistage.engines.daemonless.registry.faults import SERVER_FAILS, DeniedError, MissingError
from multistage.errors import MachineError, UsageError
from multistage.images.streams import read_fully

MAX_DOCUMENT = 4 << 20  # bytes; what registries accept as a manifest, too
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PARTIAL = 206
BAD_RANGE = 416
_MISSING = 404
_TOO_MANY = 429
_HUB_ADDRESS = "registry-1.docker.io"

# https://github.com/distribution/reference/blob/main/reference.go, the grammar at the top.
_REFERENCE = re.compile(
    r"(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?)/"
    r"(?P<path>[a-z0-9]+(?:(?:\.|__?|-+|/)[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry.

    Attributes:
        name: the reference in full, such as ``docker.io/library/alpine:latest``.
        host: the registry's name in it, with its port if it has one.
        path: the repository.
        tag: the tag, an empty string where only a digest was given.
        digest: the digest, an empty string where only a tag was given.
    """

    name: str
    host: str
    path: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return what a reference names, read as Docker reads it.

        Raises:
            UsageError: it cannot be the name of an image.
        """
        name = normal_reference(text)
        match = _REFERENCE.fullmatch(name)
        if match is None or not _is_host(match["host"]):
            raise UsageError(
                f"{text} cannot be the name of an image.",
                mend="Names are in lower case, without blanks: registry/name:tag",
            )
        return cls(name, match["host"], match["path"], match["tag"] or "", match["digest"] or "")

    @property
    def address(self) -> str:
        """Host and port to ask. oras takes a host without dot and colon for no host."""
        if self.host == HUB:
            return _HUB_ADDRESS
        return "localhost:80" if self.host == "localhost" else self.host

    @property
    def is_loopback(self) -> bool:
        """Whether the registry runs on this machine, and so is asked over plain http."""
        return is_loopback(urlsplit(f"//{self.host}").hostname)


def _is_host(host: str) -> bool:
    try:
        return not host.startswith("[") or bool(ipaddress.IPv6Address(host[1:].partition("]")[0]))
    except ValueError:
        return False


class Client:
    """Asks for the manifests and blobs of one repository: tokens hold for no other.

    Args:
        image: says which repository.
        timeouts: seconds to wait for a connection, and for each piece of an answer.
    """

    def __init__(self, image: Reference, timeouts: tuple[float, float]) -> None:
        self._image = image
        self._oras = oras.provider.Registry(image.address, insecure=image.is_loopback)
        session: requests.Session = self._oras.session
        # Go, and so Docker, sends nothing for this machine through a proxy.
        session.trust_env = not image.is_loopback
        session.auth = _unchanged  # or requests would put in what ~/.netrc says
        session.headers["Accept-Encoding"] = "identity"
        adapter = _Adapter(timeouts)
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        self._oras.auth = Auth(session, image.host, image.is_loopback)

    def ask(
        self, kind: str, name: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Return the answer to one request, its body not read yet; the caller closes it.

        Args:
            kind: ``manifests`` or ``blobs``.
            name: a tag or digest.
            method: ``GET`` or ``HEAD``.
            headers: of the request.

        Raises:
            DeniedError: the registry denies it (401, 403).
            MissingError: there is none such (404).
            MachineError: the registry answers what makes no sense.
            requests.RequestException: no answer, or a failure (429, 5xx).
        """
        host, path = self._image.address, self._image.path
        container = oras.container.Container(f"{host}/{path}")
        part = container.get_blob_url(name) if kind == "blobs" else container.manifest_url(name)
        # Without oras' own tries, which wait up to 80 seconds and cannot be told not to.
        send = oras.provider.Registry.do_request.__wrapped__
        try:
            url = f"{self._oras.prefix}://{part}"
            response = send(self._oras, url, method, headers=dict(headers or {}), stream=True)
        except oras.auth.AuthenticationException as error:
            raise self._denied() from error
        except ValueError as error:  # requests lets it through for some redirects
            if isinstance(error, RequestException):
                raise
            raise InvalidURL(str(error)) from error
        assert isinstance(response, requests.Response)
        if response.status_code not in (200, PARTIAL, BAD_RANGE):
            raise self._refused(response)
        return response

    def close(self) -> None:
        """Close the connection that was kept for the next request."""
        self._oras.session.close()

    def _refused(self, response: requests.Response) -> MachineError:
        if response.status_code == _MISSING:
            return MissingError(
                f"The registry {self._image.host} has no {self._image.name}.",
                mend="Check the name and the tag.",
            )
        if response.status_code in (401, 403):
            return self._denied()
        return MachineError(
            f"{urlsplit(response.url).hostname} answers {response.status_code}, when asked for "
            f"{self._image.name}.",
            mend="Check the name; if it is right, try again later.",
        )

    def _denied(self) -> DeniedError:
        host = "" if self._image.host == HUB else f" {self._image.host}"
        return DeniedError(
            f"The registry {self._image.host} denies {self._image.name}: "
            "there is none such, or it is private.",
            mend=f"Check the name; for a private image, run: docker login{host}",
        )


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(HTTPAdapter):
    """Sends with time limits, and bounds every body that others would read whole."""

    def __init__(self, timeouts: tuple[float, float]) -> None:
        self._timeouts = timeouts
        super().__init__(pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        # The machine's certificates beside those of certifi: companies add theirs to the former.
        super().init_poolmanager(*arguments, ssl_context=ssl.create_default_context(), **options)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        options.setdefault("ssl_context", ssl.create_default_context())
        return super().proxy_manager_for(proxy, **options)

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *_: Any, **options: Any
    ) -> requests.Response:
        options["timeout"] = self._timeouts
        response = super().send(request, stream, **options)
        if stream and response.ok and not response.is_redirect:
            return response
        response.raw.decode_content = True
        body = read_fully(response.raw, MAX_DOCUMENT)
        response.close()
        response.raw = io.BytesIO(body)
        # oras would take a token server that fails for one that denies.
        if response.status_code == _TOO_MANY or response.status_code >= SERVER_FAILS:
            raise HTTPError(request=request, response=response)
        return response
