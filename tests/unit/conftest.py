"""The daemonless engine is for Linux: elsewhere there is nothing of it to test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from multistage import record
from multistage.checks import before

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if sys.platform != "linux" and "engines.daemonless" in path.read_text("utf-8")
]


@pytest.fixture(autouse=True)
def checks_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what checks learn of before images out of the user's cache folder, test by test."""

    @cache
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    monkeypatch.setattr(before, "_KNOWN", {})
    monkeypatch.setattr(before, "user_cache_path", folder)


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is to be told of the record from the next test."""
    monkeypatch.setattr(record, "_untold", [])


@pytest.fixture
def ordinary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder to work in without root's rights, whoever runs the tests."""
    # From within: an ordinary user may not pass through the folders above.
    monkeypatch.chdir(tmp_path)
    if os.geteuid() != 0:
        yield Path()
        return
    os.chown(tmp_path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield Path()
    finally:
        os.seteuid(0)
