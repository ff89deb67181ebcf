"""How far a build is: events in, rows out. The panel and the command line draw them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from multistage.dockerfile import Dockerfile, Stage
from multistage.dockerfile.steps import step_numbers, step_stage
from multistage.engines.events import Event, Step, StepFinished, StepLog, StepStarted
from multistage.text import plain
from multistage.units import seconds

MARKS = {
    "waiting": "·", "running": "…", "done": "✓", "cached": "✓",
    "failed": "✗", "stopped": "■", "skipped": "-",
}  # fmt: skip
_LOG_LINES = 200
_LOG_WIDTH = 500  # characters; minified files in a log have lines of a megabyte
# How engines say that a step ended because of another one, or of the learner.
_STOPPED = ("context canceled", "CANCELED", "InterruptedError", "KeyboardInterrupt")


@dataclass
class StepProgress:
    """A step that began. ``state`` is running, done, cached, failed or stopped."""

    step: Step
    began: float
    state: str = "running"
    took: float = 0.0

    def time(self, now: float) -> str:
        """Return how long it took or takes so far, nothing for a cached step."""
        if self.state == "cached":
            return ""
        return seconds(self.took if self.state != "running" else max(0.0, now - self.began))

    @property
    def place(self) -> str:
        """Its stage and its number there: ``builder 4/6``."""
        return self.step.name.partition("] ")[0].removeprefix("[")

    @property
    def instruction(self) -> str:
        """What it does: ``RUN npm ci``."""
        return self.step.name.partition("] ")[2] or self.step.name

    def line(self, now: float) -> str:
        """Return the step in one line: stage, instruction, state, time."""
        return f"{MARKS[self.state]} {self.step.name}  {self.state} {self.time(now)}".rstrip()


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage and how far it is.

    Attributes:
        name: its name, or ``stage 0`` where it has none.
        base: what it starts from.
        role: ``builder stage``, or ``runtime stage`` for the Dockerfile's last.
        takes: what it takes from other stages or images, in words.
        state: waiting, running, done, cached, failed, stopped or skipped.
        done: how many of its steps are done.
        total: how many it has.
        time: how long it took or takes so far, empty where it did not run.
        follows: whether it takes, in this build, from the stage before it.
    """

    name: str
    base: str
    role: str
    takes: tuple[str, ...]
    state: str
    done: int
    total: int
    time: str
    follows: bool

    @property
    def words(self) -> str:
        """Its state in words: ``running, 3 of 6 steps, 4.0 s``."""
        if self.state == "skipped":
            return "skipped: the target does not need it"
        took = f", {self.time}" if self.time and self.state != "waiting" else ""
        return f"{self.state}, {self.done} of {self.total} steps{took}"

    def line(self) -> str:
        """Return the stage in one line."""
        from_others = "".join(f", {words}" for words in self.takes)
        return (
            f"{MARKS[self.state]} {self.name} ({self.role}, FROM {self.base}{from_others}): "
            f"{self.words}"
        )


class BuildProgress:
    """Follows a build. Engines report from several threads, and others draw meanwhile.

    Attributes:
        steps: the Dockerfile's steps, in the order they began.
        notes: what the course itself announced, for example that a stand-in is used.
        log: the last lines that the steps wrote.
        ended: done, failed or stopped; empty while it runs.

    Raises:
        DockerfileError: the model has no stage called ``target``.
    """

    def __init__(
        self,
        title: str,
        model: Dockerfile | None = None,
        target: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.title = title
        self.steps: dict[str, StepProgress] = {}
        self.notes: list[str] = []
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.doing, self.ended = "Starting", ""
        self._model, self._clock = model, clock
        self._needed = model.needed(target) if model else ()
        # A comma parts two numbers: [stage 1, 2/2], but [builder 2/2].
        self._titles = (
            {step_stage(model, stage): stage.name or f"{stage.title}," for stage in model.stages}
            if model
            else {}
        )
        self._began, self._took = clock(), 0.0

    def report(self, event: Event) -> None:
        """Take in one event of the build."""
        event = replace(event, step=self._called(event.step))
        if isinstance(event, StepLog):
            self._write(event)
        elif isinstance(event, StepStarted):
            self.doing = event.step.name
            if event.step.number is not None:
                self.steps.setdefault(event.step.id, StepProgress(event.step, event.at))
        elif event.step.number is not None:
            began = event.at - event.seconds
            row = self.steps.setdefault(event.step.id, StepProgress(event.step, began))
            row.took, row.state = event.seconds, _state(event)

    def _called(self, step: Step) -> Step:
        """Return a step with its stage as people call it: ``[stage 1, 2/2] …``, not stage-1."""
        title = self._titles.get(step.stage)
        if step.number is None or title is None:
            return step
        text = step.name.partition("] ")[2]
        return replace(step, name=f"[{title} {step.number}/{step.total}] {text}")

    def announce(self, text: str) -> None:
        """Take in a line of the course's own."""
        self.doing = text.strip()
        if not text.startswith("  "):  # an indented line is a detail of the one before
            self.notes.append(text)

    def end(self, state: str) -> None:
        """Say how it ended: done, failed or stopped. What still runs has been stopped."""
        self._took, self.ended = self.seconds, state
        for row in list(self.steps.values()):
            if row.state == "running":
                row.took = max(0.0, self._clock() - row.began)
                row.state = "done" if state == "done" else "stopped"

    @property
    def seconds(self) -> float:
        """Seconds since the build began, or that it took."""
        return self._took if self.ended else self._clock() - self._began

    @property
    def now(self) -> float:
        """The time that running steps are measured against."""
        return self._clock()

    def rows(self) -> list[StepProgress]:
        """Return the steps that began, each stage's own."""
        rows = []
        for row in list(self.steps.values()):  # a copy: another thread may add one meanwhile
            rows += [row, *self._shared(row)]
        return rows

    def _shared(self, row: StepProgress) -> list[StepProgress]:
        """Return a first step once more for each other stage that starts from the same image.

        BuildKit fetches the image once and reports it for one of them, but counts it in all.
        """
        if self._model is None or row.step.number != 1:
            return []
        told = {r.step.stage for r in list(self.steps.values()) if r.step.number == 1}
        names = {step_stage(self._model, stage): stage for stage in self._needed}
        own = names.get(row.step.stage)
        if own is None or not _has_image(own):
            return []
        others = {
            name: stage
            for name, stage in names.items()
            if name not in told and (stage.base, stage.platform) == (own.base, own.platform)
        }
        steps = [
            replace(row.step, id=f"{row.step.id} {name}", stage=name, total=_count(stage))
            for name, stage in others.items()
        ]
        return [replace(row, step=self._called(step)) for step in steps]

    def stages(self) -> list[StageProgress]:
        """Return every stage of the model, in the Dockerfile's order; none without a model."""
        if self._model is None:
            return []
        rows = self.rows()
        return [self._stage(self._model, stage, rows) for stage in self._model.stages]

    def steps_done(self) -> tuple[int, int]:
        """Return how many steps are done, and how many there are in the stages needed."""
        stages = [stage for stage in self.stages() if stage.state != "skipped"]
        if stages:
            return sum(stage.done for stage in stages), sum(stage.total for stage in stages)
        rows = self.rows()
        totals = {row.step.stage: row.step.total or 0 for row in rows}
        total = sum(totals.values())
        return total if self.ended == "done" else sum(map(_is_done, rows)), total

    def headline(self) -> str:
        """Return where the build is, or how it ended, in one line."""
        if not self.ended:
            return f"{self.title} ({seconds(self.seconds)} so far): {self.doing}"
        if self.ended != "done":
            return f"{self.title}: {self.ended} after {seconds(self.seconds)}"
        _, total = self.steps_done()
        cached = sum(row.state == "cached" for row in self.rows())
        note = f", {cached} cached" if cached else ""
        steps = f"{total} steps{note}, " if total else ""
        return f"{self.title}: {steps}{seconds(self.seconds)}"

    def lines(self) -> list[str]:
        """Return all of it as text: the headline, the stages, how many steps, each step."""
        done, total = self.steps_done()
        counted = [f"Steps done: {done} of {total}"] if total else []
        stages = [stage.line() for stage in self.stages()]
        steps = [row.line(self.now) for row in self.rows()]
        return [self.headline(), *stages, *counted, *self.notes, *steps]

    def _write(self, event: StepLog) -> None:
        place = event.step.name.partition("]")[0] + "] " if event.step.number is not None else ""
        for line in event.text.replace("\r\n", "\n").rstrip("\n").split("\n"):
            last = line.rstrip("\r").rpartition("\r")[2]  # what a progress bar shows in the end
            self.log.append(place + plain(last[:_LOG_WIDTH]))

    def _stage(
        self, model: Dockerfile, stage: Stage, everything: Sequence[StepProgress]
    ) -> StageProgress:
        rows = [row for row in everything if row.step.stage == step_stage(model, stage)]
        needed = stage in self._needed
        total = max((row.step.total or 0 for row in rows), default=_count(stage))
        done = total if needed and self.ended == "done" else sum(map(_is_done, rows))
        ran = [row for row in rows if row.state != "cached"]
        took = sum(self._end_of(row) - row.began for row in ran)  # without its waits for others
        return StageProgress(
            name=stage.title,
            base=stage.base,
            role="runtime stage" if stage == model.final else "builder stage",
            takes=_takes(model, stage),
            state=self._stage_state(rows, done, total) if needed else "skipped",
            done=done,
            total=total,
            time=seconds(took) if ran else "",
            follows=needed and any((e.source, e.target) == (stage.index - 1, stage.index)
                               for e in model.edges),
        )  # fmt: skip

    def _end_of(self, row: StepProgress) -> float:
        return self.now if row.state == "running" else row.began + row.took

    def _stage_state(self, rows: Sequence[StepProgress], done: int, total: int) -> str:
        states = {row.state for row in rows}
        for state in ("failed", "stopped", "running"):
            if state in states:
                return state
        if rows and done >= total:
            return "cached" if states == {"cached"} else "done"
        if self.ended == "done":
            return "done"
        return "stopped" if rows and self.ended else "waiting"


def _state(event: StepFinished) -> str:
    if event.error:
        return "stopped" if any(sign in event.error for sign in _STOPPED) else "failed"
    return "cached" if event.cached else "done"


def _is_done(row: StepProgress) -> bool:
    return row.state in ("done", "cached")


def _count(stage: Stage) -> int:
    """Return how many steps a stage has, as BuildKit counts: an image it starts from is one."""
    return len(step_numbers(stage)) + _has_image(stage)


def _has_image(stage: Stage) -> bool:
    return stage.base_stage is None and stage.base != "scratch"


def _takes(model: Dockerfile, stage: Stage) -> tuple[str, ...]:
    words = []
    for edge in model.edges:
        if edge.target == stage.index and edge.kind != "from":
            source = (
                edge.source if isinstance(edge.source, str) else model.stages[edge.source].title
            )
            words.append(f"takes {' '.join(edge.paths[:-1]) or 'files'} from {source}")
    return tuple(dict.fromkeys(words))
