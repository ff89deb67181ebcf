"""What the tests' own engines leave behind does not stand in the next run's way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.machine import engines
from tests.machine.debian import MachineFallsShortError


def test_an_image_of_any_depth_is_removed_with_its_engine(deep_folder: Path) -> None:
    state = deep_folder / "engine"
    state.mkdir()
    folder = os.open(state, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 200):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    engines.remove(state)
    assert not state.exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineFallsShortError, match=r"rm: .*\nCannot remove \.: see above"):
        engines.remove(Path())  # no rm removes the folder it is in
    assert tmp_path.exists()
