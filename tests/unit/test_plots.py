"""The before and after figure: true to its numbers, and all of it on the page."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from multistage.builds import Build
from multistage.dockerfile import parse
from multistage.labs import LabFolder, labs
from multistage.plots import COLOURS, compare, compare_alt_text, compare_title, footnote
from multistage.plots.style import ink_on
from multistage.terminal import COLOURS as TERMINAL_COLOURS
from multistage.units import megabytes
from tests.unit.made import BUILDER, ROOT, made_build

BEFORE = made_build(
    {"base": 600_000_000, "dependencies": 250_000_000, "app": 20_000_000, "config": 8_000_000},
    stages=1,
)
AFTER = made_build({"base": 5_000_000, "app": 3_780_000})


def rows(figure: Figure, axes: int) -> list[list[tuple[str, float, float]]]:
    """Return the bars of the after row and of the before row: kind, left end, width."""
    found: list[list[tuple[str, float, float]]] = [[], []]
    for container in figure.axes[axes].containers:
        assert isinstance(container, BarContainer)
        for row, bar in enumerate(container.patches):
            assert isinstance(bar, Rectangle)
            found[row].append((str(container.get_label()), bar.get_x(), bar.get_width()))
    return found


def drawn_by(figure: Figure) -> RendererAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer: RendererAgg = canvas.get_renderer()  # type: ignore[no-untyped-call]
    return renderer


def texts(figure: Figure) -> list[Text]:
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text()
    ]


def assert_all_inside(figure: Figure) -> None:
    drawn = figure.get_tightbbox(drawn_by(figure))
    width, height = figure.get_size_inches()
    hair = 1e-9  # what is computed is not exact
    assert drawn.x0 >= -hair, "left"
    assert drawn.y0 >= -hair, "bottom"
    assert drawn.x1 <= width + hair, "right"
    assert drawn.y1 <= height + hair, "top"


def test_the_title_says_how_many_times_smaller() -> None:
    figure = compare("A Go server", BEFORE, AFTER).figure
    assert figure.get_suptitle() == "A Go server: 100 times smaller, unpacked"
    assert compare_title("A Go server", BEFORE, AFTER) == figure.get_suptitle()


def test_the_title_says_where_nothing_is_converted_yet() -> None:
    figure = compare("A Go server", BEFORE, BEFORE).figure
    assert figure.get_suptitle() == "A Go server: not converted yet"


def test_each_axis_names_its_measure_and_unit() -> None:
    labels = [axes.get_xlabel() for axes in compare("Lab", BEFORE, AFTER).figure.axes]
    assert labels == ["unpacked size (MB)", "compressed size (MB)"]


def test_the_rows_are_before_above_after() -> None:
    for axes in compare("Lab", BEFORE, AFTER).figure.axes:
        at = {label.get_text(): label.get_position()[1] for label in axes.get_yticklabels()}
        assert at["before"] > at["after"]


def test_each_row_ends_with_its_total() -> None:
    figure = compare("Lab", BEFORE, AFTER).figure
    for axes, sizes in zip(
        figure.axes,
        (
            (AFTER.unpacked_size, BEFORE.unpacked_size),
            (AFTER.compressed_size, BEFORE.compressed_size),
        ),
        strict=True,
    ):
        shown = [text.get_text() for text in axes.texts if text.get_fontsize() == 11]
        assert shown == [megabytes(size) for size in sizes]


def test_the_footnote_names_engine_date_and_stand_ins() -> None:
    before = made_build({"app": 1}, stand_ins=("golang:1.27",), date="2026-01-30")
    after = made_build({"app": 1}, stand_ins=("golang:1.27", "alpine:latest"))
    figure = compare("Lab", before, after).figure
    note = figure.get_supxlabel().replace("\n", " ")
    assert note == footnote((before, after))
    assert note == (
        "Measured from the layers, 2026-01-30 and 2026-01-31 · "
        f"{BUILDER} · stand-ins for golang:1.27, alpine:latest"
    )


def test_the_footnote_without_stand_ins_says_that_bases_are_the_published_ones() -> None:
    other = made_build({"app": 1}, builder="Docker Engine 29.1.0, containerd store, buildx 0.29.1")
    note = footnote((BEFORE, other))
    assert note.endswith("base images as published")
    assert BUILDER in note
    assert other.builder in note


def test_the_alt_text_tells_every_number_of_the_figure() -> None:
    text = compare_alt_text("A Go server", BEFORE, AFTER)
    assert text.startswith("A Go server: 100 times smaller, unpacked. ")
    assert (
        "Before: 878 MB unpacked (base 600 MB, dependencies 250 MB, app 20 MB, config 8 MB), "
        "293 MB compressed." in text
    )
    assert "After: 8.78 MB unpacked (base 5 MB, app 3.78 MB), 2.93 MB compressed." in text
    assert text.endswith(footnote((BEFORE, AFTER)))


def test_the_alt_text_calls_an_image_without_files_empty() -> None:
    text = compare_alt_text("Lab", BEFORE, made_build({"app": 0}))
    assert "After: 0 B unpacked (empty), 0 B compressed." in text


kind_sizes = st.fixed_dictionaries(
    {kind: st.integers(0, 2 * 10**9) for kind in ("base", "dependencies", "app")}
)


@settings(max_examples=20, deadline=None)
@given(kind_sizes, kind_sizes, kind_sizes, kind_sizes)
def test_the_bars_of_a_row_stand_end_to_end_and_sum_to_its_size(
    before: dict[str, int], after: dict[str, int], packed: dict[str, int], packed_2: dict[str, int]
) -> None:
    builds = (made_build(after, compressed=packed), made_build(before, compressed=packed_2))
    figure = compare("Lab", builds[1], builds[0]).figure
    for axes, compressed in ((0, False), (1, True)):
        for bars, build in zip(rows(figure, axes), builds, strict=True):
            sizes = build.sizes_by_kind(compressed=compressed)
            assert {k: pytest.approx(w * 1e6) for k, _, w in bars} == {
                k: sizes[k] for k in ("base", "dependencies", "app")
            }
            ends = [0.0, *(left + width for _, left, width in bars)]
            assert [left for _, left, _ in bars] == pytest.approx(ends[:-1])
            total = build.compressed_size if compressed else build.unpacked_size
            assert ends[-1] * 1e6 == pytest.approx(total)
            assert figure.axes[axes].get_xlim()[1] * 1e6 >= total


def test_config_is_drawn_only_where_it_can_be_seen() -> None:
    tiny = made_build({"app": 10_000_000, "config": 1_000})
    large = made_build({"app": 10_000_000, "config": 100_000})
    assert [kind for kind, _, _ in rows(compare("Lab", tiny, tiny).figure, 0)[0]][-1] == "app"
    kind, left, width = rows(compare("Lab", tiny, large).figure, 0)[0][-1]
    assert kind == "config"
    assert (left, width) == pytest.approx((10, 0.1))


def luminance(colour: str) -> float:
    """Return a colour's relative luminance: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("meaning", sorted(COLOURS))
def test_what_is_written_on_a_colour_has_the_contrast_that_text_needs(meaning: str) -> None:
    dark, light = sorted((luminance(COLOURS[meaning]), luminance(ink_on(COLOURS[meaning]))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_no_two_meanings_share_a_colour() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_a_kind_has_the_same_colour_in_figures_and_on_the_terminal() -> None:
    assert {kind: COLOURS[kind] for kind in TERMINAL_COLOURS} == TERMINAL_COLOURS
    for container in compare("Lab", BEFORE, AFTER).figure.axes[0].containers:
        assert isinstance(container, BarContainer)
        for bar in container.patches:
            assert to_hex(bar.get_facecolor()).upper() == COLOURS[str(container.get_label())]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, AFTER),
        (BEFORE, BEFORE),
        (BEFORE, made_build({"app": 0})),
        (made_build({"app": 0}, stages=1), made_build({"app": 0})),
        (AFTER, BEFORE),
        (made_build({"base": 999_499_999_999}), AFTER),
    ],
    ids=["smaller", "not converted", "after is empty", "both are empty", "larger", "huge"],
)
def test_nothing_is_drawn_outside_the_figure(before: Build, after: Build) -> None:
    assert_all_inside(compare("A Go server in an empty box", before, after).figure)


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
def test_a_labs_own_figure_fits_with_stand_ins_for_all_its_bases(lab: LabFolder) -> None:
    solution = ROOT / "solutions" / lab.name / lab.solution / "Dockerfile"
    bases = [
        tuple(image.name for image in parse(file.read_bytes()).external_images())
        for file in (lab.before_dockerfile, solution)
    ]
    before = made_build({"base": 900_000_000}, stand_ins=bases[0], stages=1)
    assert_all_inside(
        compare(lab.title, before, made_build({"app": 5_000}, stand_ins=bases[1])).figure
    )


def test_the_labels_of_a_figure_do_not_lie_on_one_another() -> None:
    figure = compare("A Go server in an empty box", BEFORE, AFTER).figure
    renderer = drawn_by(figure)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    assert len(boxes) > 10
    clashes = [(a, b) for a, x in boxes for b, y in boxes if a != b and x.overlaps(y)]
    assert clashes == []


@pytest.mark.parametrize(
    ("name", "start"), [("figure.png", b"\x89PNG\r\n\x1a\n"), ("figure.svg", b"<?xml")]
)
def test_a_figure_is_saved_as_png_and_svg(tmp_path: Path, name: str, start: bytes) -> None:
    compare("Lab", BEFORE, AFTER).figure.savefig(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
