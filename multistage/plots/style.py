"""The look of all figures: one colour language, one kind of axis, one footnote.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart:
https://jfly.uni-koeln.de/color/. Each means one thing in the whole course, and no two are called
by the same name:

- grey: the base image, and what came with it (toolchain, package manager, system)
- orange: dependencies
- green: the app, also where it is an artifact
- yellow: config, and the source
- pink: a builder stage
- blue: a runtime stage, and the final image
- the ink itself: a fat image beside a slim one
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multistage.builds import Build

COLOURS = {
    "builder stage": "#CC79A7",
    "runtime stage": "#0072B2",
    "base": "#9A9A9A",
    "dependencies": "#E69F00",
    "app": "#009E73",
    "config": "#F0E442",
}
INK = "#1B1F24"
QUIET = "#6B7280"
FAINT = "#D0D4DA"
PAPER = "#FFFFFF"  # opaque, so that figures read the same in light and dark themes

MARGIN = 0.16  # hundreds of pixels that stay free around all that is drawn
_ABOVE_AND_BELOW = 0.12  # the same between a title, axes and a footnote
_FOOTNOTE_WIDTH = 120  # characters


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, and in words what it shows: the text for those who cannot see it."""

    figure: Figure
    text: str


def ink_on(colour: str) -> str:
    """Return the ink that can be read on a colour: light on the dark blue, dark on all others."""
    return PAPER if colour in (COLOURS["runtime stage"], INK) else INK


def new_figure(height: float) -> Figure:
    """Return an empty figure, 800 pixels wide and ``height`` hundreds of pixels high."""
    figure = Figure(figsize=(8, height), dpi=100, facecolor=PAPER)
    figure.set_layout_engine("constrained", w_pad=MARGIN, h_pad=_ABOVE_AND_BELOW)
    return figure


def titled(figure: Figure, finding: str, y: float | None = None) -> None:
    """Give a figure its title, which says what was found; ``y`` where no layout places it."""
    left = MARGIN / figure.get_figwidth()
    figure.suptitle(finding, x=left, y=y, ha="left", color=INK, fontsize=14, fontweight="bold")


def noted(figure: Figure, builds: Sequence[Build]) -> None:
    """Write below a figure on what it rests."""
    right = 1 - MARGIN / figure.get_figwidth()
    figure.supxlabel(wrapped(footnote(builds)), x=right, ha="right", color=QUIET, fontsize=8)


def footnote(builds: Sequence[Build]) -> str:
    """Return on what the figures rest: the engine, and the stand-in bases by name."""
    engines = " and ".join(dict.fromkeys(build.builder for build in builds))
    stand_ins = dict.fromkeys(name for build in builds for name in build.stand_ins)
    bases = f"stand-ins for {', '.join(stand_ins)}" if stand_ins else "base images as published"
    dates = " and ".join(dict.fromkeys(build.date for build in builds))
    return f"Measured from the layers, {dates} · {engines} · {bases}"


def wrapped(text: str) -> str:
    """Break a footnote into lines that fit the figure's width."""
    return "\n".join(textwrap.wrap(text, _FOOTNOTE_WIDTH, break_long_words=False))


def quiet(axes: Axes) -> None:
    """Take everything off the axes that carries no information."""
    axes.set_facecolor(PAPER)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=QUIET, length=0, labelsize=9)
    for label in axes.get_yticklabels():
        label.set_color(INK)
        label.set_fontsize(11)
