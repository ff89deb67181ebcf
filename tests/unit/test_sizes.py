"""The three meanings of size, layers and history, from made images: what each line says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from multistage.errors import UsageError
from multistage.images import ImageArchive, MeasuredLayer
from multistage.sizes import (
    DockerSizes,
    history,
    history_lines,
    instruction,
    layer_lines,
    layers,
    nearest,
    size_lines,
    sizes,
)
from tests.unit.made import made_build

MB = 1_000_000
MADE = made_build({"base": 10 * MB, "app": 2 * MB, "config": 0})


def archive(history: list[Any], *sizes: int) -> ImageArchive:
    found = (MeasuredLayer(f"sha256:{size}", size, size // 2, "app", ()) for size in sizes)
    return ImageArchive({"history": history}, tuple(found))


def entry(created_by: str, *, empty: bool = False) -> dict[str, object]:
    return {"created_by": created_by, **({"empty_layer": True} if empty else {})}


def test_each_meaning_of_size_has_its_line_and_the_store_is_named() -> None:
    said = size_lines(100 * MB, 30 * MB, DockerSizes("containerd store", 133 * MB, 31 * MB))
    assert said == [
        "the meter, unpacked       100 MB",
        "the meter, compressed      30 MB",
        "docker image ls           133 MB  nearest to unpacked + compressed",
        "image inspect .Size        31 MB  nearest to compressed",
        "image store: containerd store",
    ]


def test_without_docker_the_meter_stays_and_nothing_is_invented() -> None:
    said = size_lines(100 * MB, 30 * MB, None)
    assert said[:2] == ["the meter, unpacked       100 MB", "the meter, compressed      30 MB"]
    assert [line.split("—  ")[1] for line in said[2:]] == ["no Docker here to ask"] * 2


def test_an_image_that_docker_does_not_list_has_no_listed_size() -> None:
    said = size_lines(100 * MB, 30 * MB, DockerSizes("overlay2", None, 100 * MB))
    assert said[2].endswith("—  not listed")
    assert said[3].endswith("100 MB  nearest to unpacked")


@pytest.mark.parametrize(
    ("size", "said"),
    [(96, "unpacked"), (104, "unpacked"), (28, "compressed"), (138, "unpacked + compressed")],
)
def test_a_figure_is_named_after_the_nearest_of_the_meters(size: int, said: str) -> None:
    assert nearest(size, 100, 30) == f"nearest to {said}"


def test_layers_are_told_lowest_first_with_stage_line_and_instruction() -> None:
    assert layer_lines(MADE.layers) == [
        " 1     10 MB  base image          COPY . .",
        " 2      2 MB  build, line 2       COPY . .",
        " 3       0 B  build, line 3       COPY . .",
    ]


def test_a_stage_without_a_name_is_told_by_its_number() -> None:
    layer = replace(MADE.layers[1], stage="1")
    assert "stage 1, line 2" in layer_lines([layer])[0]


def test_history_is_told_newest_first_with_the_steps_that_made_no_layer() -> None:
    steps = [
        entry("the base"),
        entry("RUN /bin/sh -c rm /x # buildkit"),
        entry("CMD [ls]", empty=True),
    ]
    assert history_lines(archive(steps, 3 * MB, 0)) == [
        "config only  CMD [ls]",
        "        0 B  RUN rm /x",
        "       3 MB  the base",
    ]


def test_a_layer_that_the_history_does_not_name_is_told_all_the_same() -> None:
    assert history_lines(archive([], 3 * MB)) == ["       3 MB  (not said)"]
    assert history_lines(archive(["no entry", entry("one")], 5)) == ["        5 B  one"]


def test_a_step_without_its_layer_has_no_size() -> None:
    assert history_lines(archive([entry("one"), entry("two")], 5)) == [
        "config only  two",
        "        5 B  one",
    ]


@pytest.mark.parametrize(
    ("created_by", "said"),
    [
        ("RUN /bin/sh -c npm ci # buildkit", "RUN npm ci"),
        ("COPY . . # buildkit", "COPY . ."),
        ("/bin/sh -c npm ci", "RUN npm ci"),
        ('/bin/sh -c #(nop)  CMD ["ls"]', 'CMD ["ls"]'),
        ("RUN |1 A=b /bin/sh -c echo $A # buildkit", "RUN echo $A"),
        ("|2 A=b c D=e /bin/sh -c echo $A", "RUN echo $A"),
        ("RUN /bin/sh -c a \\\n    && b", "RUN a \\ && b"),
        (f"RUN {'word ' * 40}", f"RUN {'word ' * 9}word […]"),
        ("", "(not said)"),
    ],
)
def test_an_instruction_is_told_without_what_its_builder_added(created_by: str, said: str) -> None:
    assert instruction(created_by) == said


@pytest.mark.parametrize("value", [None, 3, "app"])
def test_what_is_no_build_is_refused_in_words(value: Any) -> None:
    for ask in (layers, history):
        with pytest.raises(UsageError, match="no finished build"):
            ask(value)


def test_what_is_no_image_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="no image"):
        sizes(3)  # type: ignore[arg-type]


def test_layers_of_a_build_are_shown() -> None:
    assert str(layers(MADE)).splitlines() == layer_lines(MADE.layers)
