"""Brings connections into a sandbox that has a network of its own, and lets its requests out.

In: a process within that network accepts on a socket of this machine's network. Out: a socket
that listens within is handed to the builder, which answers it as an HTTP proxy (see ``proxy.py``).
"""

from __future__ import annotations

import os
import socket
import threading

PROXY_PORT = 3128
# Where what comes in arrives: as in a container, a server on 127.0.0.1 alone is not reached.
OWN_ADDRESS = "192.0.2.1"  # for documentation, RFC 5737: nobody else has it
_BLOCK = 65536


def start(listener: int, port: int, channel: int | None) -> None:
    """Start the process that hands on what ``listener`` accepts to ``port``, and return.

    Args:
        listener: a listening socket's descriptor.
        port: of ``OWN_ADDRESS``, in the network of this process.
        channel: a socket's descriptor, over which a socket for the proxy goes out.
    """
    if channel is not None:
        with socket.socket(fileno=channel) as out, _proxy_socket() as inner:
            socket.send_fds(out, [b"proxy"], [inner.fileno()])
    try:
        child = os.fork()
    except OSError:  # the command has ended already, and with it the namespace
        child = -1
    if child:
        os.close(listener)
        return
    try:
        _serve(socket.socket(fileno=listener), port)
    finally:
        os._exit(0)


def _proxy_socket() -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", PROXY_PORT))
    except OSError:  # the command itself will use that port, and has no proxy then
        return socket.create_server(("127.0.0.1", 0))


def _serve(listener: socket.socket, port: int) -> None:
    while True:
        outer, _ = listener.accept()
        # create_connection() would import more of Python, whose files cannot be seen from here.
        inner = socket.socket(socket.AF_INET)
        try:
            inner.connect((OWN_ADDRESS, port))
        except OSError:  # it does not listen yet
            outer.close()
            inner.close()
            continue
        join(outer, inner)


def join(one: socket.socket, other: socket.socket) -> None:
    """Hand on what either says to the other, in threads of their own, until both have ended."""
    for source, target in ((one, other), (other, one)):
        threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_BLOCK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()
