"""A command that runs in a sandbox, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_END_SECONDS = 10.0  # how long a launcher may take to end what it started
FOLDER_STEP = "the working folder"  # as launcher.py names it
_LEFT_RUNNING = "it left a process running in the background, and proot then hides its exit code"


class Process:
    """A command that runs in a sandbox.

    Attributes:
        stubs: the files and folders that were made for mounts, in the image; known at the end.
    """

    def __init__(self, process: subprocess.Popen[bytes], status: int, merged: Path) -> None:
        self._process, self._merged = process, merged
        self._status: int | None = status
        self._lock = threading.Lock()
        self._taking = threading.Lock()
        self._said: list[dict[str, Any]] = []
        self.stubs: list[str] = []

    @property
    def pid(self) -> int:
        """The launcher's process ID: what the command starts descends from it."""
        return self._process.pid

    @property
    def output(self) -> Any:
        """Its standard output and error, one stream of bytes."""
        return self._process.stdout

    def poll(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the end, and return the exit code, 128 and the number after a signal.

        Raises:
            SandboxError: the sandbox could not be made, or hides the exit code.
        """
        code = self.finish()
        if any("left_running" in message for message in self._said):
            raise SandboxError("the end of the command", _LEFT_RUNNING)
        return code

    def finish(self) -> int:
        """Wait for the end, and return the exit code, whatever the command left running.

        Raises:
            SandboxError: the sandbox could not be made.
        """
        self._listen()
        code = self._process.wait()
        self._clean_up()
        for message in self._said:
            if "error" in message:
                raise SandboxError(message["step"], message["error"])
        return code if code >= 0 else 128 - code

    def _listen(self) -> None:
        """Hear all that the launcher says, to its end."""
        with self._lock:
            number = self._take_status()
            if number is None:
                return
            with os.fdopen(number, "rb") as status:
                self._said = [json.loads(line) for line in status]
            self.stubs = [stub for message in self._said for stub in message.get("stubs", [])]

    def _take_status(self) -> int | None:
        """Return the descriptor, once: closed twice, its number may be another's by then."""
        with self._taking:
            number, self._status = self._status, None
            return number

    def signal(self) -> None:
        """Ask it to end, with all that it started; whoever reads its output sees the end."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """End it and all that it started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        number = self._take_status()
        if number is not None:
            os.close(number)
        self._clean_up()

    def _clean_up(self) -> None:
        with suppress(OSError):
            self._merged.rmdir()


class SandboxError(Exception):
    """A sandbox could not be made: at which step, and what the kernel said."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step, self.reason = step, reason


def follow(process: Process, tell: Callable[[bytes], None]) -> int:
    """Hand on what a command writes, to its end; return its exit code.

    Raises:
        SandboxError: the sandbox could not be made.
    """
    try:
        while data := process.output.read1(65536):
            tell(data)
        return process.wait()
    finally:
        process.end()
