"""The video's checklist, ticked by what the learner's Dockerfiles do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from multistage import labs, record
from multistage.builds import Announce, Build, build, read_dockerfile
from multistage.checks import check_lab
from multistage.dockerfile import Dockerfile
from multistage.engines import Engine, choose
from multistage.errors import LearnerError
from multistage.finding import works
from multistage.panels import build_panel
from multistage.shown import Shown
from multistage.units import times_smaller

_DRAMATIC = 3  # times smaller, at the least


@dataclass(frozen=True, slots=True)
class Converted:
    """What a lab's Dockerfile shows of the learner's understanding.

    Attributes:
        title: the lab's title.
        stages: how many stages it has.
        names: the stages that it copies from by name.
        ratio: the after image's unpacked size over the before image's; ``None`` if it was not
            built, or does not work.
        works: whether all required checks pass.
        problem: why it could not be built, empty where it could.
    """

    title: str
    stages: int
    names: tuple[str, ...] = ()
    ratio: float | None = None
    works: bool = False
    problem: str = ""


def tick(found: tuple[Converted, ...]) -> list[str]:
    """Return the video's checklist, each box ticked or with what is missing."""
    multi = [lab for lab in found if lab.stages > 1]
    small = [lab for lab in multi if lab.ratio is not None and lab.ratio * _DRAMATIC <= 1]
    named = [lab for lab in multi if lab.names and lab.works]
    titles = ", ".join(lab.title for lab in multi)
    ratios = "; ".join(f"{lab.title}: {_times(lab)}" for lab in small)
    names = "; ".join(f"{lab.title}: from {', '.join(lab.names)}" for lab in named)
    lines = [
        _box(titles, "Converted a single-stage Dockerfile to multi-stage",
             "add a second FROM in a lab's Dockerfile"),
        _box(ratios, "Confirmed final image is dramatically smaller",
             f"no converted image is at least {_DRAMATIC} times smaller yet"),
        _box(names, "Used COPY --from and named stages",
             "copy from a stage by its name, in a lab whose checks all pass"),
    ]  # fmt: skip
    lines += [f"    {lab.title} does not build: {lab.problem}" for lab in found if lab.problem]
    return lines


def _box(proof: str, claim: str, missing: str) -> str:
    return f"[x] {claim}. {proof}." if proof else f"[ ] {claim}. Missing: {missing}."


def _times(lab: Converted) -> str:
    assert lab.ratio is not None
    return times_smaller(1_000_000, max(1, round(lab.ratio * 1_000_000)))


def named_sources(model: Dockerfile) -> tuple[str, ...]:
    """Return the names of the stages that are copied from by name, not by number."""
    found = []
    for edge in model.edges:
        if edge.kind == "copy" and isinstance(edge.source, int):
            name = model.stages[edge.source].name
            line = next(i for i in model.instructions if i.line == edge.line)
            if name and f"--from={name}".lower() in (flag.lower() for flag in line.flags):
                found.append(name)
    return tuple(dict.fromkeys(found))


def checklist() -> Shown:
    """Return the checklist; builds and checks each lab that is converted."""
    engine = choose()
    with build_panel("Looking at the labs") as panel:
        found = tuple(_look_at(engine, lab, panel.announce) for lab in labs.labs())
    note = record.take_note()
    return Shown("\n".join([*tick(found), *([note] if note else [])]))


def _look_at(engine: Engine, lab: labs.LabFolder, announce: Announce) -> Converted:
    announce(lab.title)
    try:
        model = read_dockerfile(lab.dockerfile, lab.app)
        if not model.is_multistage:
            return Converted(lab.title, len(model.stages))
        before = _built(engine, lab, "before", lab.before_dockerfile, announce)
        after = _built(engine, lab, "after", lab.dockerfile, announce)
        report = check_lab(engine, lab, after)
    except LearnerError as error:
        return Converted(lab.title, 0, problem=f"{error.what} {error.mend}".strip())
    names = named_sources(model)
    ratio = _ratio(before, after) if works(report.checks) else None
    return Converted(lab.title, len(model.stages), names, ratio, report.passed)


def _built(
    engine: Engine, lab: labs.LabFolder, which: str, dockerfile: Path, announce: Announce
) -> Build:
    text = record.text_of(dockerfile)
    built = build(engine, lab.app, tag=lab.tag(which), dockerfile=dockerfile, announce=announce)
    record.add_measured(lab, dockerfile, text, built)
    return built


def _ratio(before: Build, after: Build) -> float | None:
    return after.unpacked_size / before.unpacked_size if before.unpacked_size else None
