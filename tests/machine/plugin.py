"""A pytest plugin: the fixtures through which tests reach what ``start.py test`` has started."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import engines


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' progress apart, and let Ctrl+C reach what they start.

    Who tests the course may be in the middle of it, or have a shell start this in the background:
    that ignores Ctrl+C, and so would every process that a test starts and interrupts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tempfile.TemporaryDirectory(prefix="multistage-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["MULTISTAGE_PROGRESS"] = str(Path(folder.name) / "progress.json")


@pytest.fixture(scope="session")
def docker_engine_hosts() -> dict[str, str]:
    """Return the engines to compare: name -> what DOCKER_HOST has to be for it.

    Empty where the machine runs only one, or none of them.
    """
    hosts: dict[str, str] = json.loads(os.environ.get("MULTISTAGE_TEST_ENGINES") or "{}")
    return hosts


@pytest.fixture(scope="session")
def chromium_path() -> str | None:
    """Return the path of the Chromium to test with, ``None`` for Playwright's own."""
    return os.environ.get("MULTISTAGE_TEST_CHROMIUM") or None


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """Return a folder for what goes deeper than Python nests calls.

    Not one of pytest's: it removes those of earlier runs, and where a killed one has left what
    goes deep, that ends every run after it with a RecursionError.
    """
    folder = Path(tempfile.mkdtemp(prefix="multistage-deep-"))
    yield folder
    engines.remove(folder)
