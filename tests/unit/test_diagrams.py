"""The lessons' figures: true to what they are drawn from, all on the page, told in words."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as MplPath
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from multistage.dockerfile import parse
from multistage.dockerfile.errors import DockerfileError
from multistage.images.surface import PARTS
from multistage.labs import ROOT
from multistage.plots import (
    BANDWIDTHS,
    Picture,
    anatomy,
    bases,
    flow,
    layer_stack,
    pull_times,
    shares,
    single_and_multi,
    stage_graph,
)
from multistage.plots.measured import pull_seconds
from tests.unit.made import made_build
from tests.unit.test_plots import assert_all_inside, drawn_by, texts

FAT = made_build({"base": 600_000_000, "dependencies": 250_000_000, "app": 20_000_000}, stages=1)
SLIM = made_build({"base": 5_000_000, "app": 3_780_000})
EMPTY = made_build({})
SHARES = dict.fromkeys(PARTS, 0) | {"toolchain": 700, "system": 290, "app": 10}
SKIPPING = parse(
    b"FROM a AS deps\nFROM deps AS test\nFROM b AS server\nFROM deps AS build\n"
    b"FROM scratch\nCOPY --from=build /dist /www\nCOPY --from=server /s /s\n"
    b"COPY --from=build /x /x\n"
)
DOCKERFILES = sorted(
    path
    for folder in ("examples", "solutions")
    for path in (ROOT / folder).glob("*/*/Dockerfile")
    if not path.with_name("expected-error.txt").exists()
)


def every_picture() -> dict[str, Picture]:
    return {
        "single and multi": single_and_multi(),
        "anatomy": anatomy(),
        "flow": flow(),
        "graph": stage_graph(SKIPPING),
        "one stage": stage_graph(parse(b"FROM a\n")),
        "shares": shares("Before", FAT, SHARES),
        "no shares": shares("Before", EMPTY, dict.fromkeys(PARTS, 0)),
        "pull times": pull_times({"fat": FAT, "slim": SLIM}),
        "layers": layer_stack(FAT),
        "no layers": layer_stack(EMPTY),
        "bases": bases("The Go server", {"debian slim": FAT, "alpine": SLIM, "scratch": EMPTY}),
    }


def assert_framed(figure: Figure) -> None:
    """All that is drawn keeps off the edges, so that the figure looks framed on a dark page."""
    renderer = drawn_by(figure)
    extents = [figure._suptitle.get_window_extent(renderer)]  # type: ignore[attr-defined]
    for axes in figure.axes:
        inner = [*axes.patches, *axes.lines, *axes.texts]
        charts = [axes.get_tightbbox(renderer)] if axes.axison else []
        extents += charts or [artist.get_window_extent(renderer) for artist in inner]
    drawn, framed = Bbox.union(extents), figure.bbox.padded(-12)
    assert framed.x0 <= drawn.x0
    assert framed.y0 <= drawn.y0
    assert drawn.x1 <= framed.x1
    assert drawn.y1 <= framed.y1


@pytest.mark.parametrize("name", sorted(every_picture()))
def test_nothing_is_drawn_outside_and_the_words_say_what_is_shown(name: str) -> None:
    picture = every_picture()[name]
    assert_all_inside(picture.figure)
    assert_framed(picture.figure)
    assert picture.figure.get_size_inches()[0] * picture.figure.dpi == 800
    assert len(picture.text) > 30
    assert picture.figure.get_suptitle()


@pytest.mark.parametrize("name", sorted(every_picture()))
def test_no_text_lies_on_another(name: str) -> None:
    figure = every_picture()[name].figure
    renderer = drawn_by(figure)
    found = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    boxes = [(said, box.padded(-1)) for said, box in found if said.strip()]
    clashes = [
        (one, other)
        for number, (one, first) in enumerate(boxes)
        for other, second in boxes[number + 1 :]
        if first.overlaps(second)
    ]
    assert not clashes


def said_in(picture: Picture) -> list[str]:
    return [t.get_text() for t in picture.figure.findobj(Text) if isinstance(t, Text)]


def test_a_stage_that_is_not_needed_is_drawn_as_not_built() -> None:
    picture = stage_graph(SKIPPING)
    assert picture.figure.get_suptitle() == "5 stages, 1 of them skipped"
    assert said_in(picture).count("skipped") == 1
    assert "test (FROM deps, skipped)" in picture.text


def test_with_a_target_the_stages_behind_it_are_not_built() -> None:
    picture = stage_graph(SKIPPING, "test")
    assert picture.figure.get_suptitle() == "5 stages, 3 of them skipped"
    assert "test (FROM deps, the target)" in picture.text


def test_several_copies_between_two_stages_are_one_arrow_with_all_lines() -> None:
    assert "COPY, lines 6, 8" in said_in(stage_graph(SKIPPING))


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(DockerfileError, match="no stage called nobody"):
        stage_graph(SKIPPING, "nobody")


@st.composite
def dockerfiles(draw: st.DrawFn) -> str:
    """Return a Dockerfile of up to eight stages that take from one another."""
    lines: list[str] = []
    for stage in range(draw(st.integers(1, 8))):
        earlier = [f"a-name-{n}" for n in range(stage)]
        base = draw(st.sampled_from(["gcr.io/distroless/static-debian12:nonroot", *earlier]))
        lines.append(f"FROM {base} AS a-name-{stage}")
        taken = draw(st.lists(st.sampled_from(earlier), max_size=4)) if earlier else []
        lines += [f"COPY --from={name} /x /x" for name in taken]
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(dockerfiles())
def test_in_a_graph_of_up_to_eight_stages_nothing_lies_on_a_box_or_a_label(text: str) -> None:
    figure = stage_graph(parse(text)).figure
    assert_all_inside(figure)
    renderer = drawn_by(figure)
    (axes,) = figure.axes
    labels = {t: t.get_window_extent(renderer).padded(-1) for t in texts(figure)}
    boxes = [p.get_window_extent().padded(-2) for p in axes.patches if is_box(p)]
    arrows = [shaft(p, axes) for p in axes.patches if not is_box(p)]
    for one, other in itertools.combinations(labels.values(), 2):
        assert not one.overlaps(other)
    for extent in labels.values():
        assert all(contains(box, extent) or not box.overlaps(extent) for box in boxes)
        assert not any(arrow.intersects_bbox(extent, filled=False) for arrow in arrows)
    for box, arrow in itertools.product(boxes, arrows):
        assert not arrow.intersects_bbox(box, filled=False)


def is_box(patch: Patch) -> bool:
    return isinstance(patch, FancyBboxPatch)


def shaft(arrow: Patch, axes: Axes) -> MplPath:
    """Return the way of an arrow, without its head."""
    way, *_ = arrow.get_path().to_polygons(axes.transData, closed_only=False)
    return MplPath(way)


def contains(box: Bbox, inner: Bbox) -> bool:
    return bool(box.containsx(inner.x0) and box.containsx(inner.x1)
                and box.containsy(inner.y0) and box.containsy(inner.y1))  # fmt: skip


def test_an_arrow_past_a_stage_has_its_own_way_and_label() -> None:
    tested = parse("FROM a AS b\nFROM b AS test\nFROM a\nCOPY --from=test x x\nCOPY --from=b x x\n")
    figure = stage_graph(tested).figure
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 3
    assert [t for t in said_in(stage_graph(tested)) if t.startswith(("FROM", "COPY"))].count(
        "COPY, line 5"
    ) == 1


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: "/".join(p.parts[-3:-1]))
def test_the_graph_of_every_dockerfile_of_the_course_fits(path: Path) -> None:
    assert_all_inside(stage_graph(parse(path.read_bytes(), str(path))).figure)


def test_the_shares_are_those_of_the_image_the_largest_at_the_top() -> None:
    picture = shares("Before", FAT, SHARES)
    assert picture.figure.get_suptitle() == "Before: 1 % of it is the app"
    (bars,) = (c for c in picture.figure.axes[0].containers if isinstance(c, BarContainer))
    assert [round(bar.get_width()) for bar in bars.patches] == [1, 29, 70]


def test_pull_times_are_bits_over_bandwidth() -> None:
    assert pull_seconds(50_000_000, 50) == 8
    assert [round(pull_seconds(1_000_000, b), 3) for b in BANDWIDTHS] == [1.6, 0.16, 0.016]


def test_the_axis_of_pull_times_is_in_words() -> None:
    axes = pull_times({"fat": FAT, "slim": SLIM}).figure.axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0.1 s", "1 s", "10 s", "1 min", "10 min"]
    assert [float(tick) for tick in axes.get_xticks()] == [0.1, 1, 10, 60, 600]


def test_a_share_too_small_for_digits_is_said_in_words() -> None:
    parts = dict.fromkeys(PARTS, 0) | {"toolchain": 10_000_000, "app": 84}
    picture = shares("Before", FAT, parts)
    assert picture.figure.get_suptitle() == "Before: less than 0.01 % of it is the app"
    assert "app less than 0.01 %  (84 B)" in picture.text


def test_the_layer_stack_has_the_lowest_layer_at_the_bottom() -> None:
    labels = [t.get_text() for t in layer_stack(FAT).figure.axes[0].get_yticklabels()]
    assert labels[0] == "1: base"
    assert len(labels) == 3


def test_bases_are_sorted_with_the_largest_at_the_top() -> None:
    picture = bases("The Go server", {"alpine": SLIM, "debian slim": FAT})
    labels = [t.get_text() for t in picture.figure.axes[0].get_yticklabels()]
    assert labels == ["alpine", "debian slim"]
    assert picture.figure.get_suptitle().startswith("The Go server: on alpine")
