"""A round in few lines: what fails and what changed is said, the rest is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multistage.checks import CheckReport, CheckResult
from multistage.dockerfile import Dockerfile
from multistage.finding import verdict
from multistage.next_step import stretch
from multistage.units import megabytes
from multistage.watch.feedback import Compared, Lint, Remark

_CHECKS = 3  # that fail and are shown with their hint
_REMARKS = 2  # of linters
_LONGEST = 240  # characters of a message: multistage check shows all of it
_END = 120  # characters of it that a long message keeps of its end
_ERROR_LINES = 6


def short(text: str) -> str:
    """Return a message in one line; a long one loses its middle: last words often say why."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST - _END - 3].rstrip()} … {line[-_END:].lstrip()}"


def graph(model: Dockerfile) -> str:
    """Return the stages in one line: ``build FROM golang:1.27, stage 1 FROM scratch ← build``."""
    needed = {stage.index for stage in model.needed()}
    parts = []
    for stage in model.stages:
        sources = dict.fromkeys(
            edge.source if isinstance(edge.source, str) else model.stage(edge.source).title
            for edge in model.edges
            if edge.target == stage.index and edge.kind != "from"
        )
        takes = f" ← {', '.join(sources)}" if sources else ""
        skipped = "" if stage.index in needed else " (skipped)"
        parts.append(f"{stage.title} FROM {stage.base}{takes}{skipped}")
    return short("; ".join(parts))


def remarks(lint: Lint, said: Iterable[Remark]) -> list[str]:
    """Return what a linter says that it has not said at the save before, and where the rest is."""
    before = {(remark.rule, remark.text) for remark in said}
    new = [r for r in lint.remarks if (r.rule, r.text) not in before][:_REMARKS]
    rest = [r for r in lint.remarks if r not in new]
    lines = [short(f"line {r.line}: {r.text} ({lint.linter} {r.rule})") for r in new]
    if rest:
        places = ", ".join(str(line) for line in sorted({r.line for r in rest}))
        where = f"line{'s' * (',' in places)} {places}"
        lines.append(short(f"{lint.linter}: {len(rest)} more, of {where}"))
    return lines


def failed(report: CheckReport) -> list[str]:
    """Return the required checks that fail, the first ones with a hint, and what was not asked.

    What could not be asked, because the container does not run, comes after what can be mended.
    """
    wrong = [check for check in report.checks if check.required and not check.passed]
    wrong.sort(key=lambda check: check.message.startswith("Not asked: "))
    lines = []
    for check in wrong[:_CHECKS]:
        lines.append(f"✗ {short(f'{check.title}. {check.message}')}")
        lines += [f"    Hint: {short(hint)}" for hint in check.hints[:1]]
    if rest := wrong[_CHECKS:]:
        verb = "fails" if len(rest) == 1 else "fail"
        lines.append(f"✗ {short(f'{len(rest)} more {verb}: {_titles(rest)}')}")
    left_out = [c for c in report.checks if not (c.required or c.passed or c in stretch(report))]
    if left_out:
        lines.append(f"○ {short(f'Not checked here: {_titles(left_out)}')}")
    return lines


def _titles(checks: Sequence[CheckResult]) -> str:
    return "; ".join(check.title for check in checks)


def counts(report: CheckReport) -> str:
    """Return how many checks passed: ``8 of 14 required checks passed. Stretch: 4 of 5.``."""
    optional = [check.passed for check in stretch(report)]
    said = f" Stretch: {sum(optional)} of {len(optional)}." if optional else ""
    return f"{report.summary}{said}"


def sizes(compared: Compared) -> str:
    """Return before and after in one line, with what the save did to the size."""
    before, after = compared.before, compared.after
    line = (
        f"Before {megabytes(before.unpacked_size)}, after {megabytes(after.unpacked_size)} "
        f"unpacked ({megabytes(after.compressed_size)} compressed): "
        f"{verdict(before, after, works=compared.works)}"
    )
    return f"{line}; {compared.change}" if compared.change else line


def error(text: str) -> list[str]:
    """Return the lines of an error, the first and the last ones where there are many."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > _ERROR_LINES:
        half = _ERROR_LINES // 2
        lines = [*lines[:half], "    …", *lines[-half:]]
    return [short(line) if len(line) > _LONGEST else line for line in lines]
