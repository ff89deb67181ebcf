"""From an empty folder to a plot: start.py, JupyterLab, and the first notebook in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import lab
from tests.browser.lab import Started, screenshot

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_first_notebook_runs_and_draws_its_plot(
    jupyterlab: Started, course: Path, page: Page
) -> None:
    print(f"first start, from an empty folder: {jupyterlab.seconds:.1f} s")
    lab.open_notebook(page, jupyterlab.address)
    assert page.locator(".jp-OutputArea-output").count() == 0
    lab.run_to_the_end(page, jupyterlab, course / "notebooks" / "00_start_here.ipynb", 300)
    figure = page.locator(".jp-OutputArea-output img").first
    figure.scroll_into_view_if_needed()
    assert figure.evaluate("image => image.naturalWidth") >= 1200
    assert "times smaller" in (figure.get_attribute("alt") or "")
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    screenshot(page, "first-notebook.png")


def test_the_dockerfile_opens_beside_the_notebook(jupyterlab: Started, page: Page) -> None:
    lab.open_notebook(page, jupyterlab.address_of("40_react_nginx.ipynb"))
    link = page.locator(".jp-RenderedMarkdown a", has_text="labs/react-nginx/app/Dockerfile")
    link.first.wait_for(timeout=60_000)
    link.first.click()
    editor = page.locator(".jp-FileEditor .cm-content")
    editor.wait_for(timeout=30_000)
    editor.filter(has_text="TODO 1").wait_for(timeout=30_000)
    screenshot(page, "dockerfile.png")


def test_a_request_without_the_token_is_turned_away(jupyterlab: Started, page: Page) -> None:
    page.goto(jupyterlab.address.partition("?")[0])
    assert "/login" in page.url


def test_the_second_start_installs_nothing(
    course: Path, settings: Path, jupyterlab: Started
) -> None:
    started = lab.start(course, settings)
    lab.stop(started)
    print(f"second start, while the first runs: {started.seconds:.1f} s")
    assert "Installing" not in started.said
