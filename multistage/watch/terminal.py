"""Watch mode in a terminal: what a round says, line by line as soon as it is there."""

from __future__ import annotations

import time
from argparse import Namespace
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live

from multistage import engines, labs, terminal
from multistage.watch.feedback import (
    Building,
    Built,
    Cancelled,
    Checked,
    Compared,
    Failed,
    Feedback,
    Graph,
    Lint,
    Model,
    Save,
    Waiting,
)
from multistage.watch.lint import linters
from multistage.watch.loop import Watch
from multistage.watch.rounds import Rounds
from multistage.watch.saves import saves

_REDRAWS = 5  # drawings of a running build in a second


def watch(options: Namespace) -> dict[str, Any]:
    """Watch a lab until Ctrl+C; return the JSON document of what was found last.

    Raises:
        UsageError: there is no such lab or engine.
        MachineError: no engine works, or the folder cannot be watched.
    """
    lab = labs.find_lab(options.lab)
    engine = engines.choose(options.engine)
    found = _Found(lab.name)
    view = None if options.json else TerminalView(lab)

    def show(feedback: Feedback) -> None:
        found.add(feedback)
        if view is not None:
            view.show(feedback)

    watching = Watch(partial(saves, lab), Rounds(lab, engine, linters(engine)).round, show)
    try:
        watching.start().wait()
    except KeyboardInterrupt:
        pass  # this is how a learner ends it
    finally:
        end(watching)
        if view is not None:
            view.close()
    return found.document


def end(watching: Watch) -> None:
    """End a watch and wait until nothing of it is left running, also while Ctrl+C is pressed."""
    while True:
        try:
            return watching.stop()
        except KeyboardInterrupt:
            continue


class _Found:
    """What the last round found out, as ``multistage watch --json`` prints it."""

    def __init__(self, lab: str) -> None:
        self.document: dict[str, Any] = {
            "lab": lab, "saves": 0, "passed": False, "build": None, "checks": None,
        }  # fmt: skip

    def add(self, feedback: Feedback) -> None:
        if isinstance(feedback, Save):
            self.document["saves"] += bool(feedback.names)
            self.document |= {"passed": False, "build": None, "checks": None}
        elif isinstance(feedback, Built):
            self.document["build"] = feedback.build.to_json()
        elif isinstance(feedback, Checked):
            self.document |= feedback.report.to_json()


class TerminalView:
    """Prints feedback. While a build runs, its steps are drawn below, where that is possible."""

    def __init__(self, lab: labs.LabFolder, console: Console | None = None) -> None:
        self._lab, self._out = lab, console or terminal.console()
        self._live: Live | None = None

    def show(self, feedback: Feedback) -> None:
        """Print one feedback."""
        self._end_drawing()
        match feedback:
            case Save():
                self._save(feedback)
            case Model():
                self._model(feedback)
            case Graph():
                needed = {stage.index for stage in feedback.dockerfile.needed()}
                terminal.graph(feedback.dockerfile, needed)
            case Lint():
                self._lint(feedback)
            case Building():
                self._begin_drawing(feedback)
            case Built():
                change = f", {feedback.change}" if feedback.change else ""
                self._line(f"[green]✓[/] {terminal.escape(str(feedback.build))}{change}")
            case Checked():
                terminal.check(feedback.report, hints=1)
            case Compared():
                terminal.compare(self._lab.title, feedback.before, feedback.after)
            case Cancelled():
                self._line("[yellow]■[/] Saved again: this build is cancelled.")
            case Failed():
                self._line(f"[red]✗[/] {terminal.escape(str(feedback.error))}")
            case Waiting():
                self._line("[dim]Waiting for the next save. Ctrl+C ends the watch.[/]")

    def close(self) -> None:
        """Say that the watch has ended."""
        self._end_drawing()
        self._line("The watch has ended. Nothing is left running.")

    def _save(self, save: Save) -> None:
        what = f"saved: {', '.join(save.names)}" if save.names else f"watching {self._lab.app}"
        self._out.rule(terminal.escape(f"{time.strftime('%H:%M:%S')} {what}"), align="left")

    def _model(self, model: Model) -> None:
        for fault in model.faults:
            line = f"line {fault.line}: " if fault.line else ""
            self._line(f"[red]✗[/] {terminal.escape(f'{line}{fault.what}')}")
            if fault.mend:
                self._line(f"    {terminal.escape(fault.mend)}")
        if model.dockerfile is not None and not model.faults:
            count = len(model.dockerfile.stages)
            self._line(f"[green]✓[/] The Dockerfile has {count} stage{'s' * (count != 1)}.")

    def _lint(self, lint: Lint) -> None:
        for remark in lint.remarks:
            text = f"line {remark.line}: {remark.text} ({lint.linter} {remark.rule})"
            self._line(f"[yellow]![/] {terminal.escape(text)}")
        if lint.note:
            self._line(f"[dim]{terminal.escape(lint.note)}[/]")

    def _begin_drawing(self, building: Building) -> None:
        if not self._out.is_terminal:
            self._line("Building …")
            return
        self._live = Live(
            console=self._out,
            refresh_per_second=_REDRAWS,
            transient=True,
            get_renderable=lambda: terminal.drawn(building.progress),
        )
        self._live.start()

    def _end_drawing(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)
