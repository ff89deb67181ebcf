"""Runs a built image for a check: on 127.0.0.1 only, with limits, and always removed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import docker
from docker.errors import APIError, DockerException
from docker.models.containers import Container
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout

from multistage.engines import Finished
from multistage.errors import LearnerError, MachineError

LABEL = "org.multistage-course.check"
_MEMORY = "512m"
_PROCESSES = 256
_LIFETIME = 300  # seconds after which a container is stopped even if a check hangs
_LOG_LINES = 200


class DockerContainer:
    """A running container; see :class:`multistage.engines.RunningContainer`."""

    def __init__(self, container: Container, port: int) -> None:
        self._container, self._port = container, port

    @property
    def address(self) -> str:
        """Where it is reached from this machine."""
        self._container.reload()
        bindings = self._container.ports.get(f"{self._port}/tcp") or []
        if not bindings:
            raise LearnerError(
                f"The container does not listen: it ended before port {self._port} was published.",
                mend=self.logs() or "It wrote nothing to its log.",
            )
        return f"http://127.0.0.1:{bindings[0]['HostPort']}"

    def exit_code(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        self._container.reload()
        state = self._container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def logs(self) -> str:
        """Return the last lines it wrote."""
        return self._container.logs(tail=_LOG_LINES).decode("utf-8", "replace").strip()


@contextmanager
def run(
    client: docker.DockerClient, image: str, port: int, environment: Mapping[str, str] | None
) -> Iterator[DockerContainer]:
    """Run ``image`` with its ``port`` published on a free port of 127.0.0.1.

    Raises:
        LearnerError: the image's command cannot be started.
    """
    container = client.containers.create(
        image,
        detach=True,
        environment=dict(environment or {}),
        ports={f"{port}/tcp": ("127.0.0.1", None)},
        **_limits(),
    )
    with _always_removed(container):
        _start(container)
        yield DockerContainer(container, port)


def run_command(
    client: docker.DockerClient, image: str, command: list[str], seconds: float
) -> Finished:
    """Run ``command`` in ``image`` and return its exit code and output.

    A command that cannot be started is an answer too: exit code 127, and the engine's message.
    """
    container = client.containers.create(
        image, entrypoint=command[:1], command=command[1:], network_mode="none", **_limits()
    )
    with _always_removed(container):
        try:
            _start(container)
        except LearnerError as error:
            return Finished(127, error.what)
        try:
            status = container.wait(timeout=seconds)
        except (ReadTimeout, RequestsConnectionError):
            return Finished(124, f"It was stopped after {seconds:g} seconds.")
        output = container.logs(tail=_LOG_LINES).decode("utf-8", "replace")
        return Finished(int(status["StatusCode"]), output.strip())


def _limits() -> dict[str, object]:
    return {
        "labels": {LABEL: "1"},
        "mem_limit": _MEMORY,
        "pids_limit": _PROCESSES,
        "security_opt": ["no-new-privileges"],
    }


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
def _always_removed(container: Container) -> Iterator[None]:
    watchdog = threading.Timer(_LIFETIME, _kill, [container])
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        with suppress(DockerException):  # removed by someone else, or the engine went away
            container.remove(force=True, v=True)


def _kill(container: Container) -> None:
    with suppress(DockerException):
        container.kill()
