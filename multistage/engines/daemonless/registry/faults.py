"""The errors of registries, as the learner is told them."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
from requests.exceptions import (
    ChunkedEncodingError,
    HTTPError,
    ProxyError,
    RequestException,
    SSLError,
    Timeout,
)
from urllib3.exceptions import HTTPError as TransportError

from multistage.errors import MachineError

AGAIN = "Run it again: the download goes on where it stopped."
SERVER_FAILS = 500


class DeniedError(MachineError):
    """The registry wants other credentials, or hides that it has no such image."""


class MissingError(MachineError):
    """The registry has nothing of that name."""


class CutError(RequestException):
    """A blob ended before its end."""


def damaged(name: str, why: str) -> MachineError:
    """Return the error for a download that is not what it has to be."""
    return MachineError(
        f"The download of {name} is damaged: {why}. It has been removed.",
        mend="Try again; if it happens again, the registry or a proxy on the way is at fault.",
    )


def may_pass(error: Exception) -> bool:
    """Return whether the next try may succeed."""
    if isinstance(error, HTTPError):
        return error.response.status_code >= SERVER_FAILS
    passing = (requests.ConnectionError, Timeout, ChunkedEncodingError, CutError, TransportError)
    return isinstance(error, passing) and not isinstance(error, SSLError)


def fault(error: Exception, registry: str, name: str) -> MachineError:
    """Return the error to show for one of requests or urllib3, met when asking for ``name``."""
    url = getattr(getattr(error, "request", None), "url", None)
    host = urlsplit(url or "").hostname or registry
    later, network = "Try again later.", "Check the network, and the proxy if there is one."
    if isinstance(error, HTTPError):
        status = error.response.status_code
        if status >= SERVER_FAILS:
            return MachineError(f"{host} fails ({status}), when asked for {name}.", mend=later)
        return MachineError(
            f"The registry hands out no more for now, when asked for {name}.",
            mend="Run docker login, which raises the limit, or wait.",
        )
    if isinstance(error, ProxyError):
        return MachineError(f"The proxy on the way to {host} does not answer.", mend=network)
    if isinstance(error, SSLError):
        return MachineError(
            f"{host} cannot be trusted: its TLS certificate is not valid here.",
            mend="Where a proxy signs anew: set SSL_CERT_FILE to the file with its certificate.",
        )
    if isinstance(error, Timeout):
        return MachineError(f"{host} does not answer in time, asked for {name}.", mend=network)
    if isinstance(error, requests.ConnectionError):
        return MachineError(f"{host} cannot be reached, to ask for {name}.", mend=network)
    if isinstance(error, (CutError, TransportError)):
        return MachineError(f"The download of {name} broke off.", mend=AGAIN)
    return MachineError(f"{host} answers what makes no sense, asked for {name}.", mend=later)
