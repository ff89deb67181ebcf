"""Where the Docker Engine is, and what follows from it."""

import docker
import pytest

from multistage.engines.docker import DockerEngine, connection
from multistage.errors import MachineError


def client(address: str) -> docker.DockerClient:
    return docker.DockerClient(base_url=address, version="1.41")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:///var/run/docker.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://localhost:2375", True),
        ("tcp://build.example.com:2375", False),
        ("tcp://10.0.0.7:2375", False),
    ],
)
def test_an_engine_is_local_where_its_ports_are(address: str, local: bool) -> None:
    assert connection.is_local(client(address)) is local


def test_a_container_on_another_machine_is_not_waited_for() -> None:
    engine = DockerEngine(client("tcp://build.example.com:2375"))
    with pytest.raises(MachineError, match="another machine"), engine.run("any", 80):
        pass
