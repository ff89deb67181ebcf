"""The video's checklist ticks what the learner did, and nothing else."""

import pytest

from multistage.dockerfile import parse
from multistage.takeaways import Converted, named_sources, tick

DONE = Converted("The page", 2, ("builder",), 0.06, works=True)


def test_all_is_ticked_where_a_lab_is_converted_small_and_works() -> None:
    lines = tick((DONE,))
    assert [line[:3] for line in lines] == ["[x]"] * 3
    assert "The page: 16.7 times smaller" in lines[1]
    assert "from builder" in lines[2]


@pytest.mark.parametrize(
    ("lab", "ticked"),
    [
        (Converted("The page", 1), [False, False, False]),
        (Converted("The page", 2, ("builder",), 0.9, works=True), [True, False, True]),
        (Converted("The page", 2, (), 0.06, works=True), [True, True, False]),
        (Converted("The page", 2, ("builder",), 0.06, works=False), [True, True, False]),
    ],
)
def test_what_is_missing_leaves_its_box_empty(lab: Converted, ticked: list[bool]) -> None:
    lines = tick((lab,))
    assert [line.startswith("[x]") for line in lines] == ticked
    assert all("Missing:" in line for line in lines if line.startswith("[ ]"))


def test_one_lab_that_is_done_ticks_for_all() -> None:
    assert all(line.startswith("[x]") for line in tick((Converted("Other", 1), DONE)))


def test_a_lab_that_does_not_build_is_named_with_the_reason() -> None:
    lines = tick((Converted("The page", 0, problem="There is no file."),))
    assert lines[-1].strip() == "The page does not build: There is no file."


def test_only_copies_by_name_count() -> None:
    text = b"FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=ONE /x /x\nCOPY --from=1 /y /y\n"
    assert named_sources(parse(text, "Dockerfile")) == ("one",)
