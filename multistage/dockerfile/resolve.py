"""Instructions to stages, and the edges between them: what each takes from which.

Source: BuildKit's instructions/parse.go and dockerfile2llb/convert.go,
https://github.com/moby/buildkit/tree/master/frontend/dockerfile
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from multistage.dockerfile.errors import DockerfileError
from multistage.dockerfile.parser import Instruction, ParsedFile
from multistage.dockerfile.rules import check_rules
from multistage.dockerfile.stages import Dockerfile, Edge, Stage
from multistage.dockerfile.variables import VariableError, arg_values, expand

_STAGE_NAME = re.compile(r"^[a-z][a-z0-9-_.]*$")
_INDEX = re.compile(r"^[0-9]+$")
_INDEX_DIGITS = 9
_WORDS_WITH_NAME = 3  # FROM image AS name
_TARGETS = ("target", "dst", "destination")


def model(parsed: ParsedFile, build_args: Mapping[str, str], platform: str) -> Dockerfile:
    """Return the stages and edges of a parsed Dockerfile.

    Raises:
        DockerfileError: there is no FROM, a stage's name is bad, a stage takes from one that is
            not above it, or an instruction or a variable is malformed.
    """
    global_args, groups = _split(parsed, build_args, platform)
    scope = _Scope(parsed.path, parsed.escape, global_args, build_args)
    above = _Above(groups, scope)
    stages: list[Stage] = []
    edges: list[Edge] = []
    for group in groups:
        stage = _stage(group, above, scope)
        edges += _edges(stage, above, scope)
        above.add(stage)
        stages.append(stage)
    return Dockerfile(
        parsed.path,
        parsed.directives,
        parsed.escape,
        parsed.instructions,
        tuple(stages),
        tuple(edges),
        global_args,
    )


class _Above:
    """The stages above the one that is being read: the only ones it can take from."""

    def __init__(self, groups: list[list[Instruction]], scope: _Scope) -> None:
        self.stages: list[Stage] = []
        self._by_name: dict[str, Stage] = {}
        self._lines: dict[str, int] = {}  # of all stages, also those that are to come
        for index, (origin, *_) in enumerate(groups):
            name, _ = _from_words(origin, scope)
            self._lines[str(index)] = origin.line
            if name:
                self._lines[name.lower()] = origin.line

    def _current_line(self) -> int:
        return self._lines[str(len(self.stages))]

    def add(self, stage: Stage) -> None:
        self.stages.append(stage)
        if stage.name:
            self._by_name[stage.name.lower()] = stage

    def named(self, name: str) -> Stage | None:
        """Return the nearest stage above that is called ``name``, whatever the case."""
        return self._by_name.get(name.lower())

    def source(self, origin: str, line: int, scope: _Scope) -> int | str:
        """Return the stage or image that ``--from=origin`` means."""
        found = self.named(origin)
        if found is not None:
            return found.index
        if _INDEX.match(origin) and len(origin) <= _INDEX_DIGITS and int(origin) < len(self.stages):
            return int(origin)
        if origin.lower() in self._lines:
            own = self._lines[origin.lower()] == self._current_line()
            place = "itself" if own else f"{origin}, which is not above it"
            raise scope.error(
                f"A stage cannot take from {place}.", line,
                "Stages take from stages above them: split this one, or change the order.",
            )  # fmt: skip
        if _INDEX.match(origin):
            raise scope.error(
                f"There is no stage {origin} to take from.", line,
                "Stages count from 0; better, name the stage: FROM … AS builder",
            )  # fmt: skip
        return origin


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
            check_rules(instruction, parsed.path)
            _declare_global(instruction, global_args, scope)
        else:
            raise scope.error(
                f"{instruction.keyword} stands before the first FROM.", instruction.line,
                "Begin with FROM; only ARG may come before it.",
            )  # fmt: skip
    if not groups:
        raise scope.error("There is no FROM.", 1, "Begin with: FROM <base image>")
    return global_args, groups


def _declare_global(instruction: Instruction, variables: dict[str, str], scope: _Scope) -> None:
    """Put a global ARG's names in force; here, unlike in a stage, a word sees those before it."""
    for word in instruction.values:
        name, has_default, default = word.partition("=")
        if name in scope.build_args:
            variables[name] = scope.build_args[name]
        elif has_default:
            variables[name] = scope.expand(default, variables, instruction.line)


def _stage(group: list[Instruction], above: _Above, scope: _Scope) -> Stage:
    origin, *instructions = group
    name, reference = _from_words(origin, scope)
    base = scope.expand(reference, scope.global_args, origin.line)
    if not base:
        raise scope.error(
            f"FROM {reference} names no image: the variable is empty.", origin.line,
            "Give the ARG before the first FROM a value.",
        )  # fmt: skip
    parent = above.named(base)
    platform = origin.flag("platform")
    variables = dict(parent.variables) if parent else {}
    triggers = [i.onbuild for i in parent.instructions if i.onbuild] if parent else []
    carried = [*(trigger for trigger in triggers if trigger is not None), *instructions]
    for instruction in carried:
        check_rules(instruction, scope.path)
    _run_through(carried, variables, scope)
    return Stage(
        index=len(above.stages),
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
    if len(words) != _WORDS_WITH_NAME or words[1].upper() != "AS":
        raise scope.error(
            "FROM takes one image; a name for the stage goes after AS.", origin.line,
            "Write: FROM <base image> AS <stage>, and a comment on a line of its own.",
        )  # fmt: skip
    if not _STAGE_NAME.match(words[2].lower()):
        raise scope.error(
            f"{words[2]} cannot be a stage's name.", origin.line,
            "A name begins with a letter; letters, digits, dots, dashes and underscores follow.",
        )  # fmt: skip
    return words[2], words[0]


def _run_through(instructions: list[Instruction], variables: dict[str, str], scope: _Scope) -> None:
    """Put the values of ARG and ENV in force, in order."""
    for instruction in instructions:
        if instruction.keyword == "ARG":
            # An ARG behind an ENV of the same name overrides it, whatever the reference says.
            words = [scope.expand(word, variables, instruction.line) for word in instruction.values]
            declared = arg_values(words, scope.build_args, scope.global_args)
            variables.update((name, value) for name, value in declared if value is not None)
        elif instruction.keyword == "ENV":
            found = {}  # one ENV sees the values from before it
            for name, value in zip(instruction.values[::2], instruction.values[1::2], strict=True):
                key = scope.expand(name, variables, instruction.line)
                found[key] = scope.expand(value, variables, instruction.line)
            variables.update(found)


def _edges(stage: Stage, above: _Above, scope: _Scope) -> Iterator[Edge]:
    base = stage.base if stage.base_stage is None else stage.base_stage
    yield Edge(base, stage.index, "from", stage.line, ())
    for instruction in stage.instructions:
        origin = instruction.flag("from") if instruction.keyword == "COPY" else None
        if origin:
            source = above.source(origin, instruction.line, scope)
            paths = tuple(
                scope.expand(value, stage.variables, instruction.line)
                for value in instruction.values
            )
            yield Edge(source, stage.index, "copy", instruction.line, paths)
        for mount in instruction.all_flags("mount") if instruction.keyword == "RUN" else ():
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if options.get("from"):
                source = above.source(options["from"], instruction.line, scope)
                places = (_first(options, "source", "src") or "/", _first(options, *_TARGETS))
                yield Edge(source, stage.index, "mount", instruction.line, places)


def _first(options: Mapping[str, str], *names: str) -> str:
    """Return the first of these options that is given, empty where none is."""
    return next((options[name] for name in names if options.get(name)), "")
