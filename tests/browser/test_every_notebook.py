"""Every notebook runs in JupyterLab from top to bottom, and is drawn as it should be."""

from __future__ import annotations

import html
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import ConsoleMessage, Page

from multistage.labs import labs
from tests.browser import lab
from tests.browser.lab import OUTPUT, Started
from tests.notebooks.course import NOTEBOOKS

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]

_RUN_SECONDS = 1200
_THEMES = {"dark": "JupyterLab Dark", "light": "JupyterLab Light"}  # the last one stays
_OVERLAP = 80  # pixels that two screenshots share, so that no line is cut in both

# A figure is an image of its own, or is inside of HTML.
_FIGURE = re.compile(r"<(?:img|svg)\b[^>]*>")
_TEXT = re.compile(r'\b(?:alt|aria-label)="([^"]*)"')
_FIGURES = """cell => [...cell.querySelectorAll('.jp-OutputArea-output :is(img, svg)')]
    .filter(it => it.tagName === 'svg' || (it.complete && it.naturalWidth > 0))
    .filter(it => it.getBoundingClientRect().width > 0)
    .map(it => it.alt ?? it.getAttribute('aria-label') ?? '')"""
_VIEW = "application/vnd.jupyter.widget-view+json"
_WIDGETS = """cell => [...cell.querySelectorAll('.jp-OutputArea-child')]
    .filter(output => output.querySelector('.jupyter-widgets')?.textContent.trim()).length"""
# How many pixels of the last cell are below the view: after it comes nothing but empty space.
_BELOW = """notebook => [...notebook.querySelectorAll('.jp-Cell')].at(-1)
    .getBoundingClientRect().bottom - notebook.getBoundingClientRect().bottom"""
_SCROLL = """async (notebook, by) => {
    notebook.scrollTop = by < 0 ? 0 : notebook.scrollTop + by;
    // Cells that come into view are drawn by the next frame, and may move those below.
    for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame);
    const seen = [...notebook.querySelectorAll('img')];
    await Promise.all(seen.map(image => image.decode().catch(() => null)));
}"""


@pytest.fixture
def solved(course: Path) -> Iterator[Path]:
    """Return the course with the solutions in place, as the notebooks are stored with."""
    found = labs(course)
    for each in found:
        solution = course / "solutions" / each.name / each.solution / "Dockerfile"
        shutil.copyfile(solution, each.dockerfile)
    yield course
    for each in found:
        shutil.copyfile(each.before_dockerfile, each.dockerfile)
    for path in (course / "notebooks").glob("*.ipynb"):
        lab.clear_outputs(path)


@pytest.mark.parametrize("stored", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_all_of_it_is_drawn(
    stored: Path, jupyterlab: Started, solved: Path, page: Page
) -> None:
    complaints = console_errors(page)
    began = time.monotonic()
    lab.open_notebook(page, jupyterlab.address_of(stored.name), complaints)
    opened = time.monotonic()
    try:
        path = solved / "notebooks" / stored.name
        notebook = lab.run_to_the_end(page, jupyterlab, path, _RUN_SECONDS)
        ran = time.monotonic()
        for name, theme in _THEMES.items():
            take_screenshots(page, stored.stem, name, theme)
        drawn = time.monotonic()
        print(f"opened {opened - began:.0f} s, ran {ran - opened:.0f} s, drawn {drawn - ran:.0f} s")
        missing = missing_from(page, nbformat.read(stored, as_version=4), notebook)
        wrong = errors(notebook) + missing + complaints
        assert not wrong, "\n".join(wrong)
    finally:
        lab.end_kernels(page, jupyterlab)


def console_errors(page: Page) -> list[str]:
    """Return the list to which the page's errors will be added while it runs.

    The video is left out, as on a machine without a network: it is not the course's page.
    """
    found: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and lab.NETWORK_CHANGED not in message.text:
            found.append(f"{message.text} ({message.location['url']})")

    page.route("https://www.youtube-nocookie.com/embed/**", lambda route: route.abort())
    page.on("console", listen)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def errors(notebook: Any) -> list[str]:
    """Return the errors among a notebook's outputs, and what it has written to stderr."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    told = [f"{o.ename}: {o.evalue}" for o in outputs if lab.is_error(o)]
    return told + [o.text for o in outputs if o.get("name") == "stderr"]


def missing_from(page: Page, stored: Any, ran: Any) -> list[str]:
    """Return what the page does not show: figures that are stored, widgets that came of the run."""
    missing = []
    for index, (cell, run) in enumerate(zip(stored.cells, ran.cells, strict=True)):
        drawn = page.locator(".jp-Notebook .jp-Cell").nth(index)
        figures, texts = len(figures_of(cell)), figures_of(run)
        seen = drawn.evaluate(_FIGURES)
        if len(texts) != figures or seen != texts or "" in texts:
            missing.append(f"cell {index}: {figures} figures are stored, seen are {seen}")
        # Of a widget no more than a title is stored: that it comes at all is nbval's to see.
        widgets = sum(_VIEW in o.get("data", {}) for o in run.get("outputs", ()))
        shown = drawn.evaluate(_WIDGETS)
        if shown != widgets:
            missing.append(f"cell {index}: {widgets} widgets, {shown} of them are drawn")
    return missing


def figures_of(cell: Any) -> list[str]:
    """Return the text of each figure among a cell's outputs, empty where it has none."""
    texts: list[str] = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "text/html" in data:  # which JupyterLab shows where an output is an image as well
            for tag in _FIGURE.findall(data["text/html"]):
                text = _TEXT.search(tag)
                texts.append(html.unescape(text[1]) if text else "")
        elif any(kind.startswith("image/") for kind in data):
            texts.append(data.get("text/plain", ""))
    return texts


def take_screenshots(page: Page, stem: str, name: str, theme: str) -> None:
    """Store what the notebook looks like, from its top to its end, in one theme."""
    OUTPUT.mkdir(exist_ok=True)
    set_theme(page, theme)
    panel = page.locator(".jp-NotebookPanel:visible")
    notebook = panel.locator(".jp-WindowedPanel-outer")
    notebook.evaluate(_SCROLL, -1)
    for old in OUTPUT.glob(f"{stem}-{name}-*.png"):
        old.unlink()
    for number in range(1, 100):
        panel.screenshot(path=OUTPUT / f"{stem}-{name}-{number:02}.png")
        if notebook.evaluate(_BELOW) <= 1:
            return
        height = notebook.evaluate("it => it.clientHeight")
        notebook.evaluate(_SCROLL, height - _OVERLAP)
    pytest.fail(f"{stem} does not end: it grows while it is scrolled through")


def set_theme(page: Page, theme: str) -> None:
    lab.choose(page, "Settings", "Theme", theme)
    light = str(theme == _THEMES["light"]).lower()
    page.locator(f"body[data-jp-theme-light='{light}']").wait_for(state="attached")
