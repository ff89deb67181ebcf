"""A running container, as checks see it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from multistage.engines.daemonless.faults import explained
from multistage.engines.daemonless.network import listening_port, listening_ports
from multistage.engines.daemonless.sandbox import Process, SandboxError

TIMED_OUT = 124
_LOG_BYTES = 1 << 16
# Where a program's interpreter or loader is missing: in place of a page of guesses and of its
# folders on this machine, what Docker's runtime says.
_PROOT_REFUSES = re.compile(r'proot error: execve\("([^"\n]+)"\): No such file or directory\n')


class DaemonlessContainer:
    """A running container; see :class:`multistage.engines.RunningContainer`."""

    def __init__(
        self,
        process: Process,
        forwarded: int | None,
        candidates: tuple[int, ...],
        *,
        send_stop: Callable[[], None],
        main_has_ended: Callable[[], bool],
    ) -> None:
        self._process, self._forwarded, self._send_stop = process, forwarded, send_stop
        self._main_has_ended = main_has_ended
        self._candidates = candidates
        self._log = b""
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(ValueError, OSError):  # it was closed
            while data := self._process.output.read1(65536):
                with self._lock:
                    self._log = (self._log + data)[-_LOG_BYTES:]

    @property
    def address(self) -> str:
        """Where it is reached from this machine, empty where it has ended or does not listen."""
        if self._process.poll() is not None:
            return ""
        if self._forwarded is not None:
            return f"http://127.0.0.1:{self._forwarded}"
        if self._main_has_ended():
            return ""
        port = listening_port(self._process.pid) or self._new_port()
        return f"http://127.0.0.1:{port}" if port else ""

    def _new_port(self) -> int | None:
        """Return a port that was free before, where another user's sockets cannot be looked at."""
        return next((port for port in self._candidates if port in listening_ports()), None)

    def exit_code(self) -> int | None:
        """Return the exit code, ``None`` while it runs.

        Raises:
            LearnerError: it could not be started as the image says.
            MachineError: the sandbox could not be made.
        """
        if self._process.poll() is None:
            return None
        self._reader.join(1)
        try:
            return self._process.finish()
        except SandboxError as error:
            raise explained(error) from error

    def logs(self) -> str:
        """Return the last lines it wrote."""
        with self._lock:
            log = self._log.decode("utf-8", "replace").strip()
        refused = _PROOT_REFUSES.match(log)
        return f"exec {refused[1]}: no such file or directory" if refused else log

    def end(self) -> None:
        """Ask its launcher to end it."""
        self._process.signal()

    def wait(self, seconds: float) -> int:
        """Wait for the end, at most so long; return the exit code."""
        self._wait(seconds)
        code = self.exit_code()
        return TIMED_OUT if code is None else code

    def stop(self, seconds: float) -> float | None:
        """Send the stop signal; return the seconds it took to end, ``None`` if it did not.

        See :func:`multistage.engines.daemonless.stopping.send` for what differs by sandbox.
        """
        if self._process.poll() is not None:
            return 0.0
        started = time.monotonic()
        self._send_stop()
        self._wait(seconds)
        return None if self._process.poll() is None else time.monotonic() - started

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
