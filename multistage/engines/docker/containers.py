"""Runs a built image for a check: on 127.0.0.1 only, with limits, and always removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import LogConfig
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout

from multistage.engines import Finished
from multistage.engines.docker.connection import is_local
from multistage.errors import LearnerError, MachineError

LABEL = "org.multistage-course.check"
_MEMORY = "512m"
_PROCESSES = 256
_PROCESSOR = 1_000_000_000  # nanoseconds of a processor each second: one
# What servers need that start as root, listen below 1024, and go on as another user.
_CAPABILITIES = ["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"]
_BAD_REQUEST, _CONFLICT = 400, 409
_LIFETIME = 300  # seconds after which a container is stopped even if a check hangs
_LOG_LINES = 200


class DockerContainer:
    """A running container; see :class:`multistage.engines.RunningContainer`."""

    def __init__(self, container: Container, port: int) -> None:
        self._container, self._port = container, port

    @property
    def address(self) -> str:
        """Where it is reached from this machine, empty where it has ended."""
        self._container.reload()
        bindings = self._container.ports.get(f"{self._port}/tcp") or []
        if not bindings:  # it has ended
            return ""
        return f"http://127.0.0.1:{bindings[0]['HostPort']}"

    def exit_code(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        self._container.reload()
        state = self._container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def logs(self) -> str:
        """Return the last lines it wrote."""
        return self._container.logs(tail=_LOG_LINES).decode("utf-8", "replace").strip()

    def stop(self, seconds: float) -> float | None:
        """Send the stop signal; return the seconds it took to end, ``None`` if it did not."""
        if self.exit_code() is not None:
            return 0.0
        number = self._container.attrs["Config"].get("StopSignal") or "SIGTERM"
        started = time.monotonic()
        try:
            self._container.kill(signal=number)
        except APIError as error:
            if error.status_code != _CONFLICT:  # it has ended meanwhile
                raise
        return time.monotonic() - started if _wait(self._container, seconds) else None

    def end(self) -> None:
        """Have it killed: the engine is asked from another thread."""
        threading.Thread(target=_kill, args=(self._container,), daemon=True).start()


@contextmanager
def run(
    client: docker.DockerClient, image: str, port: int, environment: Mapping[str, str] | None
) -> Iterator[DockerContainer]:
    """Run ``image`` with its ``port`` published on a free port of 127.0.0.1.

    Raises:
        LearnerError: the image's command cannot be started.
        MachineError: the engine is on another machine.
    """
    if not is_local(client):
        raise MachineError(
            "The Docker Engine is on another machine, whose containers cannot be asked from here.",
            mend="Run this on that machine, or with an engine on this one.",
        )
    with _always_removed(
        client,
        image,
        detach=True,
        environment=dict(environment or {}),
        ports={f"{port}/tcp": ("127.0.0.1", None)},  # any free port
    ) as container:
        _start(container)
        yield DockerContainer(container, port)


def run_command(
    client: docker.DockerClient, image: str, command: list[str], seconds: float
) -> Finished:
    """Run ``command`` in ``image`` and return its exit code and output.

    A command that cannot be started is an answer too: exit code 127, and the engine's message.
    """
    with _always_removed(
        client, image, entrypoint=command[:1], command=command[1:], network_mode="none"
    ) as container:
        try:
            _start(container)
        except LearnerError as error:
            return Finished(127, error.what)
        status = _wait(container, seconds)
        if status is None:
            return Finished(124, f"It was stopped after {seconds:g} seconds.")
        output = container.logs(tail=_LOG_LINES).decode("utf-8", "replace")
        return Finished(int(status["StatusCode"]), output.strip())


def _wait(container: Container, seconds: float) -> dict[str, Any] | None:
    """Return how a container ended, ``None`` where it did not within so many seconds."""
    try:
        return dict(container.wait(timeout=seconds))
    except (ReadTimeout, RequestsConnectionError):
        return None


def _create(client: docker.DockerClient, image: str, **settings: Any) -> Container:
    """Make a container within limits; remove those that a killed process left behind."""
    _sweep(client)
    try:
        return client.containers.create(
            image,
            labels={LABEL: "1"},
            mem_limit=_MEMORY,
            memswap_limit=_MEMORY,
            nano_cpus=_PROCESSOR,
            pids_limit=_PROCESSES,
            cap_drop=["ALL"],
            cap_add=_CAPABILITIES,
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
            **settings,
        )
    except ImageNotFound as error:
        raise MachineError(f"The image is gone: {image}.", mend="Build it again.") from error
    except APIError as error:
        if error.status_code != _BAD_REQUEST:
            raise
        raise LearnerError(
            f"The image cannot be run: {error.explanation}.",
            mend="The last stage must say what to start: ENTRYPOINT or CMD.",
        ) from error


def _sweep(client: docker.DockerClient) -> None:
    for container in client.containers.list(
        all=True, filters={"label": LABEL}, ignore_removed=True
    ):
        # "2026-11-23T15:04:05.123456789Z" (RFC 3339): the seconds are enough.
        created = datetime.fromisoformat(container.attrs["Created"][:19] + "+00:00")
        if (datetime.now(timezone.utc) - created).total_seconds() > _LIFETIME:
            with suppress(DockerException):
                container.remove(force=True, v=True)


def _start(container: Container) -> None:
    try:
        container.start()
    except APIError as error:
        text = error.explanation or str(error)
        if "port" in text and "allocated" in text:
            raise MachineError(f"No free port: {text}", mend="Try again.") from error
        raise LearnerError(
            f"The container cannot start: {_innermost(text)}",
            mend="Check ENTRYPOINT and CMD: the program must be in the final image.",
        ) from error


def _innermost(text: str) -> str:
    """Return the part of an engine's start-up error that says what is missing."""
    marker = "unable to start container process: "
    return text.split(marker, 1)[1] if marker in text else text


@contextmanager
def _always_removed(
    client: docker.DockerClient, image: str, **settings: Any
) -> Iterator[Container]:
    """Make a container, and remove it whatever happens.

    Ctrl+C may come while the engine makes it, and it makes it all the same. So it is made and
    removed in threads, which Ctrl+C does not reach, and by a name that is known beforehand.
    """
    name = f"multistage-check-{uuid4().hex}"
    made: Future[Container] = Future()
    making = threading.Thread(target=_make, args=(made, client, image, name, settings))
    try:
        making.start()
        container = made.result()
        watchdog = threading.Timer(_LIFETIME, _kill, [container])
        watchdog.daemon = True
        watchdog.start()
        try:
            yield container
        finally:
            watchdog.cancel()
    finally:
        removing = threading.Thread(target=_remove, args=(making, client, name))
        removing.start()
        removing.join()


def _make(
    made: Future[Container],
    client: docker.DockerClient,
    image: str,
    name: str,
    settings: dict[str, Any],
) -> None:
    try:
        made.set_result(_create(client, image, name=name, **settings))
    except BaseException as error:
        made.set_exception(error)


def _remove(making: threading.Thread, client: docker.DockerClient, name: str) -> None:
    if making.ident is not None:
        making.join()
    with suppress(DockerException):  # it was not made, was removed, or the engine went away
        client.api.remove_container(name, force=True, v=True)


def _kill(container: Container) -> None:
    with suppress(DockerException):
        container.kill()
