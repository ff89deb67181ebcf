"""From an empty folder to a plot: start.py, JupyterLab, and the first notebook in a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.notebooks.course import ROOT, copy_course

OUTPUT = ROOT / "tests" / "output"
pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab/\S+")
_READY = re.compile(r"JupyterLab is ready after ([\d.]+) s")
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@dataclass
class Started:
    """A running ``start.py``: what it printed until JupyterLab was ready."""

    process: subprocess.Popen[str]
    said: str

    @property
    def address(self) -> str:
        match = _ADDRESS.search(self.said)
        assert match, self.said
        return match[0]

    @property
    def seconds(self) -> float:
        match = _READY.search(self.said)
        assert match, self.said
        return float(match[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(course: Path) -> Started:
    """Run ``start.py`` until it has told JupyterLab's address."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    process = subprocess.Popen(
        [sys.executable, "start.py", "--no-browser", "--port", str(free_port())],
        cwd=course,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if _ADDRESS.search(line):
            break
    return Started(process, said)


def stop(started: Started) -> None:
    """End it as Ctrl-C in a terminal would: the signal reaches the whole group."""
    os.killpg(started.process.pid, signal.SIGINT)
    started.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh copy of the course: no .venv, starters in place."""
    folder = copy_course(tmp_path_factory.mktemp("fresh") / "course", solved=False)
    # Outputs that are stored are no proof that the cells ran here.
    for path in (folder / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    for name in ("start.py", "requirements.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def jupyterlab(course: Path) -> Iterator[Started]:
    started = start(course)
    yield started
    stop(started)


@pytest.fixture
def page(chromium_path: str | None) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=_CHROMIUM)
        page = browser.new_page(viewport={"width": 1300, "height": 2400})
        yield page
        browser.close()


def screenshot(page: Page, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / name)


def run_all_cells(page: Page) -> None:
    """Click Run All Cells, once the kernel is there: before, JupyterLab asks which one to use."""
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").first.wait_for(timeout=60_000)
    dialog = page.locator("dialog.jp-Dialog .jp-mod-accept")
    if dialog.count():
        dialog.last.click()
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()


def open_notebook(page: Page, address: str) -> None:
    """Open the notebook and bring its tab to the front, as a person would.

    JupyterLab now and then puts its launcher over the notebook it just opened.
    """
    page.goto(f"{address}&reset")  # without the tabs of the test before
    name = address.partition("?")[0].rpartition("/")[2]
    tab = page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name)
    tab.wait_for(timeout=60_000)
    cell = page.locator(".jp-Notebook .jp-CodeCell:visible").first
    for _ in range(12):
        tab.click()
        try:
            return cell.wait_for(timeout=5_000)
        except PlaywrightTimeout:
            screenshot(page, "not-in-front.png")
    pytest.fail(f"{name} is open, but none of its cells can be seen: not-in-front.png")


def wait_until_idle(page: Page, seconds: float) -> None:
    """Wait until no cell waits or runs, and every code cell has a number."""
    asked = time.monotonic()
    deadline = asked + seconds
    while time.monotonic() < deadline:
        prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        if prompts and all(re.search(r"\[\d+\]", prompt) for prompt in prompts):
            return
        if time.monotonic() > asked + 20 and not re.search(r"[\d*]", "".join(prompts)):
            run_all_cells(page)  # the menu was clicked while the page was still being set up
            asked = time.monotonic()
        time.sleep(0.5)
    screenshot(page, "not-idle.png")
    pytest.fail(f"after {seconds:.0f} s the prompts are {prompts}")


def test_the_first_notebook_runs_and_draws_its_plot(jupyterlab: Started, page: Page) -> None:
    print(f"first start, from an empty folder: {jupyterlab.seconds:.1f} s")
    open_notebook(page, jupyterlab.address)
    assert page.locator(".jp-OutputArea-output").count() == 0
    run_all_cells(page)
    wait_until_idle(page, 300)
    figure = page.locator(".jp-OutputArea-output img").first
    figure.scroll_into_view_if_needed()
    assert figure.evaluate("image => image.naturalWidth") >= 1200
    assert "times smaller" in (figure.get_attribute("alt") or "")
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    screenshot(page, "first-notebook.png")


def test_the_dockerfile_opens_beside_the_notebook(jupyterlab: Started, page: Page) -> None:
    open_notebook(page, jupyterlab.address.replace("00_start_here", "40_react_nginx"))
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


def test_the_second_start_installs_nothing(course: Path, jupyterlab: Started) -> None:
    started = start(course)
    stop(started)
    print(f"second start, while the first runs: {started.seconds:.1f} s")
    assert "Installing" not in started.said
