"""The lessons' figures: true to what they are drawn from, all on the page, told in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.container import BarContainer
from matplotlib.text import Text

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


@pytest.mark.parametrize("name", sorted(every_picture()))
def test_nothing_is_drawn_outside_and_the_words_say_what_is_shown(name: str) -> None:
    picture = every_picture()[name]
    assert_all_inside(picture.figure)
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
    assert picture.figure.get_suptitle() == "5 stages, 1 of them not built"
    assert said_in(picture).count("not built") == 1
    assert "test (FROM deps, not built)" in picture.text


def test_with_a_target_the_stages_behind_it_are_not_built() -> None:
    picture = stage_graph(SKIPPING, "test")
    assert picture.figure.get_suptitle() == "5 stages, 3 of them not built"
    assert "test (FROM deps, the target)" in picture.text


def test_several_copies_between_two_stages_are_one_arrow_with_all_lines() -> None:
    assert "COPY, lines 6, 8" in said_in(stage_graph(SKIPPING))


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(DockerfileError, match="no stage called nobody"):
        stage_graph(SKIPPING, "nobody")


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


def test_the_layer_stack_has_the_lowest_layer_at_the_bottom() -> None:
    labels = [t.get_text() for t in layer_stack(FAT).figure.axes[0].get_yticklabels()]
    assert labels[0] == "1: base"
    assert len(labels) == 3


def test_bases_are_sorted_with_the_largest_at_the_top() -> None:
    picture = bases("The Go server", {"alpine": SLIM, "debian slim": FAT})
    labels = [t.get_text() for t in picture.figure.axes[0].get_yticklabels()]
    assert labels == ["alpine", "debian slim"]
    assert picture.figure.get_suptitle().startswith("The Go server: on alpine")
