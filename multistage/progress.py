"""How far a build is: events in, lines of text out. The terminal and the notebook draw them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from multistage.engines.events import Event, Step, StepFinished, StepStarted
from multistage.units import seconds


@dataclass
class StepProgress:
    """A step that began. ``state`` is running, done, cached or failed."""

    step: Step
    began: float
    state: str = "running"
    took: float = 0.0

    def line(self, now: float) -> str:
        """Return the step in one line, with how long it took or takes so far."""
        if self.state == "cached":
            return f"{_MARKS[self.state]} {self.step.name}  cached"
        took = self.took if self.state != "running" else max(0.0, now - self.began)
        return f"{_MARKS[self.state]} {self.step.name}  {seconds(took)}"


_MARKS = {"running": "…", "done": "✓", "cached": "✓", "failed": "✗"}


class BuildProgress:
    """Follows a build, and calls ``changed`` whenever there is something new to draw.

    Attributes:
        steps: the Dockerfile's steps, in the order they began.
        notes: what the course itself announced, for example that a stand-in is used.
    """

    def __init__(
        self,
        title: str,
        changed: Callable[[BuildProgress], None] = lambda _progress: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.title = title
        self.steps: dict[str, StepProgress] = {}
        self.notes: list[str] = []
        self.doing = "Starting"
        self._changed, self._clock = changed, clock
        self._began = clock()

    def report(self, event: Event) -> None:
        """Take in one event of the build."""
        if isinstance(event, StepStarted):
            self.doing = event.step.name
            if event.step.number is not None:
                self.steps.setdefault(event.step.id, StepProgress(event.step, event.at))
        elif isinstance(event, StepFinished) and event.step.number is not None:
            row = self.steps.setdefault(event.step.id, StepProgress(event.step, event.at))
            row.state = "failed" if event.error else "cached" if event.cached else "done"
            row.took = event.seconds
        self._changed(self)

    def announce(self, text: str) -> None:
        """Take in a line of the course's own."""
        self.doing = text.strip()
        if not text.startswith("  "):  # an indented line is a detail of the one before
            self.notes.append(text)
        self._changed(self)

    @property
    def seconds(self) -> float:
        """Seconds since the build began."""
        return self._clock() - self._began

    def status(self) -> str:
        """Return where the build is, in one line."""
        return f"{self.title}: {self.doing} ({seconds(self.seconds)} so far)"

    def lines(self) -> list[str]:
        """Return notes and steps, one line each."""
        now = self._clock()
        return [*self.notes, *(row.line(now) for row in self.steps.values())]

    def summary(self) -> str:
        """Return the finished build in one line."""
        cached = sum(row.state == "cached" for row in self.steps.values())
        note = f", {cached} cached" if cached else ""
        return f"{self.title}: {len(self.steps)} steps{note}, {seconds(self.seconds)}"
