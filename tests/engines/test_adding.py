"""ADD of an address: what a server may do wrong, and what Docker makes of it."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from multistage.engines import BuildRequest, Engine
from multistage.errors import CourseError, LearnerError, MachineError
from tests.engines.daemonless import any_engine, engine_in, needs_stand_ins, small_disk, write
from tests.engines.same.flat import read_image
from tests.engines.test_same_as_docker import save

pytestmark = [pytest.mark.docker, needs_stand_ins]
BODY = b"Content-Length: 5\r\n\r\nwhole"


class Server:
    """Answers every request with ``answer``, and ends the connection."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the other side may have enough
                connection.recv(65536)
                connection.sendall(self.answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module", params=["docker", "root"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the engine of Docker, and one without a daemon."""
    return any_engine(str(request.param), tmp_path_factory)


def adding(address: str, folder: Path) -> BuildRequest:
    context = write(folder / "context", f"FROM alpine\nADD {address} /file\n")
    return BuildRequest(context, context / "Dockerfile", "multistage/test:adding")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_a_download_that_breaks_off_is_not_kept(
    engine: Engine, answer: bytes, server: Server, tmp_path: Path
) -> None:
    request = adding(f"{server.address}/breaks-off", tmp_path)
    server.answer = answer
    with pytest.raises(CourseError) as caught:
        engine.build(request)
    if engine.name == "daemonless":
        assert isinstance(caught.value, MachineError)
        assert caught.value.where.endswith("Dockerfile:2")
        assert "ry again." in caught.value.mend
    server.answer = b"HTTP/1.1 200 OK\r\n" + BODY
    assert engine.build(request)
    assert engine.run_command(request.tag, ["cat", "/file"]).output == "whole"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("Last-Modified: yesterday\r\n", 0),
        ("Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n", 1_000_000_000),
    ],
)
def test_a_file_has_the_time_that_the_server_tells(
    engine: Engine, header: str, seconds: int, server: Server, tmp_path: Path
) -> None:
    server.answer = f"HTTP/1.1 200 OK\r\n{header}".encode() + BODY
    # Without the cache: it goes by content, and so may bring the file of another time.
    request = dataclasses.replace(adding(f"{server.address}/dated", tmp_path), no_cache=True)
    image = engine.build(request)
    files = read_image(save(engine, image, tmp_path / "image.tar")).files
    assert files["file"].time == seconds


@pytest.mark.parametrize(
    "address",
    ["https://[x/y", "http://x:port/y", f"http://{'x' * 70}/y", "http://127.0.0.1:1/\N{SNOWMAN}"],
)
def test_what_is_no_address_is_told(engine: Engine, address: str, tmp_path: Path) -> None:
    with pytest.raises(CourseError) as caught:
        engine.build(adding(address, tmp_path))
    if engine.name == "daemonless":
        assert isinstance(caught.value, LearnerError)
        assert caught.value.where.endswith("Dockerfile:2")


def test_a_redirect_to_what_is_no_address_is_told(
    engine: Engine, server: Server, tmp_path: Path
) -> None:
    server.answer = b"HTTP/1.1 302 Found\r\nLocation: https://[x/y\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(CourseError):
        engine.build(adding(server.address, tmp_path))


def test_a_full_disk_is_not_the_network_s(server: Server, tmp_path: Path) -> None:
    size = 64 << 20
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with small_disk(tmp_path / "disk", "32m") as disk:
        engine = engine_in(disk / "engine")
        with pytest.raises(MachineError, match="The disk is full"):
            engine.build(adding(f"{server.address}/big", tmp_path))
