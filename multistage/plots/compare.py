"""Before and after, side by side: the figure of every lab."""

from __future__ import annotations

from matplotlib.axes import Axes

from multistage.builds import Build
from multistage.finding import finding
from multistage.plots.style import (
    COLOURS,
    INK,
    PAPER,
    QUIET,
    Picture,
    footnote,
    ink_on,
    new_figure,
    noted,
    quiet,
    titled,
)
from multistage.units import megabytes

_NARROWEST_WITH_LABEL = 0.09  # a share of the axis' width
_SHORT_BAR = 0.35  # a share of the axis' width; beside a shorter bar its parts are written out
_TOTAL_CHARACTER = 7.5  # points that a character of a total takes
_LEAST_CONFIG = 0.005  # config is drawn where it is more than this share of an image


def compare(title: str, before: Build, after: Build, *, works: bool = True) -> Picture:
    """Return before and after as bars stacked by kind, unpacked above and compressed below.

    ``works``: whether the after image's container does what is required.
    """
    figure = new_figure(4.6)
    upper, lower = figure.subplots(2, 1)
    _bars(upper, "unpacked", before, after, compressed=False)
    _bars(lower, "compressed", before, after, compressed=True)
    titled(figure, compare_title(title, before, after, works=works))
    upper.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=4, frameon=False,
        labelcolor=INK, fontsize=10, handlelength=1, columnspacing=1.2,
    )  # fmt: skip
    noted(figure, (before, after))
    return Picture(figure, compare_alt_text(title, before, after, works=works))


def compare_title(title: str, before: Build, after: Build, *, works: bool = True) -> str:
    """Return the finding: how many times smaller the after image is."""
    if after.is_multistage and not after.unpacked_size:
        return f"{title}: the after image is empty"
    unit = ", unpacked" if after.is_multistage and works else ""
    return f"{title}: {finding(before, after, works=works)}{unit}"


def compare_alt_text(title: str, before: Build, after: Build, *, works: bool = True) -> str:
    """Return what the figure shows, in words."""
    parts = [compare_title(title, before, after, works=works) + "."]
    for name, image in (("Before", before), ("After", after)):
        kinds = image.sizes_by_kind()
        shares = ", ".join(f"{kind} {megabytes(kinds[kind])}" for kind in kinds if kinds[kind])
        parts.append(
            f"{name}: {megabytes(image.unpacked_size)} unpacked ({shares or 'empty'}), "
            f"{megabytes(image.compressed_size)} compressed."
        )
    return " ".join([*parts, footnote((before, after))])


def _bars(axes: Axes, name: str, before: Build, after: Build, *, compressed: bool) -> None:
    rows = (("after", after), ("before", before))
    totals = {label: sum(b.sizes_by_kind(compressed=compressed).values()) for label, b in rows}
    widest = max(*totals.values(), 1)
    for kind in ("base", "dependencies", "app", "config"):
        sizes = [build.sizes_by_kind(compressed=compressed)[kind] for _, build in rows]
        if kind == "config" and not any(s > _LEAST_CONFIG * widest for s in sizes):
            continue
        offsets = [_offset(build, kind, compressed=compressed) for _, build in rows]
        bars = axes.barh(
            [label for label, _ in rows],
            [size / 1e6 for size in sizes],
            left=[offset / 1e6 for offset in offsets],
            color=COLOURS[kind], edgecolor=PAPER, linewidth=0.8, height=0.66, label=kind,
        )  # fmt: skip
        labels = [
            megabytes(size) if size > _NARROWEST_WITH_LABEL * widest else "" for size in sizes
        ]
        axes.bar_label(
            bars,
            labels,
            label_type="center",
            color=ink_on(COLOURS[kind]),
            fontsize=9,
            weight="bold",
        )
    for row, (label, build) in enumerate(rows):
        total = megabytes(totals[label])
        axes.annotate(
            total, (totals[label] / 1e6, row), (6, 0),
            textcoords="offset points", va="center", color=INK, fontsize=11, fontweight="bold",
        )  # fmt: skip
        if totals[label] < _SHORT_BAR * widest:
            axes.annotate(
                _parts(build, compressed=compressed),
                (totals[label] / 1e6, row), (16 + _TOTAL_CHARACTER * len(total), 0),
                textcoords="offset points", va="center", color=QUIET, fontsize=9,
            )  # fmt: skip
    axes.set_xlim(0, widest / 1e6 * 1.16)
    axes.set_xlabel(f"{name} size (MB)", color=QUIET, fontsize=9)
    quiet(axes)


def _parts(build: Build, *, compressed: bool) -> str:
    """Return in words what is too thin to be seen."""
    sizes = build.sizes_by_kind(compressed=compressed)
    return " + ".join(f"{kind} {megabytes(size)}" for kind, size in sizes.items() if size)


def _offset(build: Build, kind: str, *, compressed: bool) -> int:
    sizes = build.sizes_by_kind(compressed=compressed)
    kinds = list(sizes)
    return sum(sizes[earlier] for earlier in kinds[: kinds.index(kind)])
