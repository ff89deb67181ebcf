"""One round of watch mode: from a save to the comparison, each feedback as soon as it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from multistage import record
from multistage.builds import Build, build, read_dockerfile
from multistage.checks import check_lab
from multistage.dockerfile import Dockerfile, DockerfileError
from multistage.engines import Cancellation, Engine
from multistage.engines.cancelling import cancellable
from multistage.errors import BuildCancelledError, CourseError, LearnerError, UsageError
from multistage.finding import works
from multistage.labs import LabFolder
from multistage.progress import BuildProgress
from multistage.watch.feedback import (
    Building,
    Built,
    Checked,
    Compared,
    Failed,
    Fault,
    Feedback,
    Graph,
    Model,
    Save,
    Waiting,
)
from multistage.watch.lint import Linter


class Rounds:
    """The rounds of one lab. What one finds out is there for the next."""

    def __init__(self, lab: LabFolder, engine: Engine, linters: Sequence[Linter] = ()) -> None:
        self._lab, self._engine, self._linters = lab, engine, tuple(linters)
        self._before: Build | None = None
        self._previous: Build | None = None
        # A round that was cancelled may still be ending while the next one reads and lints.
        self._building = threading.Lock()

    def round(self, save: Save, cancelled: Cancellation) -> Iterator[Feedback]:
        """Do one round.

        Raises:
            BuildCancelledError: the round was cancelled.
        """
        yield save
        try:
            yield from self._read_and_build(save, cancelled)
        except BuildCancelledError:
            raise
        except CourseError as error:
            yield Failed(error)
        yield Waiting()

    def _read_and_build(self, save: Save, cancelled: Cancellation) -> Iterator[Feedback]:
        model = read_model(self._lab)
        yield model
        if model.dockerfile is None:
            return
        progress = BuildProgress(f"Building {self._lab.name}", model.dockerfile)
        yield Graph(model.dockerfile, progress)
        for linter in self._linters:
            yield linter(self._lab, cancelled)
        if model.faults:
            return
        with self._building:
            cancelled.check()
            if save.context_changed:
                self._before = None
            yield from self._build_and_check(progress, cancelled)

    def _build_and_check(
        self, progress: BuildProgress, cancelled: Cancellation
    ) -> Iterator[Feedback]:
        engine = cancellable(self._engine, cancelled)
        text = record.text_of(self._lab.dockerfile)
        yield Building(progress)
        if notice := getattr(engine, "notice", ""):
            progress.announce(notice)
        built = Built(self._built("after", engine, progress, cancelled), self._previous)
        self._previous = built.build
        yield built
        report = check_lab(engine, self._lab, built.build)
        note = record.add_checked(self._lab, self._lab.dockerfile, text, built.build, report)
        yield Checked(report, note)
        if self._before is None:
            unseen = BuildProgress("Building before")
            before = self._built("before", engine, unseen, cancelled)
            record.add_measured(self._lab, self._lab.before_dockerfile, "", before)
            self._before = before
        yield Compared(self._before, built.build, built.change, works(report.checks))

    def _built(
        self, which: str, engine: Engine, progress: BuildProgress, cancelled: Cancellation
    ) -> Build:
        lab = self._lab

        def announce(line: str) -> None:
            cancelled.check()  # a stand-in base is made in many steps
            progress.announce(line)

        try:
            built = build(
                engine,
                lab.app,
                tag=lab.tag(which),
                dockerfile=lab.before_dockerfile if which == "before" else lab.dockerfile,
                report=progress.report,
                announce=announce,
            )
        except BaseException:
            progress.end("stopped" if cancelled.cancelled else "failed")
            raise
        progress.end("done")
        return built


def read_model(lab: LabFolder) -> Model:
    """Return the learner's Dockerfile, or what is wrong with it, by line."""
    try:
        model = read_dockerfile(lab.dockerfile, lab.app)
    except DockerfileError as error:
        return Model(None, (Fault(error.line, error.what, error.mend),))
    except (LearnerError, UsageError) as error:
        return Model(None, (Fault(0, error.what, error.mend),))
    return Model(model, _misspelt_stages(model))


def _misspelt_stages(model: Dockerfile) -> tuple[Fault, ...]:
    return tuple(
        Fault(image.line, f"There is no stage called {image.name}.", f"Did you mean {name}?")
        for image, name in model.suspicious_images()
    )
