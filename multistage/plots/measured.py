"""Figures of what was measured: shares of an image, pull times, layers, and runtime bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from multistage.builds import Build
from multistage.images import Layer
from multistage.images.surface import PARTS
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
from multistage.units import megabytes, seconds, times_smaller

BANDWIDTHS = (5, 50, 500)  # Mbit/s: a slow mobile network, a home, an office
_ROW = 0.42  # hundreds of pixels that a bar takes
_MARGIN = 1.5  # hundreds of pixels for title, axis and footnote
_WIDE = 0.6  # a share of the widest bar from which an instruction has room within
_LONGEST = 40  # characters of an instruction
_TENTH = 0.1
_HARDLY = 0.0001  # a share below which digits say nothing
# Seconds that a time axis has lines at. Powers of ten are read by few.
_TIMES = {0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min",
          600: "10 min", 3600: "1 h", 36000: "10 h", 360000: "100 h"}  # fmt: skip


def shares(name: str, build: Build, parts: Mapping[str, int]) -> Picture:
    """Return what an image is made of, in per cent of its bytes, the largest part first."""
    total = sum(parts.values()) or 1
    rows = sorted(((part, size) for part, size in parts.items() if size), key=lambda row: row[1])
    finding = f"{name}: {_percent(parts['app'] / total)} of it is the app"
    figure = new_figure(_MARGIN + _ROW * len(rows))
    axes = figure.subplots()
    bars = axes.barh(
        [part for part, _ in rows], [size / total * 100 for _, size in rows],
        color=[COLOURS[PARTS[part]] for part, _ in rows], height=0.7,
    )  # fmt: skip
    labels = [f"{_percent(size / total)}  ({megabytes(size)})" for _, size in rows]
    axes.bar_label(bars, labels, padding=6, color=INK, fontsize=10)
    axes.set_xlim(0, max([100 * size / total for _, size in rows], default=1) * 1.3)
    if not rows:
        axes.set_yticks([])
    axes.set_xlabel("share of the unpacked size (%)", color=QUIET, fontsize=9)
    quiet(axes)
    titled(figure, finding)
    noted(figure, [build])
    said = ", ".join(f"{p} {label}" for (p, _), label in zip(rows[::-1], labels[::-1], strict=True))
    return Picture(figure, f"{finding}. {said or 'It is empty'}. {footnote([build])}")


def _percent(share: float) -> str:
    if 0 < share < _HARDLY:
        return f"less than {_HARDLY * 100:.2g} %"
    return f"{share * 100:.0f} %" if share >= _TENTH else f"{share * 100:.2g} %"


def pull_seconds(compressed_size: int, bandwidth: float) -> float:
    """Return the seconds that ``compressed_size`` bytes need at ``bandwidth`` Mbit/s.

    The transfer alone: a pull also asks the registry, verifies and unpacks.
    """
    return compressed_size * 8 / (bandwidth * 1e6)


def _time(value: float) -> str:
    return seconds(value) if value >= 1 else f"{value * 1000:.0f} ms"


def pull_times(images: Mapping[str, Build]) -> Picture:
    """Return how long images travel at three bandwidths, on a logarithmic axis."""
    names = list(images)
    first, last = images[names[0]], images[names[-1]]
    ratio = times_smaller(first.compressed_size, last.compressed_size).replace("smaller", "less")
    finding = f"{names[-1]}: {ratio} to pull than {names[0]}"
    figure = new_figure(_MARGIN + 0.55 + _ROW * len(images) * len(BANDWIDTHS))
    axes = figure.subplots()
    said = []
    for number, (name, build) in enumerate(images.items()):
        values = [pull_seconds(build.compressed_size, bandwidth) for bandwidth in BANDWIDTHS]
        places = [row * (len(images) + 0.6) + number for row in range(len(BANDWIDTHS))]
        colour = COLOURS["runtime stage"] if number == len(images) - 1 else INK
        label = f"{name} ({megabytes(build.compressed_size)} compressed)"
        bars = axes.barh(places, values, color=colour, height=0.86, label=label)
        axes.bar_label(bars, [_time(v) for v in values], padding=6, color=INK, fontsize=10)
        times = ", ".join(
            f"{_time(v)} at {b} Mbit/s" for v, b in zip(values, BANDWIDTHS, strict=True)
        )
        said.append(f"{label}: {times}.")
    middle = (len(images) - 1) / 2
    ticks = [row * (len(images) + 0.6) + middle for row in range(len(BANDWIDTHS))]
    axes.set_yticks(ticks, [f"{bandwidth} Mbit/s" for bandwidth in BANDWIDTHS])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 4)
    _name_times(axes)
    axes.set_xlabel("time that the compressed layers travel (a logarithmic scale)",
                    color=QUIET, fontsize=9)  # fmt: skip
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False,
                labelcolor=INK, fontsize=10, handlelength=1)  # fmt: skip
    axes.grid(axis="x", color="#E5E7EB", linewidth=0.8)
    axes.set_axisbelow(True)
    quiet(axes)
    titled(figure, finding)
    noted(figure, list(images.values()))
    return Picture(figure, " ".join([f"{finding}.", *said, footnote(list(images.values()))]))


def _name_times(axes: Axes) -> None:
    """Write an axis of seconds in words."""
    low, high = axes.get_xlim()
    within = [time for time in _TIMES if low <= time <= high]
    axes.set_xticks(within, [_TIMES[time] for time in within])
    axes.set_xticks([], minor=True)


def layer_stack(build: Build) -> Picture:
    """Return an image's layers as they lie on each other, the lowest at the bottom."""
    layers = [layer for layer in build.layers if layer.unpacked_size or layer.stage]
    name = build.image.rpartition("/")[2]
    count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
    finding = f"{name}: {count}, {megabytes(build.unpacked_size)} unpacked"
    figure = new_figure(_MARGIN + _ROW * max(len(layers), 1))
    axes = figure.subplots()
    rows = [_layer_name(number, layer.line, layer.stage) for number, layer in enumerate(layers)]
    sizes = [layer.unpacked_size for layer in layers]
    bars = axes.barh(
        rows, [size / 1e6 for size in sizes], height=0.8,
        color=[COLOURS[layer.kind] for layer in layers],
    )  # fmt: skip
    words = [f"{megabytes(layer.unpacked_size)}  {_made_by(layer.created_by)}" for layer in layers]
    axes.bar_label(bars, [megabytes(size) for size in sizes], padding=6, color=INK, fontsize=10)
    widest = max([*sizes, 1]) / 1e6
    for row, layer in enumerate(layers):
        _name_layer(axes, row, layer, widest)
    axes.set_xlim(0, widest * 1.5)
    if not layers:
        axes.set_yticks([])
    axes.set_xlabel("unpacked size (MB)", color=QUIET, fontsize=9)
    quiet(axes)
    titled(figure, finding)
    noted(figure, [build])
    said = "; ".join(f"{row}: {word}" for row, word in zip(rows, words, strict=True))
    return Picture(figure, f"{finding}. From the bottom: {said}. {footnote([build])}")


def _layer_name(number: int, line: int | None, stage: str | None) -> str:
    return f"{number + 1}: line {line}" if stage is not None and line else f"{number + 1}: base"


def _made_by(created_by: str) -> str:
    """Return the instruction that made a layer, short enough for a bar."""
    text = " ".join(created_by.replace("# buildkit", "").split())
    for prefix in ("|0 /bin/sh -c ", "/bin/sh -c "):
        text = text.removeprefix(prefix)
    text = text.replace("RUN /bin/sh -c ", "RUN ")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _name_layer(axes: Axes, row: int, layer: Layer, widest: float) -> None:
    """Write an instruction into its bar, or behind its size where the bar is too short."""
    size = layer.unpacked_size / 1e6
    within = size > _WIDE * widest
    place = (4, 0) if within else (68, 0)
    axes.annotate(
        _made_by(layer.created_by), (0 if within else size, row), place,
        textcoords="offset points", va="center", fontsize=9,
        color=ink_on(COLOURS[layer.kind]) if within else QUIET,
        weight="bold" if within else "normal",
    )  # fmt: skip


def bases(title: str, images: Mapping[str, Build]) -> Picture:
    """Return the same app on several runtime bases: what is the base's, and what is the app's."""
    rows = sorted(images.items(), key=lambda row: row[1].unpacked_size)
    smallest, largest = rows[0], rows[-1]
    ratio = times_smaller(largest[1].unpacked_size, smallest[1].unpacked_size)
    finding = f"{title}: on {smallest[0]} {ratio} than on {largest[0]}"
    figure = new_figure(_MARGIN + 0.25 + _ROW * len(rows))
    axes = figure.subplots()
    widest = max(largest[1].unpacked_size, 1) / 1e6
    starts = [0.0] * len(rows)
    for kind in ("base", "dependencies", "app", "config"):
        values = [build.sizes_by_kind()[kind] / 1e6 for _, build in rows]
        if max(values) < widest / 1000:
            continue
        axes.barh([name for name, _ in rows], values, left=starts, color=COLOURS[kind],
                  edgecolor=PAPER, linewidth=0.6, height=0.72, label=kind)  # fmt: skip
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    for row, (_, build) in enumerate(rows):
        text = f"{megabytes(build.unpacked_size)}  ({megabytes(build.compressed_size)} compressed)"
        axes.annotate(text, (build.unpacked_size / 1e6, row), (6, 0), textcoords="offset points",
                      va="center", color=INK, fontsize=10)  # fmt: skip
    axes.set_xlim(0, widest * 1.42)
    axes.set_xlabel("unpacked size (MB)", color=QUIET, fontsize=9)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, frameon=False,
                labelcolor=INK, fontsize=10, handlelength=1)  # fmt: skip
    quiet(axes)
    titled(figure, finding)
    builds: Sequence[Build] = [build for _, build in rows]
    noted(figure, builds)
    said = "; ".join(
        f"{name}: {megabytes(b.unpacked_size)} unpacked, {megabytes(b.compressed_size)} compressed"
        for name, b in rows
    )
    return Picture(figure, f"{finding}. {said}. {footnote(builds)}")
