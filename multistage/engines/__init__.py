"""Engines: what builds images and runs them. The protocol, the probe, and the choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from multistage.engines.cancelling import Cancellation
from multistage.engines.events import Event, Report, ignore
from multistage.errors import MachineError, UsageError
from multistage.images.streams import Readable

__all__ = [
    "BuildRequest",
    "Cancellation",
    "Engine",
    "EngineState",
    "Event",
    "Finished",
    "Report",
    "RunningContainer",
    "choose",
    "ignore",
    "probe",
]


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        context: the build context, a folder.
        dockerfile: the Dockerfile, inside the context or not.
        tag: the name the image gets.
        target: the stage to stop at; ``None`` for the last.
        build_args: values for the Dockerfile's ARGs.
        secrets: for ``RUN --mount=type=secret``, in the words of ``docker build --secret``.
        no_cache: build every step anew.
        cancelled: whether the build is still wanted; another thread may change its mind.
    """

    context: Path
    dockerfile: Path
    tag: str
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    no_cache: bool = False
    cancelled: Cancellation = field(default_factory=Cancellation, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ran in an image: its exit code, and what it wrote."""

    exit_code: int
    output: str


class RunningContainer(Protocol):
    """A container that was started for a check."""

    @property
    def address(self) -> str:
        """Where it is reached: ``http://127.0.0.1:PORT``, empty where it has ended."""

    def exit_code(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""

    def logs(self) -> str:
        """Return what it wrote so far to its standard output and error."""

    def stop(self, seconds: float) -> float | None:
        """Send the image's stop signal to the main process, as ``docker stop`` does.

        It goes to that process alone. As the first process of a container it ignores every
        signal that it has no handler for.

        Returns:
            the seconds until the container ended, 0 where it had ended before; ``None`` where it
            did not end within ``seconds``: then it runs on until the surrounding context kills it.
        """

    def end(self) -> None:
        """End it without waiting for that; whoever waits for an answer gets none."""


class Engine(Protocol):
    """What an engine owes the course."""

    @property
    def name(self) -> str:
        """The engine's name on the command line: ``docker`` or ``daemonless``."""

    def describe(self) -> str:
        """Return name, version and image store of what builds, for figures and reports."""

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        """Build an image, tell ``report`` what happens, and return the image's ID.

        An interrupt (``KeyboardInterrupt``) ends the build and leaves nothing running, and so
        does ``request.cancelled.cancel()`` in another thread.

        Raises:
            BuildCancelledError: the build was cancelled.
            LearnerError: the Dockerfile does not build; says where.
            MachineError: the engine does not answer.
        """

    def save(self, image: str) -> AbstractContextManager[Readable]:
        """Open the image as an archive, a stream as ``docker save`` writes it."""

    def export(self, image: str, file: Path) -> None:
        """Write an archive of the image that ``docker load`` takes."""

    def labels(self, image: str) -> dict[str, str] | None:
        """Return the labels of an image this engine has, ``None`` where it has none such."""

    def registry_has(self, reference: str) -> bool | None:
        """Ask the registry for an image: ``None`` where the registry cannot be reached."""

    def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""

    def load(self, archive: Path) -> None:
        """Take the images of an archive in."""

    def run(
        self, image: str, port: int, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[RunningContainer]:
        """Run an image for a check, its ``port`` published on 127.0.0.1; always removed after."""

    def run_command(self, image: str, command: list[str], seconds: float = 60) -> Finished:
        """Run ``command`` in place of the image's own, if any is given, at most so many seconds."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the probe found out about an engine."""

    name: str
    available: bool
    reason: str
    how_to_get_it: str = ""


def _probe_docker() -> EngineState:
    from multistage.engines.docker import connection  # the Docker SDK is slow to import

    return connection.probe()


def _probe_daemonless() -> EngineState:
    if sys.platform != "linux":
        return EngineState("daemonless", False, "It needs Linux.", "Use Docker, or Binder.")
    from multistage.engines.daemonless import sandbox

    reasons = sandbox.probe()
    works = [kind for kind, reason in reasons.items() if not reason]
    others = " ".join(f"{kind}: {reason}" for kind, reason in reasons.items() if reason)
    if works:
        return EngineState("daemonless", True, f"The {works[0]} sandbox works. {others}".strip())
    return EngineState("daemonless", False, others, "apt-get install proot, or use Docker.")


# In the order in which they are preferred.
PROBES = {"docker": _probe_docker, "daemonless": _probe_daemonless}


def probe() -> tuple[EngineState, ...]:
    """Return the state of every engine the course knows, best first."""
    return tuple(probe_one() for probe_one in PROBES.values())


def choose(name: str | None = None) -> Engine:
    """Return the engine called ``name``, or the best one that works on this machine.

    Raises:
        UsageError: no engine is called that.
        MachineError: the engine, or every engine, is not available; says how to get it.
    """
    if name is not None and name not in PROBES:
        raise UsageError(
            f"There is no engine called {name}.", mend=f"Engines: {', '.join(PROBES)}."
        )
    refused = []
    for candidate in [name] if name else PROBES:
        state = PROBES[candidate]()
        if state.available:
            return _make(state.name)
        refused.append(state)
    raise MachineError(refused[0].reason, mend=refused[0].how_to_get_it)


def _make(name: str) -> Engine:
    if name == "daemonless":
        from multistage.engines.daemonless import DaemonlessEngine

        return DaemonlessEngine(os.environ.get("MULTISTAGE_SANDBOX") or None)
    from multistage.engines.docker import DockerEngine

    return DockerEngine()
