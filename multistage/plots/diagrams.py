"""Diagrams: stages and what passes between them. No measurement in them, so no footnote."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from multistage.plots.shapes import HEAD, WIDTH, arrow, box, canvas, label
from multistage.plots.style import COLOURS, INK, MARGIN, PAPER, QUIET, Picture

_BUILDER, _RUNTIME = COLOURS["builder stage"], COLOURS["runtime stage"]
_ROW, _BETWEEN = 0.42, 0.08  # of the boxes in a stack
_GROUND = 0.48  # where stacks stand: below is what becomes of them
_PADDING = 0.14
_WORKSHOP = (
    ("toolchain", "base"), ("build dependencies", "dependencies"), ("source", "config"),
    ("app", "app"),
)  # fmt: skip
_CRATE = (("base", "base"), ("app", "app"))
_CHARACTER = 0.086  # of a fixed-width font, in hundreds of pixels


def single_and_multi() -> Picture:
    """Return a single-stage build beside a multi-stage one: what each of them ships."""
    height = HEAD + _stack_height(_WORKSHOP) + _GROUND
    figure, axes = canvas(height, "Single-stage ships the workshop, multi-stage the product")
    large, small = 2.4, 1.6
    builder, runtime = 3.1, WIDTH - MARGIN - small
    _stack(axes, MARGIN, large, _WORKSHOP,
           name="one stage = the image", edge=INK, fate="all of it is shipped")  # fmt: skip
    made = _stack(axes, builder, large, _WORKSHOP,
                  name="builder stage", edge=_BUILDER, fate="stays here")  # fmt: skip
    taken = _stack(axes, runtime, small, _CRATE,
                   name="runtime stage", edge=_RUNTIME, fate="is shipped")  # fmt: skip
    ends = ((builder + large - _PADDING, made), (runtime + _PADDING, taken))
    arrow(axes, ends, COLOURS["app"])
    return Picture(
        figure,
        "Left, a single-stage build: one stage holds toolchain, build dependencies, source and "
        "app, and all of it is shipped. Right, a multi-stage build: the builder stage holds the "
        "same four and stays behind; an arrow takes the app alone into the runtime stage, which "
        "holds a base and on it the app, and is what is shipped.",
    )


def _stack_height(rows: Sequence[tuple[str, str]]) -> float:
    return _ROW + len(rows) * (_ROW + _BETWEEN) + _PADDING - _BETWEEN


def _stack(
    axes: Axes, left: float, width: float, rows: Sequence[tuple[str, str]],
    *, name: str, edge: str, fate: str,
) -> float:  # fmt: skip
    """Draw a stage and what it holds, the lowest first; return how high its top row lies."""
    height = _stack_height(rows)
    box(axes, (left, _GROUND), (width, height), "", edge, fill=PAPER)
    label(axes, (left + width / 2, _GROUND + height - _ROW / 2), name, INK, bold=True, centre=True)
    bottom = _GROUND + _PADDING
    for row, (text, kind) in enumerate(rows):
        corner = (left + _PADDING, bottom + row * (_ROW + _BETWEEN))
        box(axes, corner, (width - 2 * _PADDING, _ROW), text, COLOURS[kind])
    label(axes, (left + width / 2, _GROUND - 0.2), fate, QUIET, centre=True)
    return bottom + (len(rows) - 1) * (_ROW + _BETWEEN) + _ROW / 2


def anatomy(stage: str = "builder", source: str = "/app/dist",
            destination: str = "/usr/share/nginx/html") -> Picture:  # fmt: skip
    """Return the parts of ``COPY --from``, each with what it means."""
    figure, axes = canvas(HEAD + 1.4, "COPY --from has three parts, and reads from left to right")
    parts = (
        (f"--from={stage}", _BUILDER, "from which stage\n(its name behind AS)"),
        (source, COLOURS["app"], "the path there,\nfrom that stage's root"),
        (destination, _RUNTIME, "the path here,\nin the stage being built"),
    )
    widths = [max(_CHARACTER * len(text) + 0.3, 1.5) for text, _, _ in parts]
    left = MARGIN + 0.6
    gap = (WIDTH - MARGIN - left - sum(widths)) / 2
    label(axes, (MARGIN, 1.15), "COPY", INK, bold=True, mono=True)
    for (text, colour, meaning), width in zip(parts, widths, strict=True):
        box(axes, (left, 0.94), (width, _ROW), text, colour, mono=True)
        axes.plot([left + width / 2] * 2, [0.94, 0.72], color=colour, linewidth=1.6)
        label(axes, (left + width / 2, 0.45), meaning, INK, centre=True)
        left += width + gap
    return Picture(
        figure,
        f"COPY --from={stage} {source} {destination}. Its parts: --from={stage} says from which "
        f"stage, {source} is the path there, from that stage's root, and {destination} is the "
        "path here, in the stage being built.",
    )


def flow() -> Picture:
    """Return the way from a folder of sources to a running container."""
    figure, axes = canvas(HEAD + 1.42, "Build heavy, ship light: only the artifact travels on")
    steps = (
        ("build\ncontext", "your folder,\nsources and all", COLOURS["config"]),
        ("builder\nstage", "compiles,\nis large", _BUILDER),
        ("artifact", "a binary or\na folder of pages", COLOURS["app"]),
        ("runtime\nstage", "a small base\nand the artifact", _RUNTIME),
        ("final\nimage", "pushed, pulled,\nrun", _RUNTIME),
    )
    verbs = ("COPY", "RUN", "COPY\n--from", "becomes")
    width, height, bottom = 1.0, 0.66, 0.74
    gap = (WIDTH - 2 * MARGIN - len(steps) * width) / len(verbs)
    for number, (name, meaning, colour) in enumerate(steps):
        left, middle = MARGIN + number * (width + gap), bottom + height / 2
        box(axes, (left, bottom), (width, height), name, colour)
        label(axes, (left + width / 2, 0.42), meaning, QUIET, centre=True, size=9)
        if number < len(verbs):
            right = left + width
            arrow(axes, ((right + 0.04, middle), (right + gap - 0.04, middle)), INK)
            place = (right + gap / 2, middle + 0.08)
            label(axes, place, verbs[number], INK, centre=True, size=9, above=True)
    words = "; ".join(f"{' '.join(n.split())} ({' '.join(m.split())})" for n, m, _ in steps)
    return Picture(figure, f"Five boxes in a row, an arrow from each to the next: {words}.")
