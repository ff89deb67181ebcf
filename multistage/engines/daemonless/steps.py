"""Tells what a build does, step by step, in the words and numbers that BuildKit uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from multistage.dockerfile import Dockerfile, Instruction, Stage
from multistage.dockerfile.steps import step_numbers, step_stage
from multistage.engines.events import Event, Report, Step, StepFinished, StepLog, StepStarted
from multistage.errors import CourseError

_TAIL = 4000  # characters of a step's output that its error shows


@dataclass
class Reported:
    """A step that is being done. Set ``cached`` where it came from the cache.

    Attributes:
        name: the step's name for a person.
        tail: the end of what it wrote.
    """

    name: str
    _tell: Callable[[str], None]
    cached: bool = False
    tail: str = ""

    def log(self, text: str) -> None:
        """Report what the step writes."""
        if text:
            self.tail = (self.tail + text)[-_TAIL:]
            self._tell(text)


class StepReporter:
    """Reports steps from several threads, one event at a time."""

    def __init__(self, model: Dockerfile, report: Report) -> None:
        self._model, self._report = model, report
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Report one event."""
        with self._lock:
            self._report(event)

    @contextmanager
    def step(self, stage: Stage, instruction: Instruction) -> Iterator[Reported]:
        """Report the start of a step, and its end, with the error where it fails."""
        numbers = step_numbers(stage)
        number = numbers.get(instruction.line)
        step = self._step(stage, number, len(numbers), _text(instruction))
        with self._reported(step) as reported:
            yield reported

    @contextmanager
    def base(self, stage: Stage) -> Iterator[Reported]:
        """Report that a stage gets its base image."""
        step = self._step(stage, 1, len(step_numbers(stage)), f"FROM {stage.base}")
        with self._reported(step) as reported:
            yield reported

    @contextmanager
    def own(self, name: str) -> Iterator[Reported]:
        """Report something that the engine does of its own."""
        with self._reported(Step(name, name)) as reported:
            yield reported

    def _step(self, stage: Stage, number: int | None, count: int, text: str) -> Step:
        total = count + (1 if stage.base_stage is None and stage.base != "scratch" else 0)
        name = step_stage(self._model, stage)
        place = f"[{name + ' ' if name else ''}{number}/{total}] {text}"
        return Step(f"{stage.index}:{number}:{text}", place, name, number, total)

    @contextmanager
    def _reported(self, step: Step) -> Iterator[Reported]:
        began = time.monotonic()
        self.tell(StepStarted(step, time.time()))
        reported = Reported(step.name, lambda text: self.tell(StepLog(step, text)))
        error = ""
        try:
            yield reported
        except CourseError as fault:
            error = fault.what
            raise
        except BaseException as fault:
            error = repr(fault)
            raise
        finally:
            seconds = time.monotonic() - began
            self.tell(StepFinished(step, time.time(), seconds, reported.cached, error))


def _text(instruction: Instruction) -> str:
    return " ".join(instruction.original.split())
