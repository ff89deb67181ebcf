"""What a learner does next, once all that a lab requires passed."""

from __future__ import annotations

from multistage import labs, record
from multistage.checks import CheckReport, CheckResult
from multistage.finding import is_of_the_container
from multistage.labs import LabFolder


def stretch(report: CheckReport) -> tuple[CheckResult, ...]:
    """Return the checks that are a stretch: not those that could not be made on this machine."""
    return tuple(c for c in report.checks if not c.required and not is_of_the_container(c.id))


def next_step(lab: LabFolder, report: CheckReport, *, in_notebook: bool = False) -> str:
    """Return one line on what is next, empty where a required check fails."""
    if not report.passed:
        return ""
    left = [check.title for check in stretch(report) if not check.passed]
    onwards = _notebook_after(lab) if in_notebook else _lab_after(lab)
    onwards = onwards or "a page of all that you passed: multistage report"
    if not left:
        return f"Next: {onwards}"
    checks = f"{len(left)} stretch checks are left" if len(left) > 1 else "a stretch is left"
    return f"Next: {checks} (○ {'; '.join(left)}), or {onwards}"


def _notebook_after(lab: LabFolder) -> str:
    names = sorted(file.name for file in (labs.ROOT / "notebooks").glob("*.ipynb"))
    name = next((name for name in names if name > lab.notebook), "")
    return f"the notebook {name}" if name else ""


def _lab_after(lab: LabFolder) -> str:
    """Return the next lab that did not pass yet; after the last one, the first."""
    progress = record.read()
    others = [one for one in labs.labs() if one.name != lab.name]
    others.sort(key=lambda one: (one.order < lab.order, one.order))
    for other in others:
        if progress.latest_passed(other.name) is None:
            return f"the lab {other.name}: multistage watch {other.name}"
    return ""
