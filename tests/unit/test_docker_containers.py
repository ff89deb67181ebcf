"""Containers of checks are removed whenever Ctrl+C comes; the engine is made up."""

from __future__ import annotations

import _thread
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from multistage.engines.docker import containers

SLOW = 0.3  # seconds that the engine takes to make a container


class MadeClient:
    """A client whose engine makes a container a while after it was asked; Ctrl+C comes between."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.containers = SimpleNamespace(create=self._create, list=lambda **_: [])
        self.api = SimpleNamespace(
            base_url="http+docker://localhost", remove_container=self._remove
        )

    def _create(self, _image: str, **settings: Any) -> SimpleNamespace:
        name = str(settings.get("name", "a name that the engine gave"))
        try:
            _thread.interrupt_main()
            time.sleep(SLOW)
        finally:
            self.there.add(name)  # the engine does it whether or not somebody still listens
        return SimpleNamespace(name=name, start=lambda: None)

    def _remove(self, name: str, **_options: bool) -> None:
        if name not in self.there:
            raise NotFound("no such container")
        self.there.remove(name)


@pytest.fixture
def client() -> Iterator[MadeClient]:
    client = MadeClient()
    yield client
    assert client.there == set()


def test_ctrl_c_while_a_container_is_made_leaves_none(client: MadeClient) -> None:
    made_up: Any = client
    with pytest.raises(KeyboardInterrupt), containers.run(made_up, "image", 80, None):
        pytest.fail("it goes on")


def test_ctrl_c_while_a_command_is_started_leaves_none(client: MadeClient) -> None:
    made_up: Any = client
    with pytest.raises(KeyboardInterrupt):
        containers.run_command(made_up, "image", ["true"], 1)
