"""Stages, the edges between them, and what can be asked of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from multistage.dockerfile.errors import DockerfileError, did_you_mean, nearest
from multistage.dockerfile.parser import Instruction


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: a FROM and what follows it.

    Attributes:
        index: its place, from 0.
        name: as written behind AS, ``None`` where it has none.
        base: the image or stage it builds on, variables replaced.
        base_stage: the index of the stage it builds on, ``None`` for an image.
        platform: the value of ``--platform``, variables replaced.
        from_instruction: its FROM.
        instructions: the others.
        variables: the ENV and ARG values in force at its end.
    """

    index: int
    name: str | None
    base: str
    base_stage: int | None
    platform: str | None
    from_instruction: Instruction
    instructions: tuple[Instruction, ...]
    variables: Mapping[str, str] = field(hash=False)

    @property
    def label(self) -> str:
        """Its name, or its index where it has none."""
        return self.name or str(self.index)

    @property
    def title(self) -> str:
        """What people call it: its name, or ``stage 1`` where it has none."""
        return self.name or f"stage {self.index}"

    @property
    def line(self) -> int:
        """The line of its FROM."""
        return self.from_instruction.line


@dataclass(frozen=True, slots=True)
class Edge:
    """A stage takes something from a stage or an image.

    Attributes:
        source: index of the stage, or name of the image, that is taken from.
        target: index of the stage that takes.
        kind: ``from`` (builds on it), ``copy`` (``COPY --from``) or ``mount``.
        line: where it says so.
        paths: what is copied, the destination last; for a mount its source and target.
    """

    source: int | str
    target: int
    kind: str
    line: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExternalImage:
    """An image that must come from a registry, and the line that first names it."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile as stages and edges. ``global_args`` are the ARGs from before the first FROM."""

    path: str
    directives: Mapping[str, str] = field(hash=False)
    escape: str
    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]
    global_args: Mapping[str, str] = field(hash=False)

    @property
    def final(self) -> Stage:
        """The last stage, which is the default target."""
        return self.stages[-1]

    @property
    def is_multistage(self) -> bool:
        """Whether there is more than one stage."""
        return len(self.stages) > 1

    def stage(self, name: str | int) -> Stage:
        """Return a stage by name, whatever the case, or by index.

        Raises:
            DockerfileError: there is none; names the nearest.
        """
        wanted = str(name).lower()
        found = [s for s in self.stages if wanted in ((s.name or "").lower(), str(s.index))]
        named = [s for s in found if s.name and s.name.lower() == wanted]
        if not found:
            names = [stage.label for stage in self.stages]
            raise DockerfileError(
                f"There is no stage called {name}.", path=self.path, line=0,
                mend=did_you_mean(str(name), names) or f"Stages: {', '.join(names)}.",
            )  # fmt: skip
        return (named or found)[-1]

    def needed(self, target: str | int | None = None) -> tuple[Stage, ...]:
        """Return the stages that the target needs, in build order, the target last.

        BuildKit builds these and no others:
        https://docs.docker.com/build/building/multi-stage/#differences-between-legacy-builder-and-buildkit
        """
        sources: dict[int, list[int]] = defaultdict(list)
        for edge in self.edges:
            if isinstance(edge.source, int):
                sources[edge.target].append(edge.source)
        order: dict[int, None] = {}
        pending = [self._target(target).index]
        while pending:
            index = pending[-1]
            missing = [source for source in sources[index] if source not in order]
            if missing:
                pending.extend(missing)
            else:
                order.setdefault(pending.pop())
        return tuple(self.stages[index] for index in order)

    def skipped(self, target: str | int | None = None) -> tuple[Stage, ...]:
        """Return the stages that the target does not need."""
        needed = {stage.index for stage in self.needed(target)}
        return tuple(stage for stage in self.stages if stage.index not in needed)

    def source_title(self, edge: Edge) -> str:
        """Return what an edge takes from, in words: a stage's title, or an image's name as such."""
        if isinstance(edge.source, int):
            return self.stages[edge.source].title
        plain = not set(edge.source) & set("/:@.")  # a stage may have been meant
        return f"{edge.source} ({'no stage of that name: ' if plain else ''}an image)"

    def external_images(self, target: str | int | None = None) -> tuple[ExternalImage, ...]:
        """Return the images that the target needs from a registry, each once."""
        needed = {stage.index for stage in self.needed(target)}
        images: dict[str, ExternalImage] = {}
        for edge in self.edges:
            source = edge.source
            if edge.target in needed and isinstance(source, str) and source != "scratch":
                images.setdefault(source, ExternalImage(source, edge.line))
        return tuple(images.values())

    def suspicious_images(self) -> tuple[tuple[ExternalImage, str], ...]:
        """Return images of ``--from`` whose name is nearly a stage's, each with that stage's name.

        An engine would look for an image called ``buidler``.
        """
        names = [stage.name for stage in self.stages if stage.name]
        found = []
        for edge in self.edges:
            if edge.kind != "from" and isinstance(edge.source, str) and "/" not in edge.source:
                near = nearest(edge.source, names)
                if near is not None:
                    found.append((ExternalImage(edge.source, edge.line), near))
        return tuple(found)

    def _target(self, target: str | int | None) -> Stage:
        return self.final if target is None else self.stage(target)
