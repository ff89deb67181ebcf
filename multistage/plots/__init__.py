"""Figures: pure functions from measurements, or from a Dockerfile's stages, to a figure."""

from multistage.plots.compare import compare, compare_alt_text, compare_title
from multistage.plots.diagrams import anatomy, flow, single_and_multi
from multistage.plots.graphs import stage_graph
from multistage.plots.measured import BANDWIDTHS, bases, layer_stack, pull_times, shares
from multistage.plots.style import COLOURS, Picture, footnote

__all__ = [
    "BANDWIDTHS",
    "COLOURS",
    "Picture",
    "anatomy",
    "bases",
    "compare",
    "compare_alt_text",
    "compare_title",
    "flow",
    "footnote",
    "layer_stack",
    "pull_times",
    "shares",
    "single_and_multi",
    "stage_graph",
]
