"""A container of the daemonless engine may do, and can be asked, what one of Docker can."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multistage.checks import ask
from multistage.engines import BuildRequest, Engine, RunningContainer
from tests.engines.daemonless import BASE, any_engine, needs_stand_ins, wait_for

pytestmark = [pytest.mark.docker, needs_stand_ins]
PAGE = ["RUN mkdir /www && echo hello > /www/index.html", "WORKDIR /www"]
LONG_ENOUGH = 2  # seconds in which a server that listens would have answered


@pytest.fixture(scope="module", params=["docker", "root", "user-namespaces"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the engine of Docker, and the sandboxes with a network of their own."""
    return any_engine(str(request.param), tmp_path_factory)


@contextmanager
def running(engine: Engine, folder: Path, *lines: str) -> Iterator[RunningContainer]:
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines, ""]), "utf-8")
    image = engine.build(BuildRequest(folder, folder / "Dockerfile", "multistage/test:alike"))
    with engine.run(image, 80) as container:
        yield container


def test_any_user_may_listen_on_port_80(engine: Engine, tmp_path: Path) -> None:
    server = 'CMD ["httpd", "-f", "-p", "80"]'
    with running(engine, tmp_path, *PAGE, "USER 65532", server) as container:
        wait_for(lambda: ask(container.address, "/").text == "hello\n", 30)


def test_a_server_on_localhost_alone_is_not_reached(engine: Engine, tmp_path: Path) -> None:
    server = 'CMD ["sh", "-c", "echo ready; exec httpd -f -p 127.0.0.1:80"]'
    with running(engine, tmp_path, *PAGE, server) as container:
        wait_for(lambda: "ready" in container.logs(), 30)
        time.sleep(LONG_ENOUGH)
        assert container.exit_code() is None
        assert ask(container.address, "/").status == 0


def test_nobody_listens_any_more_once_a_container_has_ended(engine: Engine, tmp_path: Path) -> None:
    with running(engine, tmp_path, 'CMD ["sleep", "1"]') as container:
        port = int(container.address.rpartition(":")[2])
        wait_for(lambda: container.exit_code() is not None, 30)
        wait_for(lambda: refuses(port), 2)


def refuses(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(5)
        return connection.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_any_user_may_open_its_output_by_name(engine: Engine, tmp_path: Path) -> None:
    said = 'CMD ["sh", "-c", "echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr"]'
    with running(engine, tmp_path, "USER 65532", said) as container:
        wait_for(lambda: container.exit_code() == 0, 30)
        assert {"to-stdout", "to-stderr"} <= set(container.logs().split())
