"""Lets the requests of a sandbox without a way out reach other servers: HTTP's CONNECT.

https://www.rfc-editor.org/rfc/rfc9110#name-connect. What goes through is encrypted between the
container's program and the server, so certificates are checked by the program, as in a container.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from contextlib import suppress

from multistage.engines.daemonless.sandbox.forwarding import join

_CONNECT = re.compile(rb"^CONNECT ([\w.:\[\]-]+):(443) HTTP/1\.[01]\r\n")
_MAX_HEAD = 8192
_SECONDS = 10


def serve(listener: socket.socket) -> None:
    """Answer requests in threads of their own until ``listener`` is closed."""
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()


def _accept(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            inner, _ = listener.accept()
            threading.Thread(target=_answer, args=(inner,), daemon=True).start()


def _answer(inner: socket.socket) -> None:
    inner.settimeout(_SECONDS)
    outer: socket.socket | None = None
    try:
        status, outer = _reach(_head(inner))
        inner.sendall(b"HTTP/1.1 %s\r\n\r\n" % status)
    except OSError:  # whoever asked has gone
        if outer is not None:
            outer.close()
        return inner.close()
    if outer is None:
        return inner.close()
    inner.settimeout(None)
    outer.settimeout(None)
    return join(inner, outer)


def _head(inner: socket.socket) -> bytes:
    """Return a request's head, or what there is of it."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
        data = inner.recv(_MAX_HEAD)
        if not data:
            break
        head += data
    return head


def _reach(head: bytes) -> tuple[bytes, socket.socket | None]:
    """Return the status to answer with, and the connection that was asked for."""
    match = _CONNECT.match(head)
    if match is None:
        return b"403 Forbidden", None
    try:
        outer = _connect(match[1].decode().strip("[]"), int(match[2]))
    except (OSError, UnicodeError):  # a part of the name may be too long for IDNA
        return b"502 Bad Gateway", None
    return (b"200 OK" if outer else b"403 Forbidden"), outer


def _connect(host: str, port: int) -> socket.socket | None:
    """Connect to a server, ``None`` where that is this machine: no container reaches it.

    Raises:
        OSError: there is no such server, or it does not answer.
        UnicodeError: that cannot be a name.
    """
    fault: OSError | None = None
    for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        address = str(found[4][0])
        if _is_here(address):
            continue
        try:  # by the address that was looked at: the name could lead elsewhere a moment later
            return socket.create_connection((address, port), _SECONDS)
        except OSError as error:
            fault = error
    if fault is not None:
        raise fault
    return None


def _is_here(address: str) -> bool:
    """Return whether an address is of this machine or this link: clouds keep secrets there."""
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_link_local or found.is_unspecified
