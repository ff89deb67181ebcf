"""Instructions to stages, and the edges between them: what each takes from which.

Source: BuildKit's instructions/parse.go and dockerfile2llb/convert.go,
https://github.com/moby/buildkit/tree/master/frontend/dockerfile
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from multistage.dockerfile.errors import DockerfileError, did_you_mean, nearest
from multistage.dockerfile.parser import Instruction, ParsedFile
from multistage.dockerfile.variables import VariableError, expand

_STAGE_NAME = re.compile(r"^[a-z][a-z0-9-_.]*$")


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
    """A Dockerfile as stages and edges."""

    path: str
    directives: Mapping[str, str] = field(hash=False)
    escape: str
    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]

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
        found = _find(self.stages, name) if isinstance(name, str) else None
        if found is None and str(name).isdecimal() and int(name) < len(self.stages):
            found = self.stages[int(name)]
        if found is None:
            names = [stage.label for stage in self.stages]
            raise DockerfileError(
                f"There is no stage called {name}.", path=self.path, line=0,
                mend=did_you_mean(str(name), names) or f"Stages: {', '.join(names)}.",
            )  # fmt: skip
        return found

    def needed(self, target: str | int | None = None) -> tuple[Stage, ...]:
        """Return the stages that the target needs, in build order, the target last.

        BuildKit builds these and no others:
        https://docs.docker.com/build/building/multi-stage/#differences-between-legacy-builder-and-buildkit
        """
        order: dict[int, None] = {}
        pending = [self._target(target).index]
        while pending:
            index = pending[-1]
            missing = [source for source in self._sources(index) if source not in order]
            if missing:
                pending.extend(missing)
            else:
                order.setdefault(pending.pop())
        return tuple(self.stages[index] for index in order)

    def skipped(self, target: str | int | None = None) -> tuple[Stage, ...]:
        """Return the stages that the target does not need."""
        needed = {stage.index for stage in self.needed(target)}
        return tuple(stage for stage in self.stages if stage.index not in needed)

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

    def _sources(self, index: int) -> list[int]:
        return [e.source for e in self.edges if e.target == index and isinstance(e.source, int)]


def model(parsed: ParsedFile, build_args: Mapping[str, str], platform: str) -> Dockerfile:
    """Return the stages and edges of a parsed Dockerfile.

    Raises:
        DockerfileError: there is no FROM, a stage's name is bad, stages need each other in a
            circle, or a variable is malformed.
    """
    global_args, groups = _split(parsed, build_args, platform)
    stages: list[Stage] = []
    scope = _Scope(parsed.path, parsed.escape, global_args, build_args)
    for group in groups:
        stages.append(_stage(group, stages, scope))
    edges = tuple(edge for stage in stages for edge in _edges(stage, stages, scope))
    dockerfile = Dockerfile(
        parsed.path, parsed.directives, parsed.escape, parsed.instructions, tuple(stages), edges
    )
    _refuse_cycles(dockerfile)
    return dockerfile


@dataclass(frozen=True, slots=True)
class _Scope:
    """What all stages share."""

    path: str
    escape: str
    global_args: Mapping[str, str]
    build_args: Mapping[str, str]

    def expand(self, text: str, variables: Mapping[str, str], line: int) -> str:
        try:
            return expand(text, variables, self.escape)
        except VariableError as error:
            raise DockerfileError(
                f"A variable cannot be replaced: {error}.", path=self.path, line=line,
                mend="Write ${NAME}, or ${NAME:-a value for when it is not set}.",
            ) from error  # fmt: skip

    def error(self, what: str, line: int, mend: str = "") -> DockerfileError:
        return DockerfileError(what, path=self.path, line=line, mend=mend)


def platform_args(platform: str) -> dict[str, str]:
    """Return the predefined platform ARGs.

    https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
    """
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    values = {"PLATFORM": platform, "OS": system, "ARCH": architecture, "VARIANT": variant}
    return {f"{side}{key}": v for side in ("BUILD", "TARGET") for key, v in values.items()}


def _split(
    parsed: ParsedFile, build_args: Mapping[str, str], platform: str
) -> tuple[dict[str, str], list[list[Instruction]]]:
    """Return the global ARGs and the instructions of each stage, its FROM first."""
    scope = _Scope(parsed.path, parsed.escape, {}, build_args)
    global_args = platform_args(platform)
    groups: list[list[Instruction]] = []
    for instruction in parsed.instructions:
        if instruction.keyword == "FROM":
            groups.append([instruction])
        elif groups:
            groups[-1].append(instruction)
        elif instruction.keyword == "ARG":
            _declare(instruction, global_args, {}, scope)
        else:
            raise scope.error(
                f"{instruction.keyword} stands before the first FROM.", instruction.line,
                "Begin with FROM; only ARG may come before it.",
            )  # fmt: skip
    if not groups:
        raise scope.error("There is no FROM.", 1, "Begin with: FROM <base image>")
    return global_args, groups


def _declare(
    instruction: Instruction,
    variables: dict[str, str],
    inherited: Mapping[str, str],
    scope: _Scope,
) -> None:
    """Put an ARG's names in force: a build argument first, then its default, then the global."""
    for word in instruction.values:
        name, has_default, default = word.partition("=")
        if name in scope.build_args:
            variables[name] = scope.build_args[name]
        elif has_default:
            variables[name] = scope.expand(default, variables, instruction.line)
        elif name in inherited:
            variables[name] = inherited[name]


def _stage(group: list[Instruction], earlier: list[Stage], scope: _Scope) -> Stage:
    origin, *instructions = group
    name, reference = _from_words(origin, scope)
    base = scope.expand(reference, scope.global_args, origin.line)
    if not base:
        raise scope.error(
            f"FROM {reference} names no image: the variable is empty.", origin.line,
            "Give the ARG before the first FROM a value.",
        )  # fmt: skip
    parent = _find(earlier, base)
    platform = origin.flag("platform")
    variables = dict(parent.variables) if parent else {}
    triggers = [i.onbuild for i in parent.instructions if i.onbuild] if parent else []
    carried = [*(trigger for trigger in triggers if trigger is not None), *instructions]
    _run_through(carried, variables, scope)
    return Stage(
        index=len(earlier),
        name=name,
        base=base,
        base_stage=parent.index if parent else None,
        platform=scope.expand(platform, scope.global_args, origin.line) if platform else None,
        from_instruction=origin,
        instructions=tuple(carried),
        variables=variables,
    )


def _from_words(origin: Instruction, scope: _Scope) -> tuple[str | None, str]:
    """Return the stage's name and the reference of its base."""
    words = origin.values
    if len(words) == 1:
        return None, words[0]
    if len(words) != 3 or words[1].upper() != "AS":
        raise scope.error(
            "FROM takes an image, and AS with a name.", origin.line,
            "Write: FROM <base image> [AS <stage>]; put a comment on a line of its own.",
        )  # fmt: skip
    if not _STAGE_NAME.match(words[2].lower()):
        raise scope.error(
            f"{words[2]} cannot be a stage's name.", origin.line,
            "A name begins with a letter; letters, digits, dots, dashes and underscores follow.",
        )  # fmt: skip
    return words[2], words[0]


def _run_through(
    instructions: list[Instruction], variables: dict[str, str], scope: _Scope
) -> None:
    """Put the values of ARG and ENV in force, in order."""
    environment: set[str] = set()
    for instruction in instructions:
        if instruction.keyword == "ARG":
            declared: dict[str, str] = dict(variables)
            _declare(instruction, declared, scope.global_args, scope)
            # ENV always overrides an ARG of the same name.
            variables.update({k: v for k, v in declared.items() if k not in environment})
        elif instruction.keyword == "ENV":
            before = dict(variables)  # one ENV sees the values from before it
            for name, value in zip(
                instruction.values[::2], instruction.values[1::2], strict=True
            ):
                key = scope.expand(name, before, instruction.line)
                variables[key] = scope.expand(value, before, instruction.line)
                environment.add(key)


def _find(stages: list[Stage] | tuple[Stage, ...], name: str) -> Stage | None:
    """Return the last stage called ``name``, whatever the case."""
    wanted = name.lower()
    return next((s for s in reversed(stages) if s.name and s.name.lower() == wanted), None)


def _edges(stage: Stage, stages: list[Stage], scope: _Scope) -> Iterator[Edge]:
    base = stage.base if stage.base_stage is None else stage.base_stage
    yield Edge(base, stage.index, "from", stage.line, ())
    for instruction in stage.instructions:
        origin = instruction.flag("from") if instruction.keyword == "COPY" else None
        if origin:
            source = _source(origin, stage, stages, instruction.line, scope)
            paths = tuple(
                scope.expand(value, stage.variables, instruction.line)
                for value in instruction.values
            )
            yield Edge(source, stage.index, "copy", instruction.line, paths)
        for mount in instruction.all_flags("mount") if instruction.keyword == "RUN" else ():
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if options.get("from"):
                source = _source(options["from"], stage, stages, instruction.line, scope)
                places = (options.get("source") or options.get("src") or "/", _mount_target(options))
                yield Edge(source, stage.index, "mount", instruction.line, places)


def _mount_target(options: Mapping[str, str]) -> str:
    return options.get("target") or options.get("dst") or options.get("destination") or ""


def _source(
    origin: str, stage: Stage, stages: list[Stage], line: int, scope: _Scope
) -> int | str:
    """Return the stage or image that ``--from=origin`` means."""
    found = _find(stages, origin)
    if found is not None:
        return found.index
    if not origin.isdecimal():
        return origin
    index = int(origin)
    if index >= len(stages) or index == stage.index:
        raise scope.error(
            f"There is no stage {index} to take from.", line,
            "Stages count from 0; better, name the stage: FROM … AS builder",
        )  # fmt: skip
    return index


def _refuse_cycles(dockerfile: Dockerfile) -> None:
    """Raise where stages need each other in a circle."""
    done: set[int] = set()
    for start in dockerfile.stages:
        path: list[tuple[int, Iterator[Edge]]] = []
        if start.index not in done:
            path.append((start.index, _outgoing(dockerfile, start.index)))
        while path:
            index, edges = path[-1]
            edge = next(edges, None)
            if edge is None:
                done.add(index)
                path.pop()
            elif isinstance(edge.source, int) and edge.source not in done:
                if any(edge.source == other for other, _ in path):
                    name = dockerfile.stages[edge.source].label
                    raise DockerfileError(
                        f"Stage {name} needs itself, through {edge.kind} in line {edge.line}.",
                        path=dockerfile.path, line=edge.line,
                        mend="Take from a stage that is built before this one.",
                    )  # fmt: skip
                path.append((edge.source, _outgoing(dockerfile, edge.source)))


def _outgoing(dockerfile: Dockerfile, index: int) -> Iterator[Edge]:
    return (edge for edge in dockerfile.edges if edge.target == index)
