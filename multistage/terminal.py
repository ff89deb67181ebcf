"""What the command line shows: results on standard output, progress on standard error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.markup import escape as escape_markup
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from multistage.builds import Build
from multistage.checks import CheckReport
from multistage.dockerfile import Dockerfile
from multistage.engines import EngineState
from multistage.engines.events import Event
from multistage.finding import finding
from multistage.images import Folder, ImageArchive, Layer
from multistage.labs import LabFolder
from multistage.progress import MARKS, BuildProgress
from multistage.text import plain
from multistage.units import megabytes, seconds

if TYPE_CHECKING:
    from multistage.engines.daemonless.prune import Leftover

# The figures' colours (plots.COLOURS), repeated because the command line does not load matplotlib.
COLOURS = {"base": "#9A9A9A", "dependencies": "#E69F00", "app": "#009E73", "config": "#F0E442"}
_STAGE_COLOURS = {"builder stage": "#CC79A7", "runtime stage": "#0072B2"}
_CHECK_STYLES = {"✗": "red", "✓": "green"}
_BAR_CELLS = 44
_REDRAWS = 5  # drawings of a running build in a second
_ROWS = 12  # steps that are shown: a terminal is no higher

_NARROWEST = 60  # columns: below it, tables have no room for their words


class _Console(Console):
    """A console that is never too narrow, and whose reader may leave."""

    @property  # type: ignore[misc]  # its setter is not needed
    def size(self) -> ConsoleDimensions:
        found = super().size
        return ConsoleDimensions(max(found.width, _NARROWEST), found.height)

    def on_broken_pipe(self) -> None:
        # The command goes on to its end: its exit code says more than its words.
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


_out = _Console(highlight=False, emoji=False)  # a passwd line holds :x:
_progress = _Console(stderr=True, highlight=False, emoji=False)


def console() -> Console:
    """Return where results are shown."""
    return _out


def escape(text: str) -> str:
    """Return text as rich prints it letter by letter, without what would steer the terminal."""
    return escape_markup(plain(text))


class _PlainProgress(BuildProgress):
    """Progress for a log file: one line for each step that ends, and at the end all in one."""

    def report(self, event: Event) -> None:
        super().report(event)
        for row in self.rows():
            if row.state != "running" and row.step.name not in self._told:
                self._told.add(row.step.name)
                _progress.print(escape(row.line(0)), soft_wrap=True)

    def announce(self, text: str) -> None:
        super().announce(text)
        _progress.print(escape(text), soft_wrap=True)

    def end(self, state: str) -> None:
        super().end(state)
        if self.steps:
            _progress.print(escape(self.headline()), soft_wrap=True)

    def __init__(self, title: str, model: Dockerfile | None, target: str | None) -> None:
        super().__init__(title, model, target)
        self._told: set[str] = set()


@contextmanager
def progress(
    title: str, model: Dockerfile | None = None, target: str | None = None
) -> Iterator[BuildProgress]:
    """Show a build's progress while the block runs: live on a terminal, in lines elsewhere.

    Raises:
        DockerfileError: the model has no stage called ``target``.
    """
    if not _progress.is_terminal:
        plain_progress = _PlainProgress(title, model, target)
        with _ended(plain_progress):
            yield plain_progress
        return
    current = BuildProgress(title, model, target)
    live = Live(
        console=_progress,
        refresh_per_second=_REDRAWS,
        transient=True,
        get_renderable=lambda: drawn(current),
    )
    with live, _ended(current):
        yield current
    for line in [*current.notes, *([current.headline()] if current.steps else [])]:
        _progress.print(escape(line), soft_wrap=True)


@contextmanager
def _ended(current: BuildProgress) -> Iterator[None]:
    """Tell the progress how the block ended."""
    try:
        yield
    except KeyboardInterrupt:
        current.end("stopped")
        raise
    except BaseException:
        current.end("failed")
        raise
    current.end("done")


def drawn(current: BuildProgress) -> Group:
    """Return the progress as it is now: what the notebook's panel shows, but for the log."""
    done, total = current.steps_done()
    parts: list[RenderableType] = [_line(current.headline(), "bold")]
    for stage in current.stages():
        quiet = stage.state in ("waiting", "skipped")
        parts.append(_line(stage.line(), "dim" if quiet else _STAGE_COLOURS[stage.role]))
    if total:
        counted = Table.grid(padding=(0, 1))
        counted.add_row(
            f"Steps done: {done} of {total}", ProgressBar(total, done, width=_BAR_CELLS)
        )
        parts.append(counted)
    parts += [_line(note) for note in current.notes]
    steps = Table.grid(padding=(0, 2))
    for row in current.rows()[-_ROWS:]:
        cells = (
            row.place,
            row.instruction,
            f"{MARKS[row.state]} {row.state}",
            row.time(current.now),
        )
        steps.add_row(*map(_line, cells))
    return Group(*parts, steps)


def _line(text: str, style: str = "") -> Text:
    return Text(plain(text.replace("\n", " ")), style, no_wrap=True, overflow="ellipsis")


def doctor(
    states: Sequence[EngineState], chosen: str | None, recipes: dict[str, bool], in_use: list[str]
) -> None:
    """Show the engines' state and the stand-ins'."""
    for state in states:
        mark = "[green]✓[/]" if state.available else "[red]✗[/]"
        _out.print(f"{mark} {state.name}: {escape(state.reason)}", soft_wrap=True)
        if state.how_to_get_it:
            _out.print(f"    {escape(state.how_to_get_it)}", soft_wrap=True)
    _out.print(f"Builds will use: {chosen or 'no engine works on this machine'}")
    if in_use:
        _out.print(f"Stand-in bases in use: {', '.join(in_use)}", soft_wrap=True)
    built = [name for name, is_built in recipes.items() if is_built]
    _out.print(f"Stand-in bases built: {', '.join(built) or 'none'}", soft_wrap=True)


def note(text: str) -> None:
    """Say something beside the result, on standard error; nothing where there is no text."""
    if text:
        _progress.print(escape(text), soft_wrap=True)


def labs(rows: Sequence[tuple[LabFolder, str]]) -> None:
    """Show the labs and their state."""
    table = Table("lab", "title", "minutes", "state", box=None, pad_edge=False)
    for lab, state in rows:
        table.add_row(lab.name, lab.title, str(lab.minutes), escape(state))
    _out.print(table)


def setup(ready: dict[str, bool]) -> None:
    """Show which base images are ready."""
    for name, is_stand_in in sorted(ready.items()):
        _out.print(f"[green]✓[/] {name}{' (stand-in)' if is_stand_in else ''}")


def build(built: Build) -> None:
    """Show a build's layers and sizes."""
    _out.print(_layer_table(built.layers))
    _out.print(f"[bold]{escape(str(built))}[/]  built in {seconds(built.seconds)}", soft_wrap=True)
    skipped = [stage.name for stage in built.stages if not stage.built]
    if skipped:
        _out.print(f"Skipped stages: {', '.join(skipped)}")
    _out.print(f"[dim]{escape(built.builder)}{stand_in_note([built])}[/]", soft_wrap=True)


def compare(title: str, before: Build, after: Build, *, works: bool = True) -> None:
    """Show before and after as a table with bars; ``works``: whether the after container does."""
    _out.print(f"[bold]{escape(title)}: {finding(before, after, works=works)}[/]")
    table = Table("", "", "unpacked", "compressed", box=None, pad_edge=False)
    widest = max(before.unpacked_size, after.unpacked_size, 1)
    for name, image in (("before", before), ("after", after)):
        sizes = megabytes(image.unpacked_size), megabytes(image.compressed_size)
        table.add_row(name, _bar(image, widest), *sizes)
    _out.print(table)
    legend = "  ".join(f"[{colour}]█[/] {kind}" for kind, colour in COLOURS.items())
    _out.print(legend)
    note = f"{after.builder}{stand_in_note([before, after])}, {after.date}"
    _out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)


def _bar(image: Build, widest: int) -> Text:
    bar = Text()
    for kind, size in image.sizes_by_kind().items():
        cells = round(size / widest * _BAR_CELLS)
        bar.append("█" * (cells or (1 if size and kind == "app" else 0)), style=COLOURS[kind])
    return bar


def stand_in_note(builds: Sequence[Build]) -> str:
    """Return the stand-in bases that images rest on, to be said behind other words."""
    names = dict.fromkeys(name for build in builds for name in build.stand_ins)
    return f", stand-ins for {', '.join(names)}" if names else ""


def check(report: CheckReport, hints: int, next_step: str = "") -> None:
    """Show the checklist, with as many hints as asked for under each check that failed."""
    for line in report.lines(hints):
        _out.print(escape(line), style=_CHECK_STYLES.get(line[0], ""), soft_wrap=True)
    if report.has_more(hints):
        _out.print(f"More hints: multistage check {report.lab} --hints {hints + 1}")
    if next_step:
        _out.print(escape(next_step), soft_wrap=True)


def inspect(
    name: str, archive: ImageArchive, layers: Sequence[Layer], largest: Sequence[Folder]
) -> None:
    """Show an image's layers and its largest folders."""
    _out.print(_layer_table(layers))
    table = Table("folder", "files", "unpacked", box=None, pad_edge=False)
    for folder in largest:
        table.add_row(escape(folder.path), f"{folder.files:,}", megabytes(folder.unpacked_size))
    _out.print(table)
    sizes = megabytes(archive.unpacked_size), megabytes(archive.compressed_size)
    _out.print(f"[bold]{escape(name)}: {sizes[0]} unpacked, {sizes[1]} compressed[/]")


def graph(model: Dockerfile, needed: set[int]) -> None:
    """Show the stages, and under each what it takes from others."""
    for stage in model.stages:
        note = "" if stage.index in needed else "  (skipped: the target does not need it)"
        style = "bold" if stage.index in needed else "dim"
        text = f"{stage.title} (line {stage.line}) FROM {stage.base}{note}"
        _out.print(f"[{style}]{escape(text)}[/]", soft_wrap=True)
        for edge in model.edges:
            if edge.target == stage.index and edge.kind != "from":
                name = model.source_title(edge)
                paths = " ".join(edge.paths)
                _out.print(f"    ← {escape(f'{name}: {paths}')} (line {edge.line})", soft_wrap=True)


def reset(lab: LabFolder, kept: Path | None) -> None:
    """Say that the starter is back, and where the learner's file is."""
    _out.print(f"{lab.name}: the starter's Dockerfile is back.")
    if kept is not None:
        _out.print(f"Yours is kept as {escape(str(kept))}", soft_wrap=True)


def written(file: Path) -> None:
    """Show where a report was written."""
    _out.print(escape(f"Written: {file}"), soft_wrap=True)


def export(image: str, file: Path, size: int) -> None:
    """Show where an archive was written."""
    _out.print(escape(f"{file}: {image}, {megabytes(size)}"), soft_wrap=True)
    _out.print(escape(f"Load it with: docker load --input {file}"), soft_wrap=True)


def prune(found: Sequence[Leftover], *, removed: bool) -> None:
    """Show what is no longer needed, by kind."""
    table = Table("what", "how many", "size", box=None, pad_edge=False)
    for kind in dict.fromkeys(leftover.kind for leftover in found):
        sizes = [leftover.size for leftover in found if leftover.kind == kind]
        table.add_row(kind, str(len(sizes)), megabytes(sum(sizes)))
    if found:
        _out.print(table)
    total = megabytes(sum(leftover.size for leftover in found))
    if removed:
        _out.print(f"Freed {total}.")
    else:
        _out.print(f"Would free {total}." + (" Do it: multistage prune --yes" if found else ""))


def _layer_table(layers: Sequence[Layer]) -> Table:
    table = Table("unpacked", "compressed", "kind", "stage", "line", "created by", box=None)
    for layer in layers:
        table.add_row(
            megabytes(layer.unpacked_size),
            megabytes(layer.compressed_size),
            Text.assemble(("█ ", COLOURS[layer.kind]), layer.kind),
            layer.stage or "",
            str(layer.line or ""),
            Text(
                plain(layer.created_by.replace("\n", " "))[:70], no_wrap=True, overflow="ellipsis"
            ),
        )
    return table
