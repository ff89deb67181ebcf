"""Credentials for registries: what oras does about them, and what it lacks.

oras 0.2.43 answers a registry's challenge with a token, and looks credentials up. It never renews a
token that ran out, asks the realm of a Basic challenge for a token, sends credentials to any realm,
and does not find DOCKER_CONFIG or Docker Hub's credentials.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import oras.auth  # type: ignore[import-untyped]
import oras.auth.token  # type: ignore[import-untyped]
import requests

from multistage.errors import MachineError

HUB = "docker.io"
_HUB_CREDENTIALS = "https://index.docker.io/v1/"  # the name docker login keeps them under

logging.getLogger("oras.logger").disabled = True  # it would write to standard error


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Auth(oras.auth.token.TokenAuth):  # type: ignore[misc]
    """Answers challenges (https://distribution.github.io/distribution/spec/auth/token/).

    Args:
        session: sends the requests for tokens.
        host: the registry, as images name it.
        is_local: whether it is asked over plain http.
    """

    def __init__(self, session: requests.Session, host: str, is_local: bool) -> None:
        super().__init__()
        self.session, self._tls_verify = session, True
        self.prefix = "http" if is_local else "https"
        self._host, self._is_signed_in = host, False

    def authenticate_request(
        self, original: requests.Response, headers: dict[str, str], refresh: bool = False
    ) -> tuple[dict[str, str], bool]:
        """Return the headers to ask with again.

        Raises:
            oras.auth.AuthenticationException: nothing is at hand that may be answered.
        """
        if original.history:
            raise MachineError(
                f"{urlsplit(original.url).hostname} answers {original.status_code}; the registry "
                f"{self._host} has sent us there.",
                mend="Check that the network lets you reach both.",
            )
        self._sign_in()
        challenge = original.headers.get("Www-Authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic" and hasattr(self, "_basic_auth"):
            return {**headers, "Authorization": f"Basic {self._basic_auth}"}, True
        changed = False
        with suppress(ValueError, AttributeError, TypeError):  # a token server that tells nonsense
            if scheme == "bearer" and self._may_be_told(challenge):
                sent = original.request.headers.get("Authorization")
                stale = self.token is not None and sent == f"Bearer {self.token}"
                headers, changed = super().authenticate_request(original, headers, refresh or stale)
        if not changed:
            raise oras.auth.AuthenticationException
        return headers, changed

    def _may_be_told(self, challenge: str) -> bool:
        """Return whether credentials may go where a challenge says: never in the clear."""
        realm = urlsplit(oras.auth.utils.parse_auth_header(challenge).realm or "")
        plain = self.prefix == "http" and realm.scheme == "http" and is_loopback(realm.hostname)
        return realm.scheme == "https" or plain

    def _sign_in(self) -> None:
        """Look credentials up, once; a config or helper that is broken counts as none."""
        if self._is_signed_in:
            return
        self._is_signed_in = True
        name = _HUB_CREDENTIALS if self._host == HUB else self._host
        with suppress(OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError):
            self._auth_config = _docker_config()
            self._load_auth(name)


def _docker_config() -> dict[str, Any]:
    """Return the credentials of ``docker login``, in the shape oras keeps them in."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kept = config.get("auths") or {}
    # docker login has written addresses, with scheme and path, where it now writes hosts.
    by_host = {re.sub(r"^https?://", "", name).partition("/")[0]: kept[name] for name in kept}
    return {
        "auths": {**by_host, **kept},
        "credsStore": config.get("credsStore"),
        "credHelpers": config.get("credHelpers") or {},
    }
