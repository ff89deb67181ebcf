"""Builds one stage: its steps in order, each from the cache or anew."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multistage.dockerfile import Dockerfile, Stage
from multistage.engines.daemonless import cache, copy
from multistage.engines.daemonless import run as runs
from multistage.engines.daemonless.adding import expand_sources, unpack_archives
from multistage.engines.daemonless.faults import too_long
from multistage.engines.daemonless.plan import (
    CopyStep,
    Planned,
    RunStep,
    StagePlan,
    Step,
    WorkdirStep,
)
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.steps import Reported, StepReporter
from multistage.engines.daemonless.store import StoredImage
from multistage.engines.daemonless.surroundings import Surroundings
from multistage.engines.daemonless.tree import ROOT_OWNER, Delta, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_owner
from multistage.engines.daemonless.workspace import Workspace, make_workspace
from multistage.engines.daemonless.writer import DeltaWriter, NotAFolderError
from multistage.errors import CourseError, LearnerError


@dataclass(frozen=True)
class Change:
    """One instruction's part in the image: its delta, ``None`` for none, and its history entry.

    ``has_layer``: whether it has one even where it changed nothing, as BuildKit's steps do.
    """

    delta: Delta | None
    created_by: str
    has_layer: bool = False


@dataclass
class BuiltStage:
    """A stage that is built.

    Attributes:
        base: the image it starts from, ``None`` for scratch.
        deltas: lowest first; the first is the base's, where it has one.
        changes: what its own instructions did, those of the stages it builds on first.
        key: the cache key it ends with.
        args: the values of its ARGs.
    """

    base: StoredImage | None
    deltas: list[Delta]
    changes: list[Change]
    config: dict[str, Any]
    key: str
    author: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    tree_cache: Tree | None = field(default=None, repr=False)

    def tree(self) -> Tree:
        """Return its files."""
        if self.tree_cache is None or len(self.tree_cache.deltas) != len(self.deltas):
            self.tree_cache = Tree(self.deltas)
        return self.tree_cache


@dataclass(frozen=True)
class StageBuilder:
    """Builds the steps of one stage on what it starts from."""

    model: Dockerfile
    stage: Stage
    surroundings: Surroundings
    reporter: StepReporter
    no_cache: bool
    committed: Callable[[Delta, list[Delta]], None]
    check_interrupted: Callable[[], None]

    def build(self, plan: StagePlan, start: BuiltStage) -> BuiltStage:
        """Do the steps; return the stage as it is after them.

        Raises:
            LearnerError: a step fails; names its line.
            MachineError: the machine falls short.
        """
        built = BuiltStage(
            start.base,
            list(start.deltas),
            list(start.changes),
            plan.config,
            start.key,
            plan.author,
            plan.args,
        )
        session = self.surroundings.session
        workspace = make_workspace(self.surroundings.sandbox, self._snapshots, session)
        last_run = max(
            (n for n, p in enumerate(plan.planned) if isinstance(p.step, RunStep)), default=-1
        )
        for number, planned in enumerate(plan.planned):
            if planned.step is None:
                built.changes.append(Change(None, planned.created_by))
                continue
            self._wait_for_sources(planned.step)
            self.check_interrupted()
            delta = self._step(planned, built, workspace, last=number == last_run)
            built.changes.append(Change(delta, planned.created_by, has_layer=True))
            if delta is not None:
                built.deltas.append(delta)
                self.committed(delta, list(built.deltas))
        return built

    def _wait_for_sources(self, step: Step) -> None:
        """Wait for the stages that a step takes from: the step begins when they are built."""
        origins: list[int | str | None] = []
        if isinstance(step, CopyStep):
            origins = [step.origin]
        elif isinstance(step, RunStep):
            origins = [mount.origin for mount in step.mounts]
        for origin in origins:
            if isinstance(origin, int):
                self.surroundings.origin(origin)

    @property
    def _snapshots(self) -> Snapshots:
        return self.surroundings.snapshots

    def _step(
        self, planned: Planned, built: BuiltStage, workspace: Workspace, *, last: bool
    ) -> Delta | None:
        line = planned.instruction.line
        with self.reporter.step(self.stage, planned.instruction) as reported:
            try:
                delta, reported.cached = self._cached_or_done(
                    planned, built, workspace, reported.log, last=last
                )
            except CourseError as error:
                raise _placed(error, reported, f"{self.model.path}:{line}") from error
            except OSError as error:
                fault = self._of_the_learner(error)
                if fault is None:
                    raise
                raise _placed(fault, reported, f"{self.model.path}:{line}") from error
        return delta

    def _of_the_learner(self, error: OSError) -> LearnerError | None:
        """Return what the learner can mend: a name, a file's rights, or links in a circle."""
        if error.errno == errno.ENAMETOOLONG:
            return too_long()
        context = f"{self.surroundings.origin(None).deltas[0].folder}/"
        name = str(error.filename)
        if name.startswith(context):
            return LearnerError(
                f"{name.removeprefix(context)} cannot be read: {error.strerror}.",
                mend="Check who may read it, or leave it out by .dockerignore.",
            )
        if error.errno is None and not isinstance(error, InterruptedError):
            return LearnerError(f"{error}.", mend="Remove the links that lead in a circle.")
        return None

    def _cached_or_done(
        self,
        planned: Planned,
        built: BuiltStage,
        workspace: Workspace,
        log: Callable[[str], None],
        *,
        last: bool,
    ) -> tuple[Delta | None, bool]:
        key, do = self._prepare(planned.step, built, workspace, log, last=last)
        if self.no_cache:
            delta = do()
            self._snapshots.remember(key, delta)
            built.key = key
            return delta, False
        with self._snapshots.only_one(key, self.check_interrupted):
            known = self._snapshots.cached(key)
            delta = known.delta if known else do()
            if known is None:
                self._snapshots.remember(key, delta)
        built.key = key
        return delta, known is not None

    def _prepare(
        self,
        step: object,
        built: BuiltStage,
        workspace: Workspace,
        log: Callable[[str], None],
        *,
        last: bool,
    ) -> tuple[str, Callable[[], Delta | None]]:
        """Return a step's cache key, and what does it."""
        if isinstance(step, RunStep):
            key = cache.run_key(built.key, runs.run_key(step, self.surroundings))
            return key, lambda: runs.run(
                step, built.deltas, workspace, self.surroundings, log, last=last
            )
        if isinstance(step, WorkdirStep):
            key = cache.workdir_key(built.key, step)
            return key, lambda: self._workdir(step, built.tree())
        assert isinstance(step, CopyStep)
        return self._prepare_copy(step, built, log)

    def _prepare_copy(
        self, step: CopyStep, built: BuiltStage, log: Callable[[str], None]
    ) -> tuple[str, Callable[[], Delta | None]]:
        origin = self.surroundings.origin(step.origin)
        downloaded, step = expand_sources(step, self.surroundings.session, log)
        selected = copy.select(step, origin)
        if downloaded is not None:
            fetched = CopyStep("ADD", None, tuple(downloaded.names("")), step.destination)
            selected += copy.select(fetched, downloaded)
        content = copy.digest(step, selected)
        key = cache.copy_key(built.key, step, content, None)

        def do() -> Delta | None:
            tree = built.tree()
            writer = self._writer(tree)
            plain = unpack_archives(step, selected, tree, writer)
            copy.copy(step, plain, tree, writer)
            return writer.commit(self._snapshots) if writer.changed else None

        return key, do

    def _writer(self, tree: Tree) -> DeltaWriter:
        scratch = Path(tempfile.mkdtemp(prefix="copy-", dir=self.surroundings.session))
        return DeltaWriter(scratch, tree, keeps_owners=self.surroundings.sandbox.keeps_owners)

    def _workdir(self, step: WorkdirStep, tree: Tree) -> Delta | None:
        place = tree.resolve(step.path)
        present = tree.lookup(place)
        if present is not None and present.is_folder:
            return None
        try:
            owner = find_owner(step.user or "0", tree)
        except UnknownUserError:
            owner = ROOT_OWNER
        writer = self._writer(tree)
        try:
            writer.make_folders(place, owner)
        except NotAFolderError as error:
            raise LearnerError(
                f"WORKDIR {step.path}: {error}.", mend="Choose another folder."
            ) from error
        return writer.commit(self._snapshots)


def _placed(error: CourseError, reported: Reported, where: str) -> CourseError:
    """Return an error with its step, its line, and the end of what the step wrote."""
    lines = reported.tail.rstrip().splitlines()[-15:]
    tail = "".join(f"\n    {line}" for line in lines)
    what = f"The build stopped at {reported.name}: {error.what}{tail}"
    return type(error)(what, where=error.where or where, mend=error.mend or _MEND)


_MEND = "Read the last lines above: they are what the command said before it failed."


def secrets_of(given: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return secrets by ID, from what ``--secret`` says in the words of ``docker build``.

    Raises:
        LearnerError: one cannot be read; its content is never shown.
    """
    found: dict[str, bytes] = {}
    for text in given:
        options = dict(part.partition("=")[::2] for part in text.split(","))
        name = options.get("id", "")
        source = options.get("src") or options.get("source")
        variable = options.get("env")
        if source is None and variable is None:
            variable = name if name in environment else None
            source = None if variable else name
        try:
            if variable is not None:
                found[name] = environment[variable].encode()
            else:
                found[name] = Path(source or "").read_bytes()
        except (OSError, KeyError) as error:
            raise LearnerError(
                f"The secret {name} cannot be read.", mend="Write --secret id=<name>,src=<file>"
            ) from error
    return found
