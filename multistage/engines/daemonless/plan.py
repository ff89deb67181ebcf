"""A stage's instructions to steps, every variable replaced: what is to be done, not how. Pure.

Source of the rules: the Dockerfile reference (https://docs.docker.com/reference/dockerfile/) and
BuildKit's dockerfile2llb/convert.go.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multistage.dockerfile import Dockerfile, Instruction, Stage
from multistage.dockerfile.variables import arg_values
from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.config import ConfigError
from multistage.engines.daemonless.mounts import RunMount, read_mount
from multistage.engines.daemonless.scope import Scope, content_of

SCRIPT_FOLDER = "/dev/pipes"


@dataclass(frozen=True, slots=True)
class RunStep:
    """A RUN. ``script`` is the file that the command is, where it is a script of its own."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    user: str
    network: str
    mounts: tuple[RunMount, ...]
    script: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CopyStep:
    """A COPY or ADD.

    Attributes:
        origin: the stage or image it takes from; ``None`` for the build context.
        destination: an absolute path; a slash at its end says that it is a folder.
        files: the here-documents among the sources, as names and contents.
    """

    keyword: str
    origin: int | str | None
    sources: tuple[str, ...]
    destination: str
    files: tuple[tuple[str, str], ...] = ()
    chown: str = ""
    chmod: str = ""
    parents: bool = False
    excludes: tuple[str, ...] = ()
    link: bool = False
    checksum: str = ""
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class WorkdirStep:
    """A WORKDIR: a folder to make where it is not there."""

    path: str
    user: str


Step = RunStep | CopyStep | WorkdirStep


@dataclass(frozen=True, slots=True)
class Planned:
    """One instruction, planned.

    Attributes:
        step: what is to be done to the files; ``None`` where only the config changes.
        created_by: its entry in the image's history.
    """

    instruction: Instruction
    step: Step | None
    created_by: str


@dataclass(frozen=True)
class StagePlan:
    """A stage, planned: its steps, and the config it ends with.

    Attributes:
        args: the values of the ARGs at its end, for the stages that build on it.
    """

    stage: Stage
    planned: tuple[Planned, ...]
    config: dict[str, Any]
    author: str = ""
    args: Mapping[str, str] = field(default_factory=dict)


def plan_stage(
    model: Dockerfile,
    stage: Stage,
    base_config: Mapping[str, Any],
    build_args: Mapping[str, str] | None = None,
    triggers: tuple[Instruction, ...] = (),
    *,
    inherited: Mapping[str, str] | None = None,
) -> StagePlan:
    """Return what a stage does, on a base image or stage with this config.

    Args:
        model: the Dockerfile.
        stage: one of its stages.
        base_config: the ``config`` of what it builds on.
        build_args: values given to ARGs.
        triggers: the ONBUILD instructions that its base image carries.
        inherited: the ARGs of the stage that it builds on.

    Raises:
        DockerfileError: an instruction is malformed; names its line.
    """
    scope = Scope(model, copy.deepcopy(dict(base_config)), dict(build_args or {}))
    scope.config.pop("OnBuild", None)
    scope.variables.update(inherited or {})
    scope.variables.update(
        (name, value)
        for name, value in image_config.environment(scope.config).items()
        if name not in scope.variables
    )
    planned = (_plan(i, scope) for i in (*triggers, *stage.instructions))
    # BuildKit writes no history for an ONBUILD.
    kept = tuple(p for p in planned if p.instruction.keyword != "ONBUILD")
    names = {*(inherited or {}), *(name for name, _ in scope.args)}
    args = {name: scope.variables[name] for name in names if name in scope.variables}
    return StagePlan(stage, kept, scope.config, scope.author, args)


def _plan(instruction: Instruction, scope: Scope) -> Planned:
    try:
        step, created_by = _PLANNERS[instruction.keyword](instruction, scope)
    except ConfigError as error:
        raise scope.error(f"{instruction.keyword}: {error}.", instruction) from error
    return Planned(instruction, step, created_by)


_Result = tuple[Step | None, str]


def _run(instruction: Instruction, scope: Scope) -> _Result:
    config = scope.config
    if not instruction.values and not instruction.heredocs:
        raise scope.error("RUN has nothing to run.", instruction, "Write: RUN <command>")
    words = list(instruction.values)
    script = None
    if instruction.heredocs:
        words, script = _heredoc_command(instruction)
    argv = words if instruction.json else [*image_config.shell(config), *words]
    mounts = tuple(
        read_mount(scope.expand(flag, instruction), scope.folder, instruction, scope.model)
        for flag in instruction.all_flags("mount")
    )
    step = RunStep(
        argv=tuple(argv),
        environment={**scope.proxies(), **scope.variables},
        folder=scope.absolute(""),
        user=scope.user,
        network=instruction.flag("network") or "default",
        mounts=mounts,
        script=script,
    )
    shown = [f"{name}={scope.variables.get(name, value)} " for name, value in scope.args]
    prefix = f"|{len(shown)} {''.join(shown)}" if shown else ""
    return step, f"RUN {prefix}{' '.join(argv)} # buildkit"


def _heredoc_command(instruction: Instruction) -> tuple[list[str], tuple[str, str] | None]:
    """Return a RUN's words where it has here-documents, and the script that it may be."""
    text = instruction.values[0] if instruction.values else ""
    first = instruction.heredocs[0]
    if len(instruction.heredocs) > 1 or len(text.split()) != 1 or not text.startswith("<<"):
        # The shell reads the here-documents itself.
        return [text + "".join(f"\n{h.content}{h.name}" for h in instruction.heredocs)], None
    content = content_of(first)
    if content.startswith("#!"):
        return [f"{SCRIPT_FOLDER}/{first.name}"], (first.name, content)
    return [content], None


def _copy(instruction: Instruction, scope: Scope) -> _Result:
    values = [scope.expand(value, instruction) for value in instruction.values]
    *sources, destination = values or [""]  # none in the JSON form of an empty list
    written = {word for word in instruction.values if word.lstrip("0123456789").startswith("<<")}
    files = tuple((h.name, scope.expand_heredoc(h, instruction)) for h in instruction.heredocs)
    if files:
        sources = [
            s for s, raw in zip(sources, instruction.values, strict=False) if raw not in written
        ]
    if not sources and not files:
        raise scope.error(f"{instruction.keyword} has nothing to copy.", instruction)
    if any("\0" in path for path in values):
        raise scope.error(
            f"{instruction.keyword}: a path has the character NUL in it.",
            instruction,
            "Take \\u0000 out: no file's name can have it.",
        )
    target = scope.absolute(destination)
    if destination.endswith(("/", "/.")) or destination in (".", ""):
        target = f"{target.rstrip('/')}/"
    flags = {
        name: scope.expand(instruction.flag(name) or "", instruction)
        for name in ("chown", "chmod", "checksum")
    }
    step = CopyStep(
        keyword=instruction.keyword,
        origin=_origin(instruction, scope),
        sources=tuple(sources),
        destination=target,
        files=files,
        parents=_is_on(instruction, "parents"),
        excludes=tuple(scope.expand(e, instruction) for e in instruction.all_flags("exclude")),
        link=_is_on(instruction, "link"),
        unpack=None if instruction.flag("unpack") is None else _is_on(instruction, "unpack"),
        **flags,
    )
    shown = "".join(f"--{n}={flags[n]} " for n in ("chown", "chmod") if flags[n])
    names = [*sources, *(f"<<{name}" for name, _ in files)]
    return step, f"{instruction.keyword} {shown}{' '.join([*names, destination])} # buildkit"


def _is_on(instruction: Instruction, flag: str) -> bool:
    return instruction.flag(flag) is not None and instruction.flag(flag) != "false"


def _origin(instruction: Instruction, scope: Scope) -> int | str | None:
    name = instruction.flag("from")
    if not name:
        return None
    for edge in scope.model.edges:
        if edge.kind == "copy" and edge.line == instruction.line:
            return edge.source
    return name  # of an instruction that a base image's ONBUILD carries


def _workdir(instruction: Instruction, scope: Scope) -> _Result:
    path = scope.expand(instruction.values[0], instruction)
    if not path.startswith("/"):  # an absolute path stays as it is written
        path = scope.absolute(path)
    scope.config["WorkingDir"] = path
    step = WorkdirStep(path, scope.user) if path != "/" else None
    return step, f"WORKDIR {path}"


def _env(instruction: Instruction, scope: Scope) -> _Result:
    found = {}  # one ENV sees the values from before it
    for name, value in zip(instruction.values[::2], instruction.values[1::2], strict=True):
        found[scope.expand(name, instruction)] = scope.expand(value, instruction)
    for name, value in found.items():
        image_config.set_environment(scope.config, name, value)
    scope.variables.update(found)
    return None, "ENV " + " ".join(f"{name}={value}" for name, value in found.items())


def _arg(instruction: Instruction, scope: Scope) -> _Result:
    words = [scope.expand(word, instruction) for word in instruction.values]
    for name, value in arg_values(words, scope.build_args, scope.model.global_args):
        if value is not None:
            scope.variables[name] = value
        scope.args.append((name, value or ""))
    return None, f"ARG {' '.join(words)}"  # the defaults: what was given is nobody's business


def _label(instruction: Instruction, scope: Scope) -> _Result:
    pairs = zip(instruction.values[::2], instruction.values[1::2], strict=True)
    found = {scope.expand(n, instruction): scope.expand(v, instruction) for n, v in pairs}
    scope.config["Labels"] = {**(scope.config.get("Labels") or {}), **found}
    return None, "LABEL " + " ".join(f"{name}={value}" for name, value in found.items())


def _expose(instruction: Instruction, scope: Scope) -> _Result:
    words = " ".join(scope.expand(value, instruction) for value in instruction.values).split()
    added = image_config.expose(scope.config, words)
    return None, f"EXPOSE map[{' '.join(f'{port}:{{}}' for port in added)}]"


def _user(instruction: Instruction, scope: Scope) -> _Result:
    scope.config["User"] = scope.expand(instruction.values[0], instruction)
    return None, f"USER {scope.config['User']}"


def _volume(instruction: Instruction, scope: Scope) -> _Result:
    paths = [scope.expand(value, instruction) for value in instruction.values]
    if not all(paths):
        raise scope.error("VOLUME has an empty path.", instruction)
    volumes = scope.config.get("Volumes") or {}
    scope.config["Volumes"] = {**volumes, **{path: {} for path in paths}}
    return None, f"VOLUME [{' '.join(paths)}]"


def _command(instruction: Instruction, scope: Scope) -> list[str]:
    words = list(instruction.values)
    return words if instruction.json else [*image_config.shell(scope.config), *words]


def _cmd(instruction: Instruction, scope: Scope) -> _Result:
    scope.config["Cmd"] = _command(instruction, scope)
    scope.config["ArgsEscaped"] = True
    scope.command_is_set = True
    return None, f"CMD {image_config.quoted(scope.config['Cmd'])}"


def _entrypoint(instruction: Instruction, scope: Scope) -> _Result:
    scope.config["Entrypoint"] = _command(instruction, scope)
    if not scope.command_is_set:
        scope.config.pop("Cmd", None)  # the base's CMD belonged to the base's ENTRYPOINT
    return None, f"ENTRYPOINT {image_config.quoted(scope.config['Entrypoint'])}"


def _shell(instruction: Instruction, scope: Scope) -> _Result:
    scope.config["Shell"] = list(instruction.values)
    return None, f"SHELL [{' '.join(instruction.values)}]"


def _stopsignal(instruction: Instruction, scope: Scope) -> _Result:
    name = scope.expand(instruction.values[0], instruction)
    image_config.check_signal(name)
    scope.config["StopSignal"] = name
    return None, f"STOPSIGNAL {scope.config['StopSignal']}"


def _healthcheck(instruction: Instruction, scope: Scope) -> _Result:
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in instruction.flags)
    found = image_config.healthcheck(flags, instruction.values, json_form=instruction.json)
    scope.config["Healthcheck"] = found
    return None, f"HEALTHCHECK {image_config.shown_healthcheck(found)}"


def _onbuild(instruction: Instruction, scope: Scope) -> _Result:
    carried = instruction.onbuild
    assert carried is not None
    text = carried.original
    if carried.heredocs:
        text += "".join(f"\n{h.content}{h.name}" for h in carried.heredocs)
    scope.config["OnBuild"] = [*(scope.config.get("OnBuild") or []), text]
    return None, f"ONBUILD {text}"


def _maintainer(instruction: Instruction, scope: Scope) -> _Result:
    scope.author = instruction.values[0]
    return None, f"MAINTAINER {instruction.values[0]}"


_PLANNERS = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
