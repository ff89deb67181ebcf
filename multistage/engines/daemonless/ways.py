"""The ways into a container and out of it: how it is asked, and how its requests reach others."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from multistage.engines.daemonless import proxy
from multistage.engines.daemonless.network import listening_ports
from multistage.engines.daemonless.sandbox.forwarding import PROXY_PORT
from multistage.errors import NotPossibleHereError

_START_SECONDS = 10


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways of one container.

    Attributes:
        forward: see :class:`multistage.engines.daemonless.sandbox.Command`.
        proxy: likewise.
        forwarded: the port of 127.0.0.1 that leads into a network of its own.
        candidates: without such a network, the ports it may listen on that were free before.
        hand_over: to be called when the sandbox has been started.
    """

    forward: tuple[int, int] | None = None
    proxy: int | None = None
    forwarded: int | None = None
    candidates: tuple[int, ...] = ()
    hand_over: Callable[[], None] = _nothing


@contextmanager
def ways(port: int | None, variables: dict[str, str], *, own_network: bool) -> Iterator[Ways]:
    """Open the ways to ``port`` of a container, and add to its variables what it must know."""
    if port is None:
        yield Ways()
    elif own_network:
        variables.setdefault("HTTPS_PROXY", f"http://127.0.0.1:{PROXY_PORT}")
        with _forwarded(port) as found:
            yield found
    else:
        variables.setdefault("PORT", str(_free_port()))
        wanted = {int(variables["PORT"])} if variables["PORT"].isdigit() else set()
        yield Ways(candidates=tuple((wanted | {port}) - listening_ports()))


@contextmanager
def _forwarded(port: int) -> Iterator[Ways]:
    inner, outer = socket.socketpair()
    with inner, outer, _listener() as listener, ExitStack() as served:

        def hand_over() -> None:
            # Open here too, it would take connections that nobody answers once the container
            # has ended.
            listener.close()
            inner.close()
            _serve_proxy(outer, served)

        forward = (listener.fileno(), port)
        yield Ways(forward, inner.fileno(), listener.getsockname()[1], hand_over=hand_over)


def _listener() -> socket.socket:
    """Listen on a free port of 127.0.0.1."""
    return socket.create_server(("127.0.0.1", 0))


def _free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with _listener() as server:
        return int(server.getsockname()[1])


def _serve_proxy(channel: socket.socket, stack: ExitStack) -> None:
    """Answer the requests that come out of the sandbox."""
    channel.settimeout(_START_SECONDS)
    with suppress(OSError):
        _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
        for descriptor in descriptors:
            listener = socket.socket(fileno=descriptor)
            stack.callback(listener.close)
            stack.callback(_wake, listener)
            proxy.serve(listener)


def _wake(listener: socket.socket) -> None:
    """End the wait of the thread that accepts: closing alone does not, see accept(2)."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def refuse_low(port: int) -> None:
    """Say that a port cannot be listened on here: ip(7), ip_unprivileged_port_start.

    Raises:
        NotPossibleHereError: only root may, and this is an ordinary user.
    """
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    first = int(lowest.read_text("ascii")) if lowest.exists() else 1024
    if os.geteuid() != 0 and port < first:
        raise NotPossibleHereError(
            f"this machine lets nobody but root listen on port {port}, so the image is not run.",
            mend="The image is built and measured. To see it answer, use a machine with Docker.",
        )
