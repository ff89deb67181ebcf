"""A learner's session in JupyterLab: watch a lab, edit its Dockerfile, save, and see it judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page

from multistage.labs import find_lab
from tests.browser import lab
from tests.browser.lab import Started

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]

NOTEBOOK = "99_session.ipynb"
CELLS = ('from multistage import Lab\n\nlab = Lab("go-scratch")', "watching = lab.watch()")
_FIRST_BUILD = 600_000  # milliseconds; the before image is built too
_BUILD = 400_000  # a Go program from nothing, on a machine that has much else to do


@pytest.fixture
def session(course: Path) -> Iterator[Path]:
    """Return the course with a notebook that watches the Go lab; the starter is put back."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    path = course / "notebooks" / NOTEBOOK
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)
    watched = find_lab("go-scratch", course)
    yield course
    watched.dockerfile.write_bytes(watched.before_dockerfile.read_bytes())
    path.unlink()


def test_a_saved_dockerfile_turns_the_panel_from_red_to_green(
    session: Path, jupyterlab: Started, page: Page
) -> None:
    lab.open_notebook(page, jupyterlab.address_of(NOTEBOOK))
    try:
        lab.run_all_cells(page)
        page.locator(".multistage-red", has_text="checks passed").wait_for(timeout=_FIRST_BUILD)
        page.locator("text=/^after: /").wait_for(timeout=_BUILD)
        before, wide = after_size(page), after_width(page)
        lab.screenshot(page, "session-red.png")

        edit(page, session)
        page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=NOTEBOOK).click()
        page.locator(".multistage-green", has_text="checks passed").wait_for(timeout=_BUILD)
        page.locator("text=/times smaller/").first.wait_for(timeout=_BUILD)
        lab.screenshot(page, "session-green.png")
        assert before > 50 * after_size(page)
        assert wide > 50 * after_width(page) > 0
        page.get_by_role("button", name="Stop").click()
        page.locator("text=The watch has ended.").wait_for(timeout=30_000)
    finally:
        lab.end_kernels(page, jupyterlab)


def edit(page: Page, course: Path) -> None:
    """Replace the lab's Dockerfile in JupyterLab's editor by the solution, and save it."""
    lab.choose(page, "File", "Open from Path…")
    page.locator("dialog.jp-Dialog input").fill("labs/go-scratch/app/Dockerfile")
    page.keyboard.press("Enter")
    editor = page.locator(".jp-FileEditor .cm-content")
    editor.wait_for()
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text((course / "solutions/go-scratch/scratch/Dockerfile").read_text())
    page.keyboard.press("Control+s")


def after_size(page: Page) -> float:
    """Return the after image's unpacked size in megabytes, as the panel says it."""
    said = page.locator("text=/^after: /").first.inner_text()
    match = re.search(r"after: ([\d.]+) MB unpacked", said)
    assert match, said
    return float(match[1])


def after_width(page: Page) -> float:
    """Return how wide the after image's bar is drawn, in pixels."""
    width: float = page.locator(".multistage-bar").last.evaluate(
        "bar => [...bar.children].reduce((sum, it) => sum + it.getBoundingClientRect().width, 0)"
    )
    return width
