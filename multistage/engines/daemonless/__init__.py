"""Builds and runs images with no daemon at all: the engine for where there is no Docker.

The way of a build through this package: ``builder`` (which stages, in which order) → ``stages``
(a stage's steps) → ``plan`` (what a step means), ``cache`` (whether it is done already), ``copy``,
``run`` → ``images`` (layers and config) → ``store``. RUN's command runs in a ``sandbox``.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from multistage.engines import BuildRequest, Finished, RunningContainer
from multistage.engines.daemonless import bases, builder, containers, importing, sandbox
from multistage.engines.daemonless.export import ArchiveStream, export
from multistage.engines.daemonless.paths import cache_folder
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.stages import BuiltStage
from multistage.engines.daemonless.store import Store, StoredImage, locked
from multistage.engines.events import Report, ignore
from multistage.errors import MachineError, UsageError
from multistage.images.streams import Readable

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class DaemonlessEngine:
    """Builds and runs without a daemon; see :class:`multistage.engines.Engine`.

    Args:
        kind: the sandbox for RUN; the best one of this machine where not given.
        folder: where images and the build cache are kept.

    Attributes:
        last_stages: what the last build made, by stage.

    Raises:
        MachineError: no sandbox works here, or the folder cannot be written to.
    """

    name = "daemonless"

    def __init__(self, kind: str | None = None, folder: Path | None = None) -> None:
        self._folder = (folder or cache_folder()).absolute()
        with _disk_faults(self._folder):
            self._sandbox = sandbox.choose(kind)
            self._store = Store(self._folder / "images")
            place = f"{self._sandbox.kind}-{'overlay' if self._sandbox.overlay else 'copy'}"
            self._snapshots = Snapshots(self._folder / "snapshots" / place)
        self.last_stages: dict[str, BuiltStage] = {}

    @property
    def workshop(self) -> builder.Workshop:
        """What builds work with."""
        return builder.Workshop(self._store, self._snapshots, self._sandbox, this_platform())

    def describe(self) -> str:
        """Return, for example, ``daemonless engine, root sandbox, overlayfs``."""
        return f"daemonless engine, {self._sandbox.description}"

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        """Build an image and return its ID."""
        with self._used():
            self.last_stages = {}
            return builder.build(self.workshop, request, report, self.last_stages).id

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        """Open the image's archive."""
        with self._used(elsewhere=False):
            yield ArchiveStream(self._store, self._image(image))

    def export(self, image: str, file: Path) -> None:
        """Write an archive of an image that ``docker load`` takes.

        Raises:
            OSError: the archive cannot be written.
        """
        with self._used(elsewhere=False):
            names = () if image.startswith("sha256:") else (image,)
            export(self._store, self._image(image), names, file)

    def labels(self, image: str) -> dict[str, str] | None:
        """Return the labels of an image of the store, ``None`` where there is none such.

        Raises:
            UsageError: that cannot be the name of an image.
        """
        with _disk_faults(self._folder):
            found = self._store.image(image)
        if found is not None:
            return found.labels
        if not image.startswith("sha256:"):
            from multistage.engines.daemonless.registry.client import Reference

            Reference.parse(image)
        return None

    def registry_has(self, reference: str) -> bool | None:
        """Ask the registry for an image: ``None`` where the registry cannot be reached."""
        from multistage.engines.daemonless.registry import Registry

        registry = Registry()
        try:
            return registry.has(reference)
        finally:
            registry.close()

    def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""
        with self._used():
            bases.pull(self._store, reference, this_platform(), lambda _text: None)

    def load(self, archive: Path) -> None:
        """Take the images of an archive in."""
        with self._used():
            importing.load(self._store, archive)

    @contextmanager
    def run(
        self, image: str, port: int, environment: Mapping[str, str] | None = None
    ) -> Iterator[RunningContainer]:
        """Run an image for a check; always removed after."""
        with self._used(elsewhere=False), ExitStack() as stack:
            with _disk_faults(self._folder):
                running = stack.enter_context(
                    containers.run(self.workshop, self._image(image), port, environment or {})
                )
            yield running

    def run_command(self, image: str, command: list[str], seconds: float = 60) -> Finished:
        """Run ``command`` in place of the image's own."""
        with self._used():
            return containers.run_command(self.workshop, self._image(image), command, seconds)

    def _image(self, name: str) -> StoredImage:
        with _disk_faults(self._folder):
            found = self._store.image(name)
        if found is None:
            raise UsageError(f"There is no image {name} in the store.", mend="Build it first.")
        return found

    @contextmanager
    def _used(self, *, elsewhere: bool = True) -> Iterator[None]:
        """Keep ``multistage prune`` of another process away as long as the block lasts."""
        faults = _disk_faults(self._folder, elsewhere=elsewhere)
        with faults, locked(self._folder / "lock", shared=True):
            yield


def this_platform() -> str:
    """Return the platform that images are built for here."""
    machine = platform.machine().lower()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


@contextmanager
def _disk_faults(folder: Path, *, elsewhere: bool = True) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do.

    Args:
        folder: the engine's own.
        elsewhere: whether to do so too for what does not lie in there, or does not say where it
            lies; not where a caller's block, or a path of the learner, may be at fault.
    """
    try:
        yield
    except OSError as error:
        named = str(error.filename)
        own = Path(named).is_relative_to(folder)
        if not own and not elsewhere:
            raise
        if isinstance(error, InterruptedError | ConnectionError | TimeoutError):
            raise  # not of the disk
        # What has no full path was opened from within the engine's folder.
        where = named if os.path.isabs(named) and not own else str(folder)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(
                "The disk is full.",
                where=where,
                mend="Free some space: multistage prune, then try again.",
            ) from error
        raise MachineError(
            f"The disk falls short: {error}.",
            where=where,
            mend="Check this place and its rights.",
        ) from error
