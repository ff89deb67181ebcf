"""Containers that checks run: local only, limited, with their logs, and always removed."""

from __future__ import annotations

import _thread
import io
from typing import Any

import docker
import pytest
from docker.api.container import ContainerApiMixin

from multistage.checks import ask, wait_until_it_answers
from multistage.engines.docker import DockerEngine
from multistage.engines.docker.containers import LABEL
from multistage.errors import LearnerError, UsageError
from tests.engines.conftest import BASE

pytestmark = pytest.mark.docker


def left(client: docker.DockerClient) -> list[object]:
    return list(client.containers.list(all=True, filters={"label": LABEL}))


def test_a_container_answers_on_this_machine_only(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    with engine.run(BASE, 80) as container:
        wait_until_it_answers(container)
        assert ask(container.address, "/").status == 200
        running = client.containers.list(filters={"label": LABEL})[0]
        settings = running.attrs["HostConfig"]
        assert {b["HostIp"] for b in running.ports["80/tcp"] or []} == {"127.0.0.1"}
        assert settings["Memory"] == 512 << 20
        assert settings["MemorySwap"] == 512 << 20
        assert settings["NanoCpus"] == 1_000_000_000
        assert settings["PidsLimit"] == 256
        assert settings["CapDrop"] == ["ALL"]
        assert settings["LogConfig"]["Config"]["max-size"] == "1m"
        assert settings["SecurityOpt"] == ["no-new-privileges"]
    assert left(client) == []


def test_a_container_is_removed_when_the_check_fails(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    with pytest.raises(KeyboardInterrupt), engine.run(BASE, 80):
        raise KeyboardInterrupt
    assert left(client) == []


def test_a_container_is_removed_when_ctrl_c_comes_while_it_is_made(
    engine: DockerEngine, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create: Any = ContainerApiMixin.create_container_from_config

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        made = create(*arguments, **settings)
        _thread.interrupt_main()
        return made

    monkeypatch.setattr(ContainerApiMixin, "create_container_from_config", interrupted)
    for run in (lambda: engine.run(BASE, 80).__enter__(), lambda: engine.run_command(BASE, ["ls"])):
        with pytest.raises(KeyboardInterrupt):
            run()
    assert left(client) == []


def test_a_container_that_ends_says_its_last_words(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    dockerfile = f'FROM {BASE}\nCMD ["sh", "-c", "echo out of wood; exit 3"]\nENTRYPOINT []\n'
    client.images.build(
        fileobj=io.BytesIO(dockerfile.encode()), tag="multistage/test:ends", rm=True
    )
    with (
        pytest.raises(LearnerError, match="exit code 3") as caught,
        engine.run("multistage/test:ends", 80) as container,
    ):
        wait_until_it_answers(container)
    assert "out of wood" in caught.value.what
    assert left(client) == []


def test_a_command_gives_its_exit_code_and_output(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    finished = engine.run_command(BASE, ["sh", "-c", "echo here; exit 4"])
    assert (finished.exit_code, finished.output) == (4, "here")
    assert left(client) == []


def test_a_command_that_is_not_there_is_an_answer(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    finished = engine.run_command(BASE, ["/no/such/program"])
    assert finished.exit_code == 127
    assert "/no/such/program" in finished.output
    assert left(client) == []


def test_a_command_without_end_is_stopped(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    finished = engine.run_command(BASE, ["sleep", "600"], seconds=1)
    assert finished.exit_code == 124
    assert left(client) == []


def test_an_image_that_names_no_program_is_said_to(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    client.images.build(
        fileobj=io.BytesIO(b"FROM scratch\nLABEL a=b\n"), tag="multistage/test:none", rm=True
    )
    with (
        pytest.raises(LearnerError, match="cannot be run") as caught,
        engine.run("multistage/test:none", 80),
    ):
        pass
    assert "ENTRYPOINT or CMD" in caught.value.mend
    assert left(client) == []


def test_what_a_killed_process_left_is_removed_with_the_next_container(
    engine: DockerEngine, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.containers.create(BASE, labels={LABEL: "1"})
    monkeypatch.setattr("multistage.engines.docker.containers._LIFETIME", -60)
    engine.run_command(BASE, ["true"])
    assert left(client) == []


def test_a_name_that_no_image_can_have_is_refused(engine: DockerEngine) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        engine.labels("Upper Case")
