"""Watch mode in a notebook: a panel that fills while the learner edits and the kernel is free."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from functools import cache, partial
from typing import Any

from multistage import panels
from multistage.engines import Engine
from multistage.labs import LabFolder
from multistage.watch import html
from multistage.watch.feedback import Building, Feedback
from multistage.watch.lint import linters
from multistage.watch.loop import Watch
from multistage.watch.rounds import Rounds
from multistage.watch.saves import saves


class WatchPanel:
    """A watch that runs in the background of a notebook; :meth:`stop` ends it."""

    def __init__(self, lab: LabFolder, engine: Engine) -> None:
        from ipywidgets import HTML, Button, VBox

        self._lab, self._html = lab, html.WatchHtml(lab)
        self._body = HTML()
        self._button = Button(description="Stop", tooltip="End this watch")
        self._button.on_click(lambda _button: self.stop())
        self._panel = VBox([self._button, HTML(panels.STYLE + html.STYLE), self._body])
        for name in ("multistage-panel", "multistage-watch"):
            self._panel.add_class(name)
        self._drawing = ExitStack()
        rounds = Rounds(lab, engine, linters(engine))
        self._watch = Watch(partial(saves, lab), rounds.round, self._show, self._end)

    def __repr__(self) -> str:
        state = "Watching" if self.running else "No longer watching"
        return f"{state} {self._lab.name}. End it with .stop()"

    @property
    def running(self) -> bool:
        """Whether it watches."""
        return self._watch.running

    def start(self) -> None:
        """Show the panel and begin; returns at once."""
        from IPython.display import display

        show: Any = display  # it has no types
        # What is stored is one line: all else differs from one watch to the next.
        text = f"Watching {self._lab.name}: save the Dockerfile and see here what it does."
        show({**self._panel._repr_mimebundle_(), "text/plain": text}, raw=True)
        self._watch.start()

    def stop(self) -> None:
        """End it, and wait until nothing of it is left running."""
        self._watch.stop()

    def ask_to_stop(self) -> None:
        """End it, without waiting for that."""
        self._watch.ask_to_stop()

    # What follows is called from the watch's threads, which must do nothing here but set traits.

    def _show(self, feedback: Feedback) -> None:
        self._drawing.close()
        self._html.add(feedback)
        self._draw()
        if isinstance(feedback, Building):
            self._drawing.enter_context(panels.repeated(lambda _count: self._draw()))

    def _end(self, error: BaseException | None) -> None:
        self._drawing.close()
        self._html.end(error)
        with suppress(Exception):  # the kernel may be going away
            self._draw()
            self._button.layout.display = "none"

    def _draw(self) -> None:
        self._body.value = str(self._html)


_watching: dict[str, WatchPanel] = {}


def watch(lab: LabFolder, engine: Engine) -> WatchPanel:
    """Watch a lab in the background; a watch of the same lab that runs already is ended."""
    if lab.name in _watching:
        _watching[lab.name].stop()
    panel = _watching[lab.name] = WatchPanel(lab, engine)
    panel.start()
    _end_on_interrupt()
    _end_on_exit()
    return panel


def _end_on_interrupt() -> None:
    """Let the interrupt button end watches while no cell runs: the kernel ignores it then.

    After each cell the kernel puts back the handler that it finds here:
    https://github.com/ipython/ipykernel/blob/main/ipykernel/kernelbase.py (post_handler_hook)
    """
    from IPython import get_ipython

    kernel: Any = getattr(get_ipython(), "kernel", None)
    if hasattr(kernel, "saved_sigint_handler"):
        kernel.saved_sigint_handler = lambda *_: _ask_all_to_stop()


@cache
def _end_on_exit() -> None:
    """End watches before Python waits, at its end, for the threads that a build works with.

    Functions of ``atexit`` come after that wait; there is no public way to come before it.
    """
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_ask_all_to_stop)


def _ask_all_to_stop() -> None:
    for panel in _watching.values():
        panel.ask_to_stop()
