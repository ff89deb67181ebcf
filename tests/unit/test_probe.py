"""Trying a sandbox leaves nothing behind, neither its own trials nor those of killed processes."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

import pytest

from multistage.engines.daemonless.sandbox import Sandbox

probe = importlib.import_module("multistage.engines.daemonless.sandbox.probe")


def test_what_a_killed_trial_has_left_is_removed_by_the_next_and_a_running_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "cache_folder", lambda: tmp_path)
    left, running = tmp_path / "probe-left", tmp_path / "probe-running"
    for folder in (left, running):
        (folder / "lower").mkdir(parents=True)
    two_hours_ago = time.time() - 7200
    os.utime(left, (two_hours_ago, two_hours_ago))
    probe._trial(Sandbox("chroot"), None)
    assert list(tmp_path.iterdir()) == [running]
