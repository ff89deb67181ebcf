"""What checks found: one result for each, and all of a lab's as a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        id: the check's name in JSON documents and records.
        title: what is right when it passes, as a sentence without its full stop.
        required: whether the lab asks for it; others are a stretch.
        passed: whether it is right.
        message: what was found.
        hints: from a nudge over the idea to the line to write; empty when it passed.
    """

    id: str
    title: str
    required: bool
    passed: bool
    message: str
    hints: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """The first hint: the nudge."""
        return self.hints[0] if self.hints else ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of a lab's checks."""

    lab: str
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every required check passed."""
        return all(check.passed for check in self.checks if check.required)

    def lines(self, hints: int = 1) -> list[str]:
        """Return the checklist, with so many hints under each check that failed."""
        lines = []
        for check in self.checks:
            mark = "✓" if check.passed else "✗" if check.required else "○"
            stretch = "" if check.required else " (a stretch)"
            lines.append(f"{mark} {check.title}{stretch}. {check.message}")
            lines += [f"    Hint: {hint}" for hint in check.hints[:hints]]
        return [*lines, self.summary]

    @property
    def summary(self) -> str:
        """How many of the required checks passed, as a sentence."""
        required = [check.passed for check in self.checks if check.required]
        return f"{sum(required)} of {len(required)} required checks passed."

    def has_more(self, hints: int) -> bool:
        """Return whether there are hints beyond so many for each check."""
        return any(len(check.hints) > hints for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``multistage check --json`` prints."""
        checks = [{**asdict(check), "hint": check.hint} for check in self.checks]
        return {"lab": self.lab, "passed": self.passed, "checks": checks}


def result(
    check: str,
    title: str,
    passed: bool,
    message: str,
    hints: Iterable[str],
    *,
    required: bool = True,
) -> CheckResult:
    """Return a check's result; its hints only where it did not pass."""
    return CheckResult(check, title, required, passed, message, () if passed else tuple(hints))
