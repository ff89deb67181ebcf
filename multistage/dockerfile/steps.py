"""The steps of a stage, as BuildKit counts and names them: ``[builder 4/6] RUN npm ci``.

Source: https://github.com/moby/buildkit/blob/master/frontend/dockerfile/dockerfile2llb/convert.go
"""

from __future__ import annotations

from multistage.dockerfile.stages import Dockerfile, Stage

_STEP_KEYWORDS = {"ADD", "COPY", "RUN", "WORKDIR"}


def step_numbers(stage: Stage) -> dict[int, int]:
    """Return, for each line of ``stage`` that is a build step, its number as BuildKit counts."""
    first = 1 if stage.base_stage is not None or stage.base == "scratch" else 2
    lines = [i.line for i in stage.instructions if i.keyword in _STEP_KEYWORDS]
    return {line: first + place for place, line in enumerate(lines)}


def step_stage(model: Dockerfile, stage: Stage) -> str | None:
    """Return the name BuildKit's steps give ``stage``: none in a single-stage Dockerfile."""
    if len(model.stages) == 1:
        return None
    return stage.name.lower() if stage.name else f"stage-{stage.index}"
