"""The line to write where a copy did not find its source: the learner's own, mended."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from multistage.advice import Failure, advise
from multistage.checks.artifact import find_artifact
from multistage.checks.starting import workdir
from multistage.dockerfile import Dockerfile, DockerfileError, Instruction, Stage, parse
from multistage.errors import LearnerError
from multistage.labs import LabFolder

_SYSTEM = "not-in-base"
_NOT_FOUND = ("source-not-in-stage", "source-not-in-context", _SYSTEM)
_SOURCE_AND_DESTINATION = 2


def line_to_write(lab: LabFolder, error: LearnerError) -> str:
    """Return what to write where ``error`` says, empty where its file does not tell."""
    path, _, line = error.where.rpartition(":")
    try:
        model = parse(Path(path).read_bytes(), path)
        starter = parse(lab.before_dockerfile.read_bytes(), str(lab.before_dockerfile))
    except (OSError, ValueError, DockerfileError):
        return ""
    for stage in model.stages:
        for copy in stage.instructions:
            if copy.keyword == "COPY" and str(copy.line) == line:
                found = _advice(copy, error)
                if found == _SYSTEM:
                    return _known(lab, copy) or _look(model, stage, copy)
                if found in _NOT_FOUND:
                    mended = _mended(model, stage, copy) or _artifact(lab, model, copy)
                    return mended or _left_out(model, starter)
    return ""


def _advice(copy: Instruction, error: LearnerError) -> str:
    found = advise(Failure(error.what, step=f"] {copy.original}"))
    return found.advice.name if found else ""


def _known(lab: LabFolder, copy: Instruction) -> str:
    """Return the lab's own line for a file that a base image keeps at another place."""
    path = posixpath.normpath(copy.values[0])
    lines = [request.hints[-1] for request in lab.requests]
    return next((s for s in lines if posixpath.basename(path) in s and path not in s), "")


def _look(model: Dockerfile, stage: Stage, copy: Instruction) -> str:
    """Return how to look where a stage keeps what was not found."""
    source, _ = _meant(model, stage, copy)
    if source is None or {" ", "$", ";", "&", "|", "`"} & set(copy.values[0]):
        return ""
    folder = posixpath.dirname(posixpath.normpath(copy.values[0]))
    target = f"docker build --target {source.label} -t look ."
    return f"To see what that stage has: {target} and docker run --rm look ls {folder}"


def _mended(model: Dockerfile, stage: Stage, copy: Instruction) -> str:
    """Return the copy as it should be, empty where its path is as good as any."""
    if len(copy.values) != _SOURCE_AND_DESTINATION or copy.heredocs:
        return ""
    source, why = _meant(model, stage, copy)
    if source is None:
        return ""
    path, destination = copy.values
    if {" ", "$"} & set(f"{path}{destination}{workdir(model, source)}"):
        return ""  # what is quoted, or replaced in one stage and not in the other
    named, line = _named(source, posixpath.basename(posixpath.normpath(path)))
    folder = workdir(model, source)
    if named and (named != path or copy.flag("from") is None):
        path, why = named, f"as line {line} makes it there"
    elif not named and not _below(path, folder):
        path = posixpath.join(folder, posixpath.basename(posixpath.normpath(path)))
    elif copy.flag("from") is not None and not why.endswith(_AS_PULLED):
        return ""
    flags = [flag for flag in copy.flags if not flag.startswith("--from=")]
    words = ["COPY", f"--from={source.label}", *flags, path, destination]
    return f"Line {copy.line}, {why}: {' '.join(words)}"


_AS_PULLED = "is the image as it is pulled"  # without what its stage adds


def _meant(model: Dockerfile, stage: Stage, copy: Instruction) -> tuple[Stage | None, str]:
    """Return the stage that the copy is most likely to mean, and words for why."""
    above = model.stages[: stage.index]
    place = (stage.index, copy.line, "copy")
    origin = next((e.source for e in model.edges if (e.target, e.line, e.kind) == place), None)
    if origin is None:
        source = above[-1] if above else None
    elif isinstance(origin, int):
        source = model.stages[origin]
    else:
        built = [s for s in above if s.base == origin]
        return (built[-1] if built else None), f"for {origin} {_AS_PULLED}"
    return source, f"if {source.title} makes it in its WORKDIR" if source else ""


def _named(stage: Stage, name: str) -> tuple[str, int]:
    """Return the path of this name that a stage's last command has in it, and its line."""
    path = re.compile(rf"(?<![\w./-])/(?:[\w.-]+/)*{re.escape(name)}(?![\w./-])")
    for run in reversed(stage.instructions):
        if run.keyword == "RUN" and name and (found := path.search(run.original)) is not None:
            return found[0], run.line
    return "", 0


def _below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _artifact(lab: LabFolder, model: Dockerfile, copy: Instruction) -> str:
    """Return the copy with what the builder stage makes as its source, where that is plain."""
    made = find_artifact(lab, model)
    if made is None or copy.flag("from") is None or made.path in copy.values[:-1]:
        return ""
    line = f"COPY --from={made.stage.label} {made.path} {copy.values[-1]}"
    return f"Line {copy.line}, as {made.stage.title} makes it there: {line}"


def _left_out(model: Dockerfile, starter: Dockerfile) -> str:
    """Return the command that the starter runs and the learner's file does not."""
    own = "\n".join(
        text
        for i in model.instructions
        if i.keyword == "RUN"
        for text in (" ".join(i.original.split()), *(h.content for h in i.heredocs))
    )
    for instruction in starter.instructions:
        if instruction.keyword == "RUN" and _command(instruction) not in own:
            return f"The starter has this line, and yours does not: {instruction.original}"
    return ""


def _command(run: Instruction) -> str:
    """Return a command without its options: ``go build`` of ``RUN go build -o /server``."""
    words = " ".join(run.values).split()
    options = [place for place, word in enumerate(words) if word.startswith("-")]
    return " ".join(words[: options[0]] if options else words)
