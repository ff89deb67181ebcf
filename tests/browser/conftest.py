"""One JupyterLab for all tests of this folder, and a fresh page for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import lab
from tests.browser.lab import Started

_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh copy of the course: no .venv, starters in place."""
    return lab.fresh_course(tmp_path_factory.mktemp("fresh") / "course")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where JupyterLab keeps what is set in it."""
    return tmp_path_factory.mktemp("settings")


@pytest.fixture(scope="session")
def jupyterlab(course: Path, settings: Path) -> Iterator[Started]:
    started = lab.start(course, settings)
    # Stored outputs would be no proof that the cells ran here.
    assert not [p for p in course.glob("notebooks/*.ipynb") if '"output_type"' in p.read_text()]
    yield started
    lab.stop(started)


@pytest.fixture(scope="module")
def browser(chromium_path: str | None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=_CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Return a new page; what it shows at the end of the test is kept as a picture."""
    page = browser.new_page(viewport={"width": 1300, "height": 1500})
    yield page
    lab.screenshot(page, f"end-of-{re.sub(r'[^-.0-9A-Za-z]+', '_', request.node.name)}.png")
    page.close()
