"""Watch mode in a terminal: what a round says, line by line as soon as it is there."""

from __future__ import annotations

import time
from argparse import Namespace
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live

from multistage import engines, labs, record, terminal
from multistage.next_step import next_step
from multistage.units import megabytes, seconds
from multistage.watch import lines
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
        terminal.note(record.take_note())
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
    """Prints feedback. While a build runs, its steps are drawn below, where that is possible.

    A save takes some 15 lines at the most: one is to see what it did without scrolling.
    """

    def __init__(self, lab: labs.LabFolder, console: Console | None = None) -> None:
        self._lab, self._out = lab, console or terminal.console()
        self._live: Live | None = None
        self._is_first = self._says_waiting = True
        self._said: dict[str, Lint] = {}  # by linter, at the save before
        self._passed: int | None = None  # of the required checks, at the save before
        self._next = ""

    def show(self, feedback: Feedback) -> None:
        """Print one feedback."""
        self._end_drawing()
        match feedback:
            case Save():
                self._save(feedback)
            case Model():
                self._model(feedback)
            case Graph():
                self._graph(feedback)
            case Lint():
                self._lint(feedback)
            case Building():
                self._begin_drawing(feedback)
            case Built():
                size = megabytes(feedback.build.unpacked_size)
                self._line(f"[green]✓[/] Built in {seconds(feedback.build.seconds)}: {size}")
            case Checked():
                self._checked(feedback)
            case Compared():
                bases = terminal.stand_in_note((feedback.before, feedback.after))
                self._line(f"{lines.sizes(feedback)}[dim]{terminal.escape(bases)}[/]")
            case Cancelled():
                self._line("[yellow]■[/] Saved again: this build is cancelled.")
            case Failed():
                first, *rest = lines.error(str(feedback.error)) or [""]
                self._line(f"[red]✗[/] {terminal.escape(first)}")
                for line in rest:
                    self._line(terminal.escape(line))
                self._says_waiting = True  # else a failed save looks like the end
            case Waiting():
                self._wait()

    def close(self) -> None:
        """Say that the watch has ended."""
        self._end_drawing()
        self._line("The watch has ended. Nothing is left running.")

    def _save(self, save: Save) -> None:
        what = f"saved: {', '.join(save.names)}" if save.names else f"watching {self._lab.app}"
        self._next = ""
        self._out.rule(terminal.escape(f"{time.strftime('%H:%M:%S')} {what}"), align="left")

    def _model(self, model: Model) -> None:
        for fault in model.faults:
            line = f"line {fault.line}: " if fault.line else ""
            text = lines.short(f"{line}{fault.what} {fault.mend}")
            self._line(f"[red]✗[/] {terminal.escape(text)}")

    def _graph(self, graph: Graph) -> None:
        model = graph.dockerfile
        count = len(model.stages)
        has = f"{count} stage{'s' * (count != 1)}"
        if self._is_first:
            self._line(f"The Dockerfile has {has}.")
            terminal.graph(model, {stage.index for stage in model.needed()})
        else:
            self._line(terminal.escape(f"{has}: {lines.graph(model)}"))

    def _lint(self, lint: Lint) -> None:
        earlier = self._said.get(lint.linter, Lint(lint.linter))
        for text in lines.remarks(lint, earlier.remarks):
            self._line(f"[yellow]![/] {terminal.escape(text)}")
        if lint.note and lint.note != earlier.note:
            self._line(f"[dim]{terminal.escape(lint.note)}[/]")
        self._said[lint.linter] = lint

    def _checked(self, checked: Checked) -> None:
        report = checked.report
        for line in lines.failed(report):
            self._out.print(
                terminal.escape(line), style="red" if line[0] == "✗" else "", soft_wrap=True
            )
        passed = sum(check.passed for check in report.checks if check.required)
        more = 0 if self._passed is None else passed - self._passed
        self._passed = passed
        mark = "[green]✓[/]" if report.passed else "[red]✗[/]"
        change = f" {abs(more)} {'more' if more > 0 else 'fewer'} than before."
        hints = f" More hints: multistage check {report.lab} --hints 2"
        told = report.has_more(1) and not report.passed
        self._line(f"{mark} {lines.counts(report)}{change * bool(more)}{hints * told}")
        if checked.note:
            self._line(f"[dim]{terminal.escape(checked.note)}[/]")
        self._next = next_step(self._lab, report)

    def _wait(self) -> None:
        if self._next:
            self._line(terminal.escape(self._next))
        if self._says_waiting:
            self._line("[dim]Waiting for the next save. Ctrl+C ends the watch.[/]")
        self._is_first = self._says_waiting = False

    def _begin_drawing(self, building: Building) -> None:
        if not self._out.is_terminal:
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
