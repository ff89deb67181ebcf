"""Hints with the learner's own stage and path in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from multistage.checks.artifact import find_artifact, with_own_names
from multistage.dockerfile import parse
from multistage.labs import Absent, LabArtifact, LabFolder, read_lab
from tests.unit.made import write_lab

COPY = "COPY --from=build /app/server /server"


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    made = read_lab(write_lab(tmp_path, "go") / "lab.toml")
    absent = Absent("x", "x", ("nudge", COPY))
    return replace(
        made,
        artifact=LabArtifact("build", "/app/server", "go build"),
        absent=(absent,),
        start_line=f"and above it {COPY}",
    )


def line(lab: LabFolder, *builder: str, last: str = "FROM scratch\n") -> str:
    """Return the hint for a Dockerfile with this builder stage and this final one."""
    text = "\n".join(("FROM golang AS compiler", *builder, last))
    mine = with_own_names(lab, parse(text))
    assert mine.start_line.removeprefix("and above it ") == mine.absent[0].hints[-1]
    return mine.absent[0].hints[-1]


@pytest.mark.parametrize(
    ("builder", "path"),
    [
        (["WORKDIR /src", "RUN go build -o /out/web ."], "/out/web"),
        (["WORKDIR /src", "RUN go build -o bin/web ."], "/src/bin/web"),
        (["WORKDIR /src", "RUN CGO_ENABLED=0 \\", "  go  build -ldflags='-s' -o=web"], "/src/web"),
        (["WORKDIR /src", "RUN <<E", "go build", "E"], "/src/server"),
        (["RUN go build -o /a", "RUN echo go built"], "/a"),
        (["RUN go build -o /a", "RUN go build -o /b"], "/b"),
    ],
)
def test_the_line_to_write_has_the_learners_stage_and_path(
    lab: LabFolder, builder: list[str], path: str
) -> None:
    assert line(lab, *builder) == f"COPY --from=compiler {path} /server"


@pytest.mark.parametrize(
    "builder",
    [["RUN make"], ["ENV D=/x", "WORKDIR $D", "RUN go build"], ["COPY go build"], []],
)
def test_where_nothing_tells_the_labs_own_names_stay(lab: LabFolder, builder: list[str]) -> None:
    assert line(lab, *builder) == COPY


def test_a_stage_that_ships_is_no_builder_stage(lab: LabFolder) -> None:
    build = "RUN go build -o /a"
    assert line(lab, build, last="FROM compiler") == COPY
    assert line(lab, last=f"FROM golang\n{build}") == COPY


def test_a_stage_without_a_name_is_told_by_its_number(lab: LabFolder) -> None:
    made = find_artifact(lab, parse("FROM golang\nRUN go build -o /a\nFROM scratch\n"))
    assert made is not None
    assert (made.stage.label, made.path) == ("0", "/a")


def test_a_lab_may_have_no_artifact(lab: LabFolder) -> None:
    plain = replace(lab, artifact=None)
    assert with_own_names(plain, parse("FROM a\nRUN go build\nFROM b\n")) == plain
