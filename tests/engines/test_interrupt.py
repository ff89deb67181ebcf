"""Ctrl-C ends a build, on the engine too, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from multistage.engines.docker import DockerEngine
from tests.engines.conftest import BASE

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
_SLEEP = "71234"  # seconds: no other process on the machine sleeps that long


def running(word: str) -> list[str]:
    """Return the command lines of this machine's processes that hold a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and str(os.getpid()) != folder.name:
            found.append(line)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing_running(
    engine: DockerEngine, context: Path, number: signal.Signals, code: int
) -> None:
    (context / "Dockerfile").write_text(f"FROM {BASE}\nRUN sleep {_SLEEP}\n", "utf-8")
    command = [sys.executable, "-m", "multistage", "build", str(context), "--no-cache"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(running(f"sleep {_SLEEP}")))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    wait_for(lambda: not running(f"sleep {_SLEEP}") and not running(str(context)))
