"""The build panel: a view of a build's progress in a notebook.

The kernel handles no message of a widget while a cell runs. So nothing in the panel needs one:
the Interrupt button is a link to JupyterLab's own command, and the log is folded by the browser.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from multistage.dockerfile import Dockerfile
from multistage.progress import MARKS, BuildProgress, StageProgress, StepProgress
from multistage.text import plain

REDRAW = 0.2  # seconds between two drawings of a running build
_LOG_EVERY = 5  # drawings: the log is many times larger than the rest
# The figures' colours (plots.style), repeated because a build does not load matplotlib.
_COLOURS = {"builder stage": "#CC79A7", "runtime stage": "#0072B2", "waiting": "#D0D4DA"}
_INK, _QUIET, _FAINT, _PAPER = "#1B1F24", "#6B7280", "#D0D4DA", "#FFFFFF"

# Opaque paper, so that it reads the same in light and dark themes. ``:has`` folds the log by a
# <details> that is never drawn anew, so it stays as the learner left it.
STYLE = f"""<style>
.multistage-panel {{ background: {_PAPER}; color: {_INK}; border: 1px solid {_FAINT};
  border-radius: 6px; padding: 8px 12px; margin-bottom: 8px; overflow: hidden;
  color-scheme: light; max-width: 800px; box-sizing: border-box; }}
.multistage-panel .widget-html-content {{ color: {_INK}; line-height: 1.45; flex: 1 1 0;
  min-width: 0; word-break: normal; overflow-wrap: anywhere; }}
.multistage-stages {{ display: flex; flex-wrap: wrap; gap: 8px; align-items: stretch;
  margin: 6px 0; }}
.multistage-stage {{ border: 1px solid {_FAINT}; border-top: 6px solid {_COLOURS["waiting"]};
  border-radius: 4px; padding: 2px 8px 4px; max-width: 22em; }}
.multistage-skipped {{ border-style: dashed; color: {_QUIET}; }}
.multistage-running {{ outline: 2px solid {_INK}; }}
.multistage-arrow {{ align-self: center; }}
.multistage-panel progress {{ width: 14em; vertical-align: middle; }}
.multistage-panel table {{ border-collapse: collapse; width: 100%; margin-top: 4px; }}
.multistage-panel th {{ text-align: left; font-weight: normal; color: {_QUIET}; }}
.multistage-panel td, .multistage-panel th {{ padding: 1px 10px 1px 0; white-space: nowrap;
  vertical-align: top; }}
.multistage-panel td.multistage-instruction {{ width: 100%; max-width: 0; white-space: normal;
  font-family: monospace; }}
.multistage-instruction div {{ display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 2; overflow: hidden; }}
.multistage-panel button {{ color: {_INK}; background: {_PAPER}; border: 1px solid {_INK};
  border-radius: 4px; padding: 2px 12px; cursor: pointer; }}
.multistage-panel summary {{ cursor: pointer; }}
.multistage-log {{ display: none; }}
.multistage-panel:has(.multistage-fold[open]) .multistage-log {{ display: block; }}
.multistage-lines {{ display: flex; flex-direction: column-reverse; max-height: 16em;
  overflow: auto; border: 1px solid {_FAINT}; }}
.multistage-lines pre {{ margin: 0; padding: 4px 8px; color: {_INK}; background: {_PAPER};
  font-size: 12px; line-height: 1.4; flex: none; overflow: visible; }}
.multistage-headline {{ font-weight: bold; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }}
</style>"""
_FOLD = f'{STYLE}<details class="multistage-fold"><summary>Log</summary></details>'
# https://jupyterlab.readthedocs.io/en/stable/api/classes/apputils.CommandLinker.html
_INTERRUPT = (
    '<button type="button" data-commandlinker-command="notebook:interrupt-kernel" '
    'title="End this build">Interrupt</button> '
    "or ■ in the notebook's toolbar"
)


class BuildInterrupted(KeyboardInterrupt):
    """The learner ended a build. A notebook shows one line for it, no traceback."""

    def _render_traceback_(self) -> list[str]:
        return ["Interrupted. Nothing is left running."]


@contextmanager
def build_panel(
    title: str, model: Dockerfile | None = None, target: str | None = None
) -> Iterator[BuildProgress]:
    """Draw a build's progress while the block runs; its value takes the build's reports.

    What stays in a stored notebook is the title. Outside of a notebook the terminal shows the
    same content.

    Raises:
        BuildInterrupted: the learner ended the build.
        DockerfileError: the model has no stage called ``target``.
    """
    if not _in_notebook():
        from multistage import terminal

        with terminal.progress(title, model, target) as progress:
            yield progress
        return
    progress = BuildProgress(title, model, target)
    with _drawn(progress):
        try:
            yield progress
        except KeyboardInterrupt:
            progress.end("stopped")
            raise BuildInterrupted from None
        except BaseException:
            progress.end("failed")
            raise
        progress.end("done")


def panel_html(progress: BuildProgress) -> str:
    """Return all of the panel but the log: headline, stages, how many steps are done, each step."""
    done, total = progress.steps_done()
    parts = [f'<div class="multistage-headline">{escaped(progress.headline())}</div>']
    parts.append(stages_html(progress))
    if total:
        bar = f'<progress value="{done}" max="{total}" aria-label="Steps done"></progress>'
        parts.append(f"<div>Steps done: {done} of {total} {bar}</div>")
    parts += [f"<div>{escaped(note)}</div>" for note in progress.notes]
    rows = progress.rows()
    if rows:
        names = "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS)
        lines = "".join(_step_html(row, progress.now) for row in rows)
        table = f"<table><tr>{names}</tr>{lines}</table>"
        # Folded at the end, after which nothing is drawn anew: it stays as the learner has it.
        folded = f"<details><summary>Steps</summary>{table}</details>"
        parts.append(folded if progress.ended == "done" else table)
    return "".join(parts)


def stages_html(progress: BuildProgress) -> str:
    """Return the stages as boxes, each with how far it is; nothing without a model."""
    boxes = "".join(_stage_html(stage) for stage in progress.stages())
    return f'<div class="multistage-stages" role="list">{boxes}</div>' if boxes else ""


def log_html(progress: BuildProgress) -> str:
    """Return the last lines of the log, the newest in view."""
    text = "\n".join(list(progress.log)) or "No output."
    return f'<div class="multistage-lines" tabindex="0"><pre>{escaped(text)}</pre></div>'


_COLUMNS = ("Stage", "Step", "State", "Time")


def _step_html(row: StepProgress, now: float) -> str:
    instruction = escaped(row.instruction)
    return (
        f"<tr><td>{escaped(row.place)}</td>"
        f'<td class="multistage-instruction" title="{instruction}"><div>{instruction}</div></td>'
        f"<td>{MARKS[row.state]} {row.state}</td><td>{row.time(now)}</td></tr>"
    )


def _stage_html(stage: StageProgress) -> str:
    colour = _COLOURS.get("waiting" if stage.state in ("waiting", "skipped") else stage.role)
    arrow = '<span class="multistage-arrow" aria-hidden="true">→</span>' if stage.follows else ""
    lines = [
        f"{stage.role}, FROM {stage.base}",
        *stage.takes,
        f"{MARKS[stage.state]} {stage.words}",
    ]
    return (
        f'{arrow}<div role="listitem" class="multistage-stage multistage-{stage.state}" '
        f'style="border-top-color: {colour}"><b>{escaped(stage.name)}</b><br>'
        f"{'<br>'.join(map(escaped, lines))}</div>"
    )


def escaped(text: str) -> str:
    """Return text as a page shows it letter by letter."""
    return html.escape(plain(text))


def _in_notebook() -> bool:
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


@contextmanager
def _drawn(progress: BuildProgress) -> Iterator[None]:
    """Show the panel, draw it again and again until the block ends, and then once more."""
    from IPython.display import display

    show: Any = display  # it has no types
    panel, head, interrupt, log = _widgets(progress)
    # What is stored is the title alone: all else differs from one build to the next.
    show({**panel._repr_mimebundle_(), "text/plain": progress.title}, raw=True)

    def draw(count: int) -> None:
        head.value = panel_html(progress)
        if count % _LOG_EVERY == 0:
            log.value = log_html(progress)

    try:
        with repeated(draw):
            yield
    finally:
        with suppress(Exception):  # the kernel may be going away
            draw(0)
            interrupt.layout.display = "none"


def _widgets(progress: BuildProgress) -> tuple[Any, Any, Any, Any]:
    from ipywidgets import HTML, VBox

    head, interrupt, fold = HTML(panel_html(progress)), HTML(_INTERRUPT), HTML(_FOLD)
    log = HTML(log_html(progress))
    log.add_class("multistage-log")
    panel = VBox([interrupt, head, fold, log])  # the button first, so that it stays where it is
    panel.add_class("multistage-panel")
    return panel, head, interrupt, log


@contextmanager
def repeated(draw: Callable[[int], None], pause: float = REDRAW) -> Iterator[None]:
    """Call ``draw`` every ``pause`` seconds in a thread of its own, so that no build waits for it.

    It is called with how many times it was called before, and not again when the block has ended.
    """
    ended = threading.Event()

    def repeat() -> None:
        count = 0
        while not ended.wait(pause):
            draw(count)
            count += 1

    thread = threading.Thread(target=repeat, name="build panel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
