"""The stage graph: a Dockerfile's stages from top to bottom, and what each takes from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from multistage.dockerfile import Dockerfile, Edge, Stage
from multistage.plots.shapes import HEAD, WIDTH, arrow, box, canvas, label, shortened, width_of
from multistage.plots.style import COLOURS, FAINT, INK, MARGIN, PAPER, QUIET, Picture, ink_on

_BOX = 3.4  # hundreds of pixels that a box is wide
_LEAST = 0.62  # that it is high, unless many arrows end at it
_BETWEEN = 0.46  # two boxes
_PORT = 0.24  # between two arrows at a box: a label has room
_LANE = 0.2  # between two arrows that pass by boxes
_HEAD_OF_ARROW = 0.24
_LONGEST = 2.6  # of a label
_SMALL = 9  # points
_BUILDER, _RUNTIME = COLOURS["builder stage"], COLOURS["runtime stage"]

_Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are.

    Attributes:
        boxes: of each stage, its box's top and bottom.
        ports: how high an arrow that passes by others ends, and by its first stage alone, starts.
        lanes: of each stage from which such arrows start, how far to the right they pass.
        left: the boxes' left side.
        height: of all of it.
    """

    boxes: tuple[tuple[float, float], ...]
    ports: dict[_Pair | int, float]
    lanes: dict[int, float]
    left: float
    height: float


def stage_graph(model: Dockerfile, target: str | None = None) -> Picture:
    """Return a Dockerfile's stages, and an arrow for whatever one takes from another.

    Stages that the target does not need are grey and dashed: BuildKit does not build them.

    Raises:
        DockerfileError: there is no stage called ``target``.
    """
    needed = model.needed(target)
    pairs = _pairs(model)
    texts = {pair: shortened(_edge_text(edges), _LONGEST, _SMALL) for pair, edges in pairs.items()}
    layout = _laid_out(len(model.stages), texts)
    figure, axes = canvas(layout.height, _graph_title(model, model.skipped(target)))
    # Those that are not built first: where two arrows share a way, the others' colour is seen.
    for pair in sorted(pairs, key=lambda pair: model.stages[pair[1]] in needed):
        built = model.stages[pair[1]] in needed
        dashed = any(edge.kind == "from" for edge in pairs[pair])
        arrow(axes, _way(layout, pair), INK if built else FAINT, dashed=dashed)
        _name_arrow(axes, layout, pair, texts[pair], INK if built else QUIET)
    for stage in model.stages:
        colour = _RUNTIME if stage.index == needed[-1].index else _BUILDER
        _draw_stage(axes, stage, layout, colour, built=stage in needed)
    return Picture(figure, _in_words(model, needed))


def _pairs(model: Dockerfile) -> dict[_Pair, list[Edge]]:
    """Return the edges between stages, those from the same to the same together."""
    pairs: dict[_Pair, list[Edge]] = {}
    for edge in model.edges:
        if isinstance(edge.source, int):
            pairs.setdefault((edge.source, edge.target), []).append(edge)
    return pairs


def _is_next(pair: _Pair) -> bool:
    return pair[1] - pair[0] == 1


def _laid_out(count: int, texts: dict[_Pair, str]) -> _Layout:
    """Return where boxes and arrows are: in the file's order, what passes by others at the side."""
    passing = [pair for pair in texts if not _is_next(pair)]
    sources = sorted({source for source, _ in passing}, reverse=True)  # the last lies innermost
    # An arrow from an inner lane ends above one from an outer lane, so that they do not cross.
    ends = {
        stage: sorted((pair for pair in passing if pair[1] == stage), reverse=True)
        for stage in range(count)
    }
    slots: list[list[_Pair | int]] = [
        [*ends[stage], *([stage] if stage in sources else [])] for stage in range(count)
    ]
    heights = [max(_LEAST, _PORT * (len(slot) + 1)) for slot in slots]
    height = HEAD + sum(heights) + _BETWEEN * (count - 1) + MARGIN
    top = height - HEAD
    boxes, ports = [], {}
    for slot, high in zip(slots, heights, strict=True):
        boxes.append((top, top - high))
        for number, port in enumerate(slot, start=1):
            ports[port] = top - high * number / (len(slot) + 1)
        top -= high + _BETWEEN
    room = max((width_of(texts[pair], _SMALL) for pair in passing), default=0) + 2 * _HEAD_OF_ARROW
    aside = room + _LANE * (len(sources) - 1) if passing else 0.0
    left = (WIDTH - _BOX - aside) / 2
    lanes = {source: left + _BOX + room + _LANE * n for n, source in enumerate(sources)}
    return _Layout(tuple(boxes), ports, lanes, left, height)


def _way(layout: _Layout, pair: _Pair) -> list[tuple[float, float]]:
    """Return the places that an arrow passes."""
    source, end = pair
    if _is_next(pair):
        middle = layout.left + _BOX / 2
        return [(middle, layout.boxes[source][1]), (middle, layout.boxes[end][0])]
    right, lane = layout.left + _BOX, layout.lanes[source]
    start, stop = layout.ports[source], layout.ports[pair]
    return [(right, start), (lane, start), (lane, stop), (right, stop)]


def _name_arrow(axes: Axes, layout: _Layout, pair: _Pair, text: str, ink: str) -> None:
    """Write beside an arrow, or at its end above it, what it stands for."""
    if _is_next(pair):
        middle = (layout.boxes[pair[0]][1] + layout.boxes[pair[1]][0]) / 2
        room = _BOX / 2 - 0.12
        place = (layout.left + _BOX - room, middle)
        label(axes, place, shortened(text, room, _SMALL), ink, size=_SMALL)
    else:
        place = (layout.left + _BOX + _HEAD_OF_ARROW, layout.ports[pair] + 0.02)
        label(axes, place, text, ink, size=_SMALL, above=True)


def _draw_stage(axes: Axes, stage: Stage, layout: _Layout, colour: str, *, built: bool) -> None:
    top, bottom = layout.boxes[stage.index]
    middle, x = (top + bottom) / 2, layout.left + _BOX / 2
    box(axes, (layout.left, bottom), (_BOX, top - bottom), "", colour if built else QUIET,
        fill=colour if built else PAPER, dashed=not built)  # fmt: skip
    ink, room = ink_on(colour) if built else QUIET, _BOX - 0.2
    name = shortened(stage.title, room, 11, bold=True)
    label(axes, (x, middle + 0.13), name, ink, bold=True, centre=True, size=11)
    said = f"FROM {stage.base}" if built else "skipped"
    label(axes, (x, middle - 0.13), shortened(said, room, _SMALL), ink, centre=True, size=_SMALL)


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
        return f"{words}, {'all of them needed' if count > 1 else 'and it is what ships'}"
    return f"{words}, {len(skipped)} of them skipped"


def _in_words(model: Dockerfile, needed: Sequence[Stage]) -> str:
    built = {stage.index for stage in needed}
    sentences = []
    for stage in model.stages:
        state = "needed" if stage.index in built else "skipped"
        state = "the target" if stage.index == needed[-1].index else state
        sentences.append(f"{stage.title} (FROM {stage.base}, {state})")
    arrows = [
        f"{model.stages[e.target].title} takes {' '.join(e.paths[:-1]) or 'all'} from "
        f"{model.stages[e.source].title}"
        for e in model.edges
        if isinstance(e.source, int) and e.kind != "from"
    ]
    return ". ".join(["Stages: " + "; ".join(sentences), *dict.fromkeys(arrows)]) + "."
