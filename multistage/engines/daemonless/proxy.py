"""Lets the requests of a sandbox without a way out reach other servers: HTTP's CONNECT.

https://www.rfc-editor.org/rfc/rfc9110#name-connect. What goes through is encrypted between the
container's program and the server, so certificates are checked by the program, as in a container.
"""

from __future__ import annotations

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
    try:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
            data = inner.recv(_MAX_HEAD)
            if not data:
                return inner.close()
            head += data
        match = _CONNECT.match(head)
        if match is None:
            inner.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return inner.close()
        address = (match[1].decode().strip("[]"), int(match[2]))
        outer = socket.create_connection(address, _SECONDS)
    except OSError:
        with suppress(OSError):
            inner.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        return inner.close()
    inner.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    inner.settimeout(None)
    outer.settimeout(None)
    return join(inner, outer)
