"""A command in a sandbox, seen from several threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("this engine is for Linux", allow_module_level=True)

from multistage.engines.daemonless.sandbox.process import Process


def test_what_the_launcher_says_is_closed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, launcher_s_end = os.pipe()
    os.close(launcher_s_end)
    launcher = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    launcher.wait()
    process = Process(launcher, status, tmp_path / "x")
    close = os.close

    def while_another_thread_waits(number: int) -> None:
        if number == status:
            other = threading.Thread(target=process.finish)
            other.start()
            other.join(10)
            assert not other.is_alive()
        close(number)  # fails where the other thread has closed it

    monkeypatch.setattr(os, "close", while_another_thread_waits)
    process.end()
    assert process.finish() == 0
