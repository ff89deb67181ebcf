"""Watch mode as HTML: sections, each replaced when there is news of it."""

from __future__ import annotations

from collections.abc import Iterable

from multistage.builds import Build
from multistage.checks import CheckReport, CheckResult
from multistage.errors import CourseError
from multistage.labs import LabFolder
from multistage.next_step import next_step
from multistage.panels import escaped, panel_html, stages_html
from multistage.progress import BuildProgress
from multistage.terminal import COLOURS
from multistage.units import megabytes
from multistage.watch import lines
from multistage.watch.feedback import (
    Building,
    Built,
    Cancelled,
    Checked,
    Compared,
    Failed,
    Feedback,
    Graph,
    Lint,
    Model,
    Save,
)

_SECTIONS = ("status", "next", "faults", "graph", "lint", "built", "checks", "comparison")
STYLE = """<style>
.multistage-watch ul { list-style: none; margin: 4px 0; padding: 0; }
.multistage-watch li > div, .multistage-watch li details { margin-left: 1.3em; }
.multistage-bar { display: flex; height: 16px; margin: 2px 0 6px; }
.multistage-red { color: #B3261E; }
.multistage-green { color: #1B7F3B; }
</style>"""


class WatchHtml:
    """What was said last of everything, as one page."""

    def __init__(self, lab: LabFolder) -> None:
        self._lab = lab
        self._sections: dict[str, str] = {}
        self._comparison = ""
        self._progress: BuildProgress | None = None
        self._is_building = False

    def add(self, feedback: Feedback) -> None:
        """Take in one feedback."""
        match feedback:
            case Save():
                # The comparison stays until there is another: one sees it shrink.
                self._sections = {"comparison": _earlier(self._comparison)}
                self._progress, self._is_building = None, False
                what = f"Saved: {', '.join(feedback.names)}. " if feedback.names else ""
                self._status(f"{what}Reading the Dockerfile …")
            case Model():
                self._model(feedback)
            case Graph():
                self._progress = feedback.progress
            case Lint():
                self._sections["lint"] = self._sections.get("lint", "") + _lint(feedback)
            case Building():
                self._is_building = True
                self._status("Building …")
            case Built():
                self._status("Built. Checking …")
                change = f", {feedback.change}" if feedback.change else ""
                self._sections["built"] = f"<div>✓ {escaped(f'{feedback.build}{change}')}</div>"
            case Checked():
                self._checked(feedback)
            case Compared():
                self._comparison = comparison(self._lab.title, feedback)
                self._sections["comparison"] = self._comparison
            case Cancelled():
                self._status("■ Saved again: this build is cancelled.")
            case Failed():
                self._failed(feedback.error)

    def end(self, error: BaseException | None) -> None:
        """Say that the watch has ended, and by what."""
        if error is None:
            self._status("■ The watch has ended. Nothing is left running.")
        elif isinstance(error, CourseError):
            self._failed(error)
        else:
            self._status(f"✗ The watch broke down: {error!r}", "red")

    def __str__(self) -> str:
        """Return the page as it is now; where a build runs, with how far it is."""
        if self._progress is not None:
            draw = panel_html if self._is_building else stages_html
            self._sections["graph"] = draw(self._progress)
        return "".join(self._sections.get(name, "") for name in _SECTIONS)

    def _status(self, text: str, colour: str = "") -> None:
        self._sections["status"] = (
            f'<div class="multistage-headline multistage-{colour or "plain"}" role="status" '
            f'aria-live="polite">{escaped(text)}</div>'
        )

    def _model(self, model: Model) -> None:
        if not model.faults:
            self._status("The Dockerfile can be read.")
            return
        self._status("✗ The Dockerfile cannot be built yet.", "red")
        self._sections["faults"] = _list(
            f"{f'Line {fault.line}: ' if fault.line else ''}{fault.what} {fault.mend}"
            for fault in model.faults
        )

    def _checked(self, checked: Checked) -> None:
        report = checked.report
        mark, colour = ("✓", "green") if report.passed else ("✗", "red")
        self._status(f"{mark} {lines.counts(report)}", colour)
        if said := next_step(self._lab, report, in_notebook=True):
            self._sections["next"] = f"<div>{escaped(said)}</div>"
        self._sections["checks"] = checks_html(report) + _list(
            [checked.note] if checked.note else []
        )

    def _failed(self, error: CourseError) -> None:
        self._status(f"✗ {error.what.splitlines()[0]}", "red")
        self._sections["faults"] = f"<pre>{escaped(str(error))}</pre>"


def checks_html(report: CheckReport) -> str:
    """Return what is to be done in sight, and the rest folded away.

    A stretch is to be done once all that is required passed.
    """
    failed = [check for check in report.checks if check.required and not check.passed]
    stretch = [check for check in report.checks if not (check.required or check.passed)]
    shown, later = (failed, stretch) if failed else (stretch, [])
    passed = [f"✓ {check.title}. {check.message}" for check in report.checks if check.passed]
    return (
        _items(map(_unpassed, shown))
        + _folded(f"Stretch, for later: {len(later)}", _items(map(_unpassed, later)))
        + _folded(f"Passed: {len(passed)}", _list(passed))
    )


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>" if content else ""


def _unpassed(check: CheckResult) -> str:
    """Return a check that failed, the further hints folded: each is there for who asks for it."""
    mark = "✗" if check.required else "○"
    hints = ""
    for hint in reversed(check.hints[1:]):
        hints = f"<details><summary>Another hint</summary>{escaped(hint)}{hints}</details>"
    first = f"<div>Hint: {escaped(check.hint)}</div>" if check.hint else ""
    stretch = "" if check.required else " (a stretch)"
    return f"{escaped(f'{mark} {check.title}{stretch}. {check.message}')}{first}{hints}"


def _lint(lint: Lint) -> str:
    remarks = [f"! Line {r.line}: {r.text} ({lint.linter} {r.rule})" for r in lint.remarks]
    return _list(remarks + [lint.note] * bool(lint.note))


def comparison(title: str, compared: Compared) -> str:
    """Return before and after as two bars, with their sizes in words."""
    before, after = compared.before, compared.after
    change = f" ({compared.change})" if compared.change else ""
    widest = max(before.unpacked_size, after.unpacked_size, 1)
    bars = "".join(_bar(name, build, widest) for name, build in
                   (("before", before), ("after", after)))  # fmt: skip
    legend = " ".join(
        f'<span style="color: {colour}" aria-hidden="true">■</span> {kind}'
        for kind, colour in COLOURS.items()
    )
    head = f"<div><b>{escaped(f'{title}: {compared.finding}')}</b>{escaped(change)}</div>"
    return f"{head}{bars}<div>{legend}</div><div>{escaped(after.measured_on)}</div>"


def _earlier(shown: str) -> str:
    return f"<div>From an earlier save:</div>{shown}" if shown else ""


def _bar(name: str, build: Build, widest: int) -> str:
    parts = "".join(
        f'<span style="width: {100 * size / widest:.2f}%; background: {COLOURS[kind]}"></span>'
        for kind, size in build.sizes_by_kind().items()
    )
    sizes = f"{megabytes(build.unpacked_size)} unpacked"
    packed = f"{megabytes(build.compressed_size)} compressed"
    return f'<div>{name}: {sizes}, {packed}</div><div class="multistage-bar">{parts}</div>'


def _list(texts: Iterable[str]) -> str:
    return _items(map(escaped, texts))


def _items(parts: Iterable[str]) -> str:
    items = "".join(f"<li>{part}</li>" for part in parts)
    return f"<ul>{items}</ul>" if items else ""
