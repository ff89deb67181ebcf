"""Is the learner's image right? Judged by what it does first, by how it is written second.

Each check is a small function that returns a :class:`CheckResult`. ``behaviour`` asks the running
container, ``contents`` and ``secrets`` look into the layers, ``structure`` reads the Dockerfile.
``artifact``, ``building`` and ``starting`` make the line to write out of the learner's own.
"""

from __future__ import annotations

from pathlib import Path

from multistage.builds import Announce, Build, build, read_dockerfile, read_image
from multistage.checks.artifact import with_own_names
from multistage.checks.before import look_at_before
from multistage.checks.behaviour import check_behaviour
from multistage.checks.building import line_to_write
from multistage.checks.contents import check_contents
from multistage.checks.requests import (
    Answer,
    ask,
    reachable_upstream,
    start_hint,
    upstream_environment,
    wait_until_it_answers,
)
from multistage.checks.results import CheckReport, CheckResult, result
from multistage.checks.secrets import check_secrets
from multistage.checks.structure import check_structure
from multistage.engines import Engine, Report, ignore
from multistage.errors import LearnerError
from multistage.labs import LabFolder

__all__ = [
    "Answer",
    "CheckReport",
    "CheckResult",
    "ask",
    "build_and_check",
    "check_lab",
    "does_not_build",
    "reachable_upstream",
    "start_hint",
    "upstream_environment",
    "wait_until_it_answers",
]

_BUILDS = "The Dockerfile builds"


def _quiet(_line: str) -> None:
    """Announce nothing."""


def check_lab(
    engine: Engine,
    lab: LabFolder,
    built: Build,
    dockerfile: Path | None = None,
    *,
    report: Report = ignore,
    announce: Announce = _quiet,
) -> CheckReport:
    """Run the lab's checks on an image, built from the learner's Dockerfile or another one.

    Raises:
        LearnerError: the Dockerfile cannot be read any more.
        MachineError: the engine falls short, or the before image does not build.
    """
    model = read_dockerfile(dockerfile or lab.dockerfile, lab.app)
    before = look_at_before(engine, lab, report, announce)
    lab = with_own_names(lab, model)
    image = read_image(engine, built.image_id, keep_files=True, keep_digests=True)
    required, *style = check_structure(model)
    results = (
        result("builds", _BUILDS, True, f"It built in {built.seconds:.1f} s.", ()),
        required,
        *check_behaviour(engine, lab, image, model, image_id=built.image_id, before=before),
        *check_contents(lab, built, image, before.copies),
        check_secrets(model, image),
        *style,
    )
    return CheckReport(lab.name, results)


def build_and_check(
    engine: Engine,
    lab: LabFolder,
    dockerfile: Path | None = None,
    *,
    report: Report = ignore,
    announce: Announce = _quiet,
    no_cache: bool = False,
) -> tuple[CheckReport, Build | None]:
    """Build a Dockerfile over the lab's app and check the image; no image where it does not build.

    Raises:
        UsageError: there is no such file.
        MachineError: the engine, the network or the disk falls short.
    """
    path = dockerfile or lab.dockerfile
    try:
        built = build(
            engine, lab.app, tag=lab.tag("after"), dockerfile=path,
            report=report, announce=announce, no_cache=no_cache,
        )  # fmt: skip
    except LearnerError as error:
        return does_not_build(lab, error), None
    return check_lab(engine, lab, built, path, report=report, announce=announce), built


def does_not_build(lab: LabFolder, error: LearnerError) -> CheckReport:
    """Return the report of a Dockerfile that does not build."""
    where = f" ({error.where})" if error.where else ""
    hints = (error.mend, line_to_write(lab, error))
    found = result("builds", _BUILDS, False, f"{error.what}{where}", [h for h in hints if h])
    return CheckReport(lab.name, (found,))
