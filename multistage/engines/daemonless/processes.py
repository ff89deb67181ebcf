"""The commands that a build has running, so that all can be ended at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from multistage.engines.daemonless.sandbox import Process


class Processes:
    """Running commands. After :meth:`end_all` none starts any more."""

    def __init__(self) -> None:
        self._running: set[Process] = set()
        self._lock = threading.Lock()
        self._ended = False

    def check(self) -> None:
        """Go on, or stop here.

        Raises:
            InterruptedError: the build is being ended.
        """
        if self._ended:
            raise InterruptedError("the build is being ended")

    @contextmanager
    def counted(self, process: Process) -> Iterator[None]:
        """Count a process in as long as the block lasts."""
        with self._lock:
            self._running.add(process)
            ended = self._ended
        try:
            if ended:
                process.end()
            yield
        finally:
            with self._lock:
                self._running.discard(process)
        self.check()

    def end_all(self) -> None:
        """End everything that runs."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.signal()
