"""What diagrams are drawn with: a canvas measured in hundreds of pixels, boxes, words, arrows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from multistage.plots.style import MARGIN, ink_on, new_figure, titled

WIDTH = 8.0  # of a canvas
HEAD = 0.62  # what the title takes of a canvas' height
_MONO = "DejaVu Sans Mono"
_POINTS = 72  # in an inch, which is a hundred pixels wide here

Place = tuple[float, float]


def canvas(height: float, title: str) -> tuple[Figure, Axes]:
    """Return a titled figure, and axes over all of it whose unit is a hundred pixels."""
    figure = new_figure(height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    titled(figure, title, y=1 - MARGIN / height)
    return figure, axes


def box(
    axes: Axes, corner: Place, size: Place, text: str, colour: str,
    *, fill: str | None = None, dashed: bool = False, mono: bool = False,
) -> None:  # fmt: skip
    """Draw a box with a text in its middle; ``corner`` is its lower left one."""
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
    middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    label(axes, middle, text, ink_on(fill or colour), bold=True, centre=True, mono=mono)


def label(
    axes: Axes, place: Place, text: str, colour: str, *, bold: bool = False,
    centre: bool = False, mono: bool = False, size: float = 10, above: bool = False,
) -> None:  # fmt: skip
    """Write a text from a place on, or around it, or above it."""
    axes.text(
        *place, text, color=colour, fontsize=size, va="bottom" if above else "center",
        ha="center" if centre else "left", fontweight="bold" if bold else "normal",
        fontfamily=_MONO if mono else None, linespacing=1.15, parse_math=False,
    )  # fmt: skip


def arrow(axes: Axes, places: Sequence[Place], colour: str, *, dashed: bool = False) -> None:
    """Draw an arrow along the places."""
    axes.add_patch(
        FancyArrowPatch(
            path=Path(places),
            arrowstyle="-|>",
            mutation_scale=14,
            linewidth=1.8,
            color=colour,
            linestyle="--" if dashed else "-",
            joinstyle="round",
        )
    )


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a line of text is, in hundreds of pixels."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / _POINTS


def shortened(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Return a text as far as it fits into ``room`` hundreds of pixels."""
    if width_of(text, size, bold=bold) <= room:
        return text
    while text and width_of(f"{text}…", size, bold=bold) > room:
        text = text[:-1]
    return f"{text}…"
