"""Builds an image: the stages that the target needs, each as soon as its sources are there."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from multistage.dockerfile import Dockerfile, Instruction, Stage, parse, parse_instructions
from multistage.engines import BuildRequest
from multistage.engines.daemonless import bases, cache
from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.context import ContextTree, read_context
from multistage.engines.daemonless.images import Packer, write_image
from multistage.engines.daemonless.plan import plan_stage
from multistage.engines.daemonless.processes import Processes
from multistage.engines.daemonless.refusals import refuse_unsupported
from multistage.engines.daemonless.sandbox import Sandbox
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.stages import BuiltStage, StageBuilder, secrets_of
from multistage.engines.daemonless.steps import StepReporter
from multistage.engines.daemonless.store import Store, StoredImage
from multistage.engines.daemonless.surroundings import Surroundings
from multistage.engines.daemonless.tree import Delta, Tree
from multistage.engines.events import Report
from multistage.errors import LearnerError, MachineError

_THREADS = 4  # stages side by side
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Workshop:
    """What builds work with: the store, the snapshots, the sandbox."""

    store: Store
    snapshots: Snapshots
    sandbox: Sandbox
    platform: str


def build(
    workshop: Workshop,
    request: BuildRequest,
    report: Report,
    stages: dict[str, BuiltStage] | None = None,
) -> StoredImage:
    """Build an image and keep it under the request's tag.

    ``stages`` gets every stage that was built, by its label, for a lesson to look into.

    Raises:
        LearnerError: the Dockerfile does not build; says where.
        MachineError: the machine falls short.
        BuildCancelledError: the build is no longer wanted.
    """
    path = request.dockerfile
    model = parse(path.read_bytes(), str(path), dict(request.build_args), workshop.platform)
    refuse_unsupported(model, request.target, workshop.platform)
    secrets = secrets_of(request.secrets, os.environ)
    with ExitStack() as stack:
        workshop.store.sweep()
        session = stack.enter_context(workshop.snapshots.session())
        build_ = _Build(workshop, request, model, session, secrets, StepReporter(model, report))
        stack.callback(build_.packer.close)
        stack.enter_context(request.cancelled.calling(build_.processes.end_all))
        try:
            image = build_.run()
            if stages is not None:
                stages.update(build_.built_stages())
            return image
        except BaseException as error:
            build_.processes.end_all()
            if isinstance(error, Exception):
                request.cancelled.check()
            raise


@dataclass
class _Build:
    """One build on its way."""

    workshop: Workshop
    request: BuildRequest
    model: Dockerfile
    session: Path
    secrets: Mapping[str, bytes]
    reporter: StepReporter
    processes: Processes = field(default_factory=Processes)
    futures: dict[int, Future[BuiltStage]] = field(default_factory=dict)
    images: dict[str, Tree] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.context: ContextTree = read_context(self.request.context, self.request.dockerfile)
        self.packer = Packer(self.workshop.store, source_date_epoch(self.request.build_args))
        needed = self.model.needed(self.request.target)
        self.shipped = self._shipped(needed[-1])

    def _shipped(self, stage: Stage) -> set[int]:
        """Return the stages whose files are in the image: the target, and what it builds on."""
        found = {stage.index}
        while stage.base_stage is not None:
            stage = self.model.stages[stage.base_stage]
            found.add(stage.index)
        return found

    def run(self) -> StoredImage:
        stages = self.model.needed(self.request.target)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="stage") as pool:
            try:
                # In an order in which none waits for a later one, so the threads cannot run out.
                for stage in stages:
                    self.futures[stage.index] = pool.submit(self._stage, stage)
                self._wait(list(self.futures.values()))
            except BaseException:
                self.processes.end_all()
                for future in self.futures.values():
                    future.cancel()
                raise
        self.request.cancelled.check()
        final = self.futures[stages[-1].index].result()
        with self.reporter.own("exporting to image"):
            return write_image(final, self.workshop, self.packer, self.request.tag)

    def built_stages(self) -> dict[str, BuiltStage]:
        """Return the stages that were built, in build order."""
        labels = {index: self.model.stages[index].label for index in self.futures}
        return {labels[index]: future.result() for index, future in self.futures.items()}

    def _wait(self, futures: list[Future[BuiltStage]]) -> None:
        """Wait for all; the first error ends the others. Short waits let Ctrl-C through."""
        pending = set(futures)
        while pending:
            done, pending = wait(pending, _POLL_SECONDS, FIRST_EXCEPTION)
            failed = [f for f in futures if f in done and not f.cancelled() and f.exception()]
            if failed:
                self.processes.end_all()
                wait(pending)
                errors = [f.exception() for f in futures if f.done() and not f.cancelled()]
                found = [e for e in errors if e is not None]
                raise next((e for e in found if not _is_follow_up(e)), found[0])

    def _stage(self, stage: Stage) -> BuiltStage:
        start, triggers = self._start(stage)
        plan = plan_stage(
            self.model,
            stage,
            start.config,
            self.request.build_args,
            triggers,
            inherited=start.args,
        )
        surroundings = Surroundings(
            sandbox=self.workshop.sandbox,
            snapshots=self.workshop.snapshots,
            session=self.session,
            origin=self._origin,
            secrets=self.secrets,
            processes=self.processes,
        )
        builder = StageBuilder(
            model=self.model,
            stage=stage,
            surroundings=surroundings,
            reporter=self.reporter,
            no_cache=self.request.no_cache,
            committed=self._committed if stage.index in self.shipped else lambda *_: None,
            check_interrupted=self.processes.check,
        )
        return builder.build(plan, start)

    def _committed(self, delta: Delta, deltas: list[Delta]) -> None:
        self.packer.start(delta, deltas)

    def _start(self, stage: Stage) -> tuple[BuiltStage, tuple[Instruction, ...]]:
        """Return what a stage starts from, and the ONBUILD instructions that come with it."""
        if stage.base_stage is not None:
            # The model has put the ONBUILD instructions of a stage into those that build on it.
            return self.futures[stage.base_stage].result(), ()
        if stage.base == "scratch":
            return BuiltStage(None, [], [], image_config.empty(), cache.start_key("scratch")), ()
        with self.reporter.base(stage) as reported:
            image = self._image(stage.base, stage.line, reported.log)
            delta = self._unpacked(image)
            reported.cached = True
        config = image_config.from_image(image.config)
        triggers = self._triggers(config, stage)
        return BuiltStage(image, [delta], [], config, cache.start_key(image.id)), triggers

    def _triggers(self, config: Mapping[str, object], stage: Stage) -> tuple[Instruction, ...]:
        """Return the ONBUILD instructions of a base image, as if they stood at the FROM."""
        carried = config.get("OnBuild")
        if not isinstance(carried, list) or not carried:
            return ()
        parsed = parse_instructions("\n".join(map(str, carried)), f"{stage.base}, ONBUILD")
        return parsed.instructions

    def _image(self, name: str, line: int, log: Callable[[str], None]) -> StoredImage:
        """Return an image, fetched where it is not here."""
        with self.lock:
            image = self.workshop.store.image(name)
            if image is not None:
                return image
            where = f"{self.model.path}:{line}"
            try:
                shop = self.workshop
                return bases.pull(shop.store, name, shop.platform, log, self.processes.check)
            except MachineError as error:
                raise MachineError(error.what, where=where, mend=error.mend) from error

    def _origin(self, source: int | str | None) -> Tree:
        """Return the files that a COPY or a mount takes from."""
        if source is None:
            return self.context
        if isinstance(source, int):
            return self.futures[source].result().tree()
        if source not in self.images:
            line = next((e.line for e in self.model.edges if e.source == source), 0)
            image = self._image(source, line, lambda _text: None)
            self.images[source] = Tree([self._unpacked(image)])
        return self.images[source]

    def _unpacked(self, image: StoredImage) -> Delta:
        shop = self.workshop
        return bases.unpacked(image, shop.store, shop.snapshots, shop.sandbox, self.processes.check)


def _is_follow_up(error: BaseException) -> bool:
    """Return whether a stage ended only because another one did."""
    return isinstance(error, InterruptedError)


def source_date_epoch(build_args: Mapping[str, str]) -> int | None:
    """Return ``SOURCE_DATE_EPOCH``, in seconds, where it is set.

    Raises:
        LearnerError: it is no number.
    """
    text = build_args.get("SOURCE_DATE_EPOCH") or os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise LearnerError(
            f"SOURCE_DATE_EPOCH={text} is no number of seconds.", mend="Unset it, or set it right."
        )
    return min(int(text), int(time.time()))
