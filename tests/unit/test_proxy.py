"""What the requests of a sandbox reach through the builder's proxy, and what they do not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform == "win32":
    pytest.skip("this engine is for Linux", allow_module_level=True)

from multistage.engines.daemonless import proxy

SOON = 5  # seconds; a client that nobody answers waits for longer


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.serve(listener)
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def direct(port: int) -> socket.socket:
    """Connect to a port of this machine without asking for a name, as ``resolving`` changes."""
    client = socket.socket()
    client.settimeout(SOON)
    client.connect(("127.0.0.1", port))
    return client


def connected(port: int, host: str) -> socket.socket:
    client = direct(port)
    client.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
    return client


def status(port: int, host: str) -> str:
    with connected(port, host) as client:
        return client.recv(100).decode().split()[1]


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name mean these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_rest, **_more: found)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "localhost", "0.0.0.0", "169.254.169.254",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]"],
)  # fmt: skip
def test_this_machine_is_not_reached(port: int, host: str) -> None:
    assert status(port, host) == "403"


def test_a_name_that_means_this_machine_is_not_reached(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.1", "169.254.169.254")
    assert status(port, "own.test") == "403"


def test_a_private_address_is_reached(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    dialled: list[tuple[str, int]] = []

    def to_the_server(address: tuple[str, int], _seconds: float) -> socket.socket:
        dialled.append(address)
        return direct(server.getsockname()[1])

    monkeypatch.setattr(socket, "create_connection", to_the_server)
    resolving(monkeypatch, "127.0.0.1", "10.1.2.3")
    with server, connected(port, "mirror.test") as client:
        assert client.recv(100) == b"HTTP/1.1 200 OK\r\n\r\n"
        outer, _ = server.accept()
        with outer:
            client.sendall(b"there")
            assert outer.recv(100) == b"there"
            outer.sendall(b"and back")
            assert client.recv(100) == b"and back"
    assert dialled == [("10.1.2.3", 443)]


@pytest.mark.parametrize("host", ["a" * 70, f"{'a' * 70}.test", "no-such-host.invalid", "a..b"])
def test_what_is_no_host_is_answered(port: int, host: str) -> None:
    assert status(port, host) in ("400", "502")


def test_a_connection_for_a_client_that_has_gone_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone:
        def settimeout(self, _seconds: float | None) -> None: ...
        def recv(self, _size: int) -> bytes:
            return b"CONNECT mirror.test:443 HTTP/1.1\r\n\r\n"

        def sendall(self, _data: bytes) -> None:
            raise BrokenPipeError

        def close(self) -> None: ...

    outer, other = socket.socketpair()
    resolving(monkeypatch, "10.1.2.3")
    monkeypatch.setattr(socket, "create_connection", lambda *_rest: outer)
    with other:
        proxy._answer(Gone())  # type: ignore[arg-type]
        assert outer.fileno() == -1
