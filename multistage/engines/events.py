"""What a build says while it runs: one stream of events, the same from every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a build, as the engine names it.

    Attributes:
        id: identifies the step within its build.
        name: a person's name for it, for example ``[builder 4/6] RUN npm ci``.
        stage: the stage's name as the engine prints it; ``None`` for the engine's own
            steps and for the only stage of a single-stage build.
        number: the step's place in its stage, from 1; ``None`` for the engine's own steps.
        total: how many steps the stage has.
    """

    id: str
    name: str
    stage: str | None = None
    number: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began. ``at`` is in seconds since the epoch."""

    step: Step
    at: float


@dataclass(frozen=True, slots=True)
class StepLog:
    """A step wrote ``text``, one or more lines, to its standard output or error."""

    step: Step
    text: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended. ``error`` is the engine's message, empty when the step succeeded."""

    step: Step
    at: float
    seconds: float
    cached: bool = False
    error: str = ""


Event = StepStarted | StepLog | StepFinished
Report = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A report that says nothing."""


@dataclass
class BuildLog:
    """Gathers the events of one build. Use :meth:`add` as the build's report."""

    started: dict[str, StepStarted] = field(default_factory=dict)
    finished: dict[str, StepFinished] = field(default_factory=dict)
    output: dict[str, list[str]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Keep one event."""
        if isinstance(event, StepStarted):
            self.started.setdefault(event.step.id, event)
        elif isinstance(event, StepFinished):
            self.finished[event.step.id] = event
        else:
            self.output.setdefault(event.step.id, []).append(event.text)

    def failed(self) -> StepFinished | None:
        """Return the first step that ended with an error of its own, not with that of another."""
        failed = [event for event in self.finished.values() if event.error]
        own = (event for event in failed if not event.error.endswith("context canceled"))
        return next(own, failed[0] if failed else None)

    def stage_seconds(self, stage: str | None) -> float:
        """Return the wall-clock seconds from a stage's first start to its last end."""
        ends = [e for e in self.finished.values() if _in_stage(e.step, stage) and not e.cached]
        if not ends:
            return 0.0
        return max(e.at for e in ends) - min(e.at - e.seconds for e in ends)

    def cached(self, stage: str | None, number: int) -> bool:
        """Return whether step ``number`` of ``stage`` came from the build cache."""
        return any(
            event.cached
            for event in self.finished.values()
            if _in_stage(event.step, stage) and event.step.number == number
        )


def _in_stage(step: Step, stage: str | None) -> bool:
    return step.number is not None and step.stage == stage
