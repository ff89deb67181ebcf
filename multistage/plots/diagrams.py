"""Diagrams: stages and what passes between them. No measurement in them, so no footnote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from multistage.dockerfile import Dockerfile, Edge, Stage
from multistage.plots.style import (
    COLOURS,
    FAINT,
    INK,
    PAPER,
    QUIET,
    Picture,
    ink_on,
    new_figure,
    titled,
)

_BUILDER, _RUNTIME = COLOURS["builder stage"], COLOURS["runtime stage"]
_WIDTH = 8.0  # of a diagram, in hundreds of pixels, which are its units
_MONO = "DejaVu Sans Mono"
_LEVEL = 0.1


def single_and_multi() -> Picture:
    """Return a single-stage build beside a multi-stage one: what each of them ships."""
    figure, axes = _canvas(4.0, "Single-stage ships the workshop, multi-stage the product")
    _box(axes, (0.1, 0.45), (2.9, 2.6), "", INK, fill=PAPER)
    _label(axes, (0.25, 2.8), "one stage = the image", INK, bold=True)
    for row, (text, colour) in enumerate(
        (("toolchain", "base"), ("source", "config"),
         ("build dependencies", "dependencies"), ("app", "app"))
    ):  # fmt: skip
        _box(axes, (0.3, 2.05 - 0.5 * row), (2.5, 0.42), text, COLOURS[colour])
    _label(axes, (1.55, 0.2), "all of it is shipped", QUIET, centre=True)
    _box(axes, (3.6, 0.45), (2.3, 2.6), "", _BUILDER, fill=PAPER)
    _label(axes, (3.75, 2.8), "builder stage", INK, bold=True)
    for row, (text, colour) in enumerate(
        (("toolchain", "base"), ("source", "config"),
         ("build dependencies", "dependencies"), ("app", "app"))
    ):  # fmt: skip
        _box(axes, (3.8, 2.05 - 0.5 * row), (1.9, 0.42), text, COLOURS[colour])
    _label(axes, (4.75, 0.2), "stays here", QUIET, centre=True)
    _box(axes, (6.5, 0.45), (1.4, 1.6), "", _RUNTIME, fill=PAPER)
    _label(axes, (6.5, 2.2), "runtime stage", INK, bold=True)
    _box(axes, (6.65, 1.05), (1.1, 0.42), "base", COLOURS["base"])
    _box(axes, (6.65, 0.55), (1.1, 0.42), "app", COLOURS["app"])
    _arrow(axes, (5.7, 0.76), (6.65, 0.76), COLOURS["app"])
    _label(axes, (7.2, 0.2), "is shipped", QUIET, centre=True)
    return Picture(
        figure,
        "Left, a single-stage build: one stage holds toolchain, source, build dependencies and "
        "app, and all of it is shipped. Right, a multi-stage build: the builder stage holds the "
        "same four and stays behind; an arrow takes the app alone into the runtime stage, which "
        "holds a base and the app, and is what is shipped.",
    )


def anatomy(stage: str = "builder", source: str = "/app/dist",
            destination: str = "/usr/share/nginx/html") -> Picture:  # fmt: skip
    """Return the parts of ``COPY --from``, each with what it means."""
    figure, axes = _canvas(2.6, "COPY --from has three parts, and reads from left to right")
    parts = (
        (f"--from={stage}", _BUILDER, "from which stage\n(its name behind AS)"),
        (source, COLOURS["app"], "the path there,\nfrom that stage's root"),
        (destination, _RUNTIME, "the path here,\nin the stage being built"),
    )
    widths = [max(0.1 * len(text) + 0.3, 1.5) for text, _, _ in parts]
    left, gap = 0.9, (_WIDTH - 1.0 - sum(widths)) / 3
    _label(axes, (0.1, 1.55), "COPY", INK, bold=True, mono=True)
    for (text, colour, meaning), width in zip(parts, widths, strict=True):
        _box(axes, (left, 1.35), (width, 0.42), text, colour, mono=True)
        axes.plot([left + width / 2] * 2, [1.35, 1.02], color=colour, linewidth=1.6)
        _label(axes, (left + width / 2, 0.72), meaning, INK, centre=True)
        left += width + gap
    return Picture(
        figure,
        f"COPY --from={stage} {source} {destination}. Its parts: --from={stage} says from which "
        f"stage, {source} is the path there, from that stage's root, and {destination} is the "
        "path here, in the stage being built.",
    )


def flow() -> Picture:
    """Return the way from a folder of sources to a running container."""
    figure, axes = _canvas(2.5, "Build heavy, ship light: only the artifact travels on")
    steps = (
        ("build context", "your folder,\nsources and all", COLOURS["config"]),
        ("builder stage", "compiles,\nis large", _BUILDER),
        ("artifact", "a binary or\na folder of pages", COLOURS["app"]),
        ("runtime stage", "a small base\nand the artifact", _RUNTIME),
        ("final image", "pushed, pulled,\nrun", _RUNTIME),
    )
    verbs = ("COPY", "RUN", "COPY --from", "docker build")
    width, gap = 1.18, 0.5
    for number, (name, meaning, colour) in enumerate(steps):
        left = 0.05 + number * (width + gap)
        _box(axes, (left, 0.95), (width, 0.5), name, colour)
        _label(axes, (left + width / 2, 0.5), meaning, QUIET, centre=True, size=9)
        if number < len(verbs):
            _arrow(axes, (left + width, 1.2), (left + width + gap, 1.2), INK)
            _label(axes, (left + width + gap / 2, 1.64), verbs[number], INK, centre=True, size=8)
    words = "; ".join(f"{name} ({' '.join(what.split())})" for name, what, _ in steps)
    return Picture(figure, f"Five boxes in a row, an arrow from each to the next: {words}.")


def stage_graph(model: Dockerfile, target: str | None = None) -> Picture:
    """Return a Dockerfile's stages, and an arrow for whatever one takes from another.

    Stages that the target does not need are grey and dashed: BuildKit does not build them.

    Raises:
        DockerfileError: there is no stage called ``target``.
    """
    needed = model.needed(target)
    columns = _columns(model)
    depth = max(columns.values()) + 1
    across = max(list(columns.values()).count(column) for column in range(depth))
    skipped = model.skipped(target)
    figure, axes = _canvas(0.75 + 1.3 * across, _graph_title(model, skipped))
    places = _places(columns, across)
    width = min(2.4, (_WIDTH - 0.2) / depth - 0.9) if depth > 1 else 3.0
    for (source, end), edges in _pairs(model).items():
        built = model.stages[end] in needed
        _draw_edge(axes, edges, places[source], places[end], width, built=built)
    for stage in model.stages:
        colour = _RUNTIME if stage.index == needed[-1].index else _BUILDER
        _draw_stage(axes, stage, places[stage.index], width, colour, built=stage in needed)
    return Picture(figure, _in_words(model, needed))


def _pairs(model: Dockerfile) -> dict[tuple[int, int], list[Edge]]:
    """Return the edges between stages, those from the same to the same together."""
    pairs: dict[tuple[int, int], list[Edge]] = {}
    for edge in model.edges:
        if isinstance(edge.source, int):
            pairs.setdefault((edge.source, edge.target), []).append(edge)
    return pairs


def _columns(model: Dockerfile) -> dict[int, int]:
    """Return how far to the right each stage stands: behind all that it takes from.

    One that takes from none stands right before the first that takes from it.
    """
    pairs = _pairs(model)
    columns: dict[int, int] = {}
    for stage in model.stages:
        before = [columns[source] for source, end in pairs if end == stage.index]
        columns[stage.index] = max(before, default=-1) + 1
    for index, column in columns.items():
        takers = [columns[end] for source, end in pairs if source == index]
        if column == 0 and takers:
            columns[index] = min(takers) - 1
    return columns


def _places(columns: Mapping[int, int], across: int) -> dict[int, tuple[float, float]]:
    """Return the middle of each stage's box."""
    depth = max(columns.values()) + 1
    places = {}
    for column in range(depth):
        stages = [index for index, c in columns.items() if c == column]
        for row, index in enumerate(stages):
            x = _WIDTH / 2 if depth == 1 else _WIDTH * (column + 0.5) / depth
            places[index] = (x, 0.1 + 1.3 * across * (1 - (row + 0.5) / len(stages)))
    return places


def _draw_stage(
    axes: Axes, stage: Stage, place: tuple[float, float], width: float, colour: str, *, built: bool
) -> None:
    corner, name = (place[0] - width / 2, place[1] - 0.38), _name(stage)
    _box(axes, corner, (width, 0.76), "", colour if built else QUIET,
         fill=colour if built else PAPER, dashed=not built)  # fmt: skip
    ink = ink_on(colour) if built else QUIET
    _label(axes, (place[0], place[1] + 0.16), _short(name, width, 0.095), ink, bold=True,
           centre=True, size=11)  # fmt: skip
    said = f"FROM {stage.base}" if built else "not built"
    _label(axes, (place[0], place[1] - 0.16), _short(said, width, 0.072), ink, centre=True, size=9)


def _draw_edge(
    axes: Axes, edges: Sequence[Edge], source: tuple[float, float], end: tuple[float, float],
    width: float, *, built: bool,
) -> None:  # fmt: skip
    (x0, y0), (x1, y1) = (source[0] + width / 2, source[1]), (end[0] - width / 2, end[1])
    builds_on = any(edge.kind == "from" for edge in edges)
    _arrow(axes, (x0, y0), (x1, y1), INK if built else FAINT, dashed=builds_on)
    above = 0.17 if abs(y1 - y0) < _LEVEL else 0.0  # else on the arrow, with paper behind it
    middle = ((x0 + x1) / 2, (y0 + y1) / 2 + above)
    _label(axes, middle, _edge_text(edges), INK if built else QUIET, centre=True, size=8,
           backed=True)  # fmt: skip


def _edge_text(edges: Sequence[Edge]) -> str:
    if any(edge.kind == "from" for edge in edges):
        return "FROM"
    lines = ", ".join(dict.fromkeys(str(edge.line) for edge in edges))
    verb = "COPY" if edges[0].kind == "copy" else "mount"
    return f"{verb}, line{'s' if ',' in lines else ''} {lines}"


def _graph_title(model: Dockerfile, skipped: Sequence[Stage]) -> str:
    count = len(model.stages)
    words = f"{count} stage{'s' if count > 1 else ''}"
    if not skipped:
        return f"{words}, {'all of them built' if count > 1 else 'and it is what ships'}"
    return f"{words}, {len(skipped)} of them not built"


def _in_words(model: Dockerfile, needed: Sequence[Stage]) -> str:
    built = {stage.index for stage in needed}
    sentences = []
    for stage in model.stages:
        name = _name(stage)
        state = "built" if stage.index in built else "not built"
        state = "the target" if stage.index == needed[-1].index else state
        sentences.append(f"{name} (FROM {stage.base}, {state})")
    arrows = [
        f"{_name(model.stages[e.target])} takes {' '.join(e.paths[:-1]) or 'all'} from "
        f"{_name(model.stages[e.source])}"
        for e in model.edges
        if isinstance(e.source, int) and e.kind != "from"
    ]
    return ". ".join(["Stages: " + "; ".join(sentences), *dict.fromkeys(arrows)]) + "."


def _name(stage: Stage) -> str:
    return stage.name or f"stage {stage.index}"


def _short(text: str, width: float, character: float) -> str:
    room = int(width / character)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _canvas(height: float, title: str) -> tuple[Figure, Axes]:
    figure = new_figure(height)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, height - 0.5)
    titled(figure, title)
    return figure, axes


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], text: str, colour: str,
    *, fill: str | None = None, dashed: bool = False, mono: bool = False,
) -> None:  # fmt: skip
    axes.add_patch(
        FancyBboxPatch(
            corner,
            *size,
            boxstyle="round,pad=0,rounding_size=0.07",
            linewidth=1.8,
            edgecolor=colour,
            facecolor=fill or colour,
            linestyle="--" if dashed else "-",
        )
    )
    if text:
        middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
        _label(axes, middle, text, ink_on(fill or colour), bold=True, centre=True, mono=mono)


def _label(
    axes: Axes, place: tuple[float, float], text: str, colour: str, *, bold: bool = False,
    centre: bool = False, mono: bool = False, size: float = 10, backed: bool = False,
) -> None:  # fmt: skip
    axes.text(
        *place, text, color=colour, fontsize=size, va="center", ha="center" if centre else "left",
        fontweight="bold" if bold else "normal", fontfamily=_MONO if mono else None,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1} if backed else None,
    )  # fmt: skip


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str,
    *, dashed: bool = False,
) -> None:  # fmt: skip
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=14,
            linewidth=1.8,
            color=colour,
            linestyle="--" if dashed else "-",
            shrinkA=2,
            shrinkB=2,
        )
    )
