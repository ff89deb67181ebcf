"""Cancelling, from another thread, what an engine does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from multistage.engines.events import Report, ignore
from multistage.errors import BuildCancelledError

if TYPE_CHECKING:
    from multistage.engines import BuildRequest, Engine, RunningContainer
    from multistage.images.streams import Readable


class Cancellation:
    """Whether some work is still wanted. Whoever does it asks, or is called."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may cancel while this thread has it
        self._ends: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted."""
        return self._cancelled

    def cancel(self) -> None:
        """Say that the work is no longer wanted. This does not wait for its end."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            for end in list(self._ends):
                end()

    def check(self) -> None:
        """Go on, or stop here.

        Raises:
            BuildCancelledError: the work is no longer wanted.
        """
        if self._cancelled:
            raise BuildCancelledError("The build was cancelled.", mend="Build again.")

    @contextmanager
    def calling(self, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end``, which must be quick, as soon as the work of the block is not wanted."""
        with self._lock:
            self._ends.append(end)
            if self._cancelled:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)


def cancellable(engine: Engine, cancelled: Cancellation) -> Engine:
    """Return the engine as somebody sees it whose work can be cancelled.

    Whatever is asked of it after that raises BuildCancelledError. A build, the reading of an
    image, and the wait for a container are left at once.
    """
    return cast("Engine", _CancellableEngine(engine, cancelled))


class _Cancellable:
    """Hands everything on, as long as it is wanted."""

    def __init__(self, inner: Any, cancelled: Cancellation) -> None:
        self._inner, self._cancelled = inner, cancelled

    def __getattr__(self, name: str) -> Any:
        self._cancelled.check()
        return getattr(self._inner, name)


class _CancellableStream(_Cancellable):
    def read(self, size: int = -1, /) -> bytes | memoryview:
        self._cancelled.check()
        data: bytes | memoryview = self._inner.read(size)
        return data


class _CancellableEngine(_Cancellable):
    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        self._cancelled.check()
        return str(self._inner.build(replace(request, cancelled=self._cancelled), report))

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        self._cancelled.check()
        with self._inner.save(image) as stream:
            yield _CancellableStream(stream, self._cancelled)

    @contextmanager
    def run(
        self, image: str, port: int, environment: Mapping[str, str] | None = None
    ) -> Iterator[RunningContainer]:
        self._cancelled.check()
        with (
            self._inner.run(image, port, environment) as container,
            self._cancelled.calling(container.end),
        ):
            yield cast("RunningContainer", _Cancellable(container, self._cancelled))
