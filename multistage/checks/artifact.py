"""The lab's lines with the learner's own names in them: their builder stage, their artifact."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from multistage.checks.starting import chain, workdir
from multistage.dockerfile import Dockerfile, Stage
from multistage.labs import LabFolder

_OUTPUT = re.compile(r"(?<!\S)-o[ =]([\w./-]*[\w-])(?!\S)")  # of go build, and of other compilers


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a builder stage makes: in which stage, and its path there."""

    stage: Stage
    path: str


def find_artifact(lab: LabFolder, model: Dockerfile) -> Artifact | None:
    """Return where the learner's Dockerfile makes the artifact, ``None`` where that is not plain.

    A stage that the final image goes on from is no builder stage.
    """
    if lab.artifact is None:
        return None
    shipped = {stage.index for stage in chain(model)}
    for stage in reversed(model.stages):
        if stage.index in shipped:
            continue
        for run in reversed(stage.instructions):
            text = " ".join((*run.values, *(document.content for document in run.heredocs)))
            if run.keyword == "RUN" and lab.artifact.made_by in " ".join(text.split()):
                output = _OUTPUT.search(text)
                name = output[1] if output else posixpath.basename(lab.artifact.path)
                path = posixpath.normpath(posixpath.join(workdir(model, stage), name))
                return None if {"$", " "} & set(path) else Artifact(stage, path)
    return None


def with_own_names(lab: LabFolder, model: Dockerfile) -> LabFolder:
    """Return the lab, the hints of its checks with the learner's stage and path in them."""
    found = find_artifact(lab, model)
    if found is None or lab.artifact is None:
        return lab
    names = {
        f"--from={lab.artifact.stage} ": f"--from={found.stage.label} ",
        lab.artifact.path: found.path,
    }

    def own(hint: str) -> str:
        for name, mine in names.items():
            hint = hint.replace(name, mine)
        return hint

    return replace(
        lab,
        start_line=own(lab.start_line),
        requests=tuple(replace(r, hints=tuple(map(own, r.hints))) for r in lab.requests),
        absent=tuple(replace(a, hints=tuple(map(own, a.hints))) for a in lab.absent),
    )
