"""A JupyterLab that the course itself has started, and what a person does in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
from nbformat.reader import NotJSONError
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.notebooks.course import ROOT, copy_course

OUTPUT = ROOT / "tests" / "output"

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab/\S+")
# Chromium gives up requests when a network interface comes or goes, as with every container.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
_READY = re.compile(r"JupyterLab is ready after ([\d.]+) s")


@dataclass
class Started:
    """A running ``start.py``, and what it has printed so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "".join(self.lines)

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

    def address_of(self, notebook: str) -> str:
        """Return where JupyterLab shows a notebook of the course."""
        return re.sub(r"[^/]+\.ipynb", notebook, self.address)

    def api(self, path: str) -> str:
        """Return an address of the server's own interface, token included."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}/api/{path}?{parts.query}"


def fresh_course(folder: Path) -> Path:
    """Return a copy of the course as it is before the first start: no .venv, stored outputs."""
    copy_course(folder, solved=False)
    for name in ("start.py", "requirements.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def clear_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def start(course: Path, settings: Path) -> Started:
    """Run ``start.py`` until it has told JupyterLab's address."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # JupyterLab's own settings, not those of whoever runs the tests: nor are theirs changed.
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    process = subprocess.Popen(
        [sys.executable, "start.py", "--no-browser", "--port", str(free_port())],
        cwd=course,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    started = Started(process)
    told = threading.Event()

    def listen() -> None:
        """Read all that it prints: a full pipe would make it wait."""
        for line in process.stdout or ():
            started.lines.append(line)
            if _ADDRESS.search(line):
                told.set()
        told.set()  # it has ended

    threading.Thread(target=listen, daemon=True).start()
    told.wait()
    return started


def stop(started: Started) -> None:
    """End it as Ctrl-C in a terminal would: the signal reaches the whole group."""
    os.killpg(started.process.pid, signal.SIGINT)
    started.process.wait(timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def screenshot(page: Page, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / name)


def choose(page: Page, *entries: str) -> None:
    """Choose an entry of the menu bar, through its submenus."""
    bar, *inner = entries
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{bar}$")).first.click()
    for entry in inner:
        label = page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{re.escape(entry)}$"))
        label.last.click()


def run_all_cells(page: Page) -> None:
    """Click Run All Cells, once the kernel is there: before, JupyterLab asks which one to use."""
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").first.wait_for(timeout=60_000)
    accept_dialog(page)
    choose(page, "Run", "Run All Cells")


def accept_dialog(page: Page) -> None:
    """Close the dialog that is open, if any: until then JupyterLab takes no key."""
    dialog = page.locator("dialog.jp-Dialog .jp-mod-accept")
    if dialog.count():
        dialog.last.click()


def open_notebook(page: Page, address: str, complaints: list[str] | None = None) -> None:
    """Open the notebook, bring its tab to the front, and wait for its kernel.

    JupyterLab puts its launcher over the notebook it just opened now and then, or closes it again
    where a request was lost (``NETWORK_CHANGED``): a person would open it once more. What the page
    complained of until then is taken out of ``complaints``.
    """
    name = address.partition("?")[0].rpartition("/")[2]
    for _ in range(3):
        if complaints:
            complaints.clear()
        # In a workspace of its own, so without the tabs of the test before.
        page.goto(address.replace("/lab/tree/", f"/lab/workspaces/test-{time.time_ns()}/tree/"))
        try:
            return _bring_to_front(page, name)
        except PlaywrightTimeout:
            screenshot(page, "not-in-front.png")
    pytest.fail(f"{name} was opened, but cannot be seen or has no kernel: not-in-front.png")


def _bring_to_front(page: Page, name: str) -> None:
    tab = page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name)
    tab.wait_for(timeout=60_000)
    cell = page.locator(".jp-Notebook .jp-CodeCell:visible").first
    for _ in range(6):
        tab.click(timeout=10_000)
        with suppress(PlaywrightTimeout):
            cell.wait_for(timeout=5_000)
            break
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").first.wait_for(timeout=60_000)


def run_to_the_end(page: Page, started: Started, path: Path, seconds: float) -> Any:
    """Run all cells; return the notebook as JupyterLab has saved it after the last.

    Not read from the page: it leaves the prompts of cells far from the view undrawn.
    """
    asked = time.monotonic()
    deadline = asked + seconds
    run_all_cells(page)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if kernel_state(page, started, path.name) != "idle":
            continue  # busy between two cells counts as well
        accept_dialog(page)  # as after a save that failed
        page.keyboard.press("Control+s")
        time.sleep(0.5)
        try:
            notebook = nbformat.read(path, as_version=4)
        except NotJSONError:  # it is being saved, and was emptied for that
            continue
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        if any(is_error(output) for cell in code for output in cell.outputs):
            return notebook  # which ends a run of all cells
        if all(cell.execution_count for cell in code):
            return notebook
        if time.monotonic() > asked + 20 and not any(cell.execution_count for cell in code):
            run_all_cells(page)  # the menu was clicked while the page was still being set up
            asked = time.monotonic()
    screenshot(page, f"{path.stem}-not-at-its-end.png")
    pytest.fail(f"{path.name} has not come to its end after {seconds:.0f} s")


def kernel_state(page: Page, started: Started, name: str) -> str:
    """Return what the kernel of a notebook does: idle, busy, starting."""
    for session in page.request.get(started.api("sessions")).json():
        if session["name"] == name:
            return str(session["kernel"]["execution_state"])
    return "none"


def is_error(output: Any) -> bool:
    return bool(output.output_type == "error")


def end_kernels(page: Page, started: Started) -> None:
    """End what the tests before left running: a machine of two cores feels every one."""
    for session in page.request.get(started.api("sessions")).json():
        page.request.delete(started.api(f"sessions/{session['id']}"))
