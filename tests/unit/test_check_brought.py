"""Hints for a file that is in the image, and not where the program looks for it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from multistage.checks.brought import with_brought_files
from multistage.dockerfile import parse
from multistage.images import read_archive
from multistage.labs import Request, read_lab
from tests.unit.made import made_layers, write_lab

HINTS = ("nudge", "idea", "line")
NEEDS = Request(
    "/", 200, "", "It works", HINTS, file="ca.crt", file_hints=("idea", "ENV F={there}")
)


def hints(tmp_path: Path, last: str, *files: str, request: Request = NEEDS) -> tuple[str, ...]:
    """Return the hints for a final stage with ``last`` in it, and ``files`` in its image."""
    text = f"FROM golang AS build\nCOPY ca.crt /x/\nFROM scratch\n{last}\n"
    image = read_archive(io.BytesIO(made_layers(dict.fromkeys(files, b"x"))), keep_files=True)
    lab = replace(read_lab(write_lab(tmp_path, "go") / "lab.toml"), requests=(request,))
    return with_brought_files(lab, parse(text.encode(), "Dockerfile"), image).requests[0].hints


@pytest.mark.parametrize(
    ("last", "files", "there"),
    [
        ("COPY --from=build /etc/ca.crt /certs/ca.crt", ["certs/ca.crt"], "/certs/ca.crt"),
        ("COPY --from=build /etc/ca.crt /certs/", ["certs/ca.crt"], "/certs/ca.crt"),
        ("COPY --from=build /etc/ca.crt /certs", ["certs"], "/certs"),
        ("COPY --from=build /etc/ca.crt /etc/x /certs/", ["certs/ca.crt"], "/certs/ca.crt"),
        ('COPY --from=build ["/etc/ca.crt", "/a b/"]', ["a b/ca.crt"], "/a b/ca.crt"),
    ],
)
def test_a_copied_file_is_told_with_its_place(
    tmp_path: Path, last: str, files: list[str], there: str
) -> None:
    assert hints(tmp_path, last, *files) == (
        f"Line 4 copies ca.crt to {there}. Who looks there?",
        "idea",
        f"ENV F={there}",
    )


def test_a_relative_place_is_below_the_working_directory(tmp_path: Path) -> None:
    found = hints(tmp_path, "WORKDIR /srv\nCOPY --from=build /etc/ca.crt .", "srv/ca.crt")
    assert found[0] == "Line 5 copies ca.crt to /srv/ca.crt. Who looks there?"


@pytest.mark.parametrize(
    "last",
    [
        "COPY --from=build /server /server",
        "COPY --from=build /etc/other-ca.crt /x",
        "COPY --from=build /etc/ca.crt $PLACE/",  # nobody knows where
        "",
    ],
)
def test_without_the_file_the_usual_hints_stay(tmp_path: Path, last: str) -> None:
    assert hints(tmp_path, last, "server") == HINTS


def test_a_file_that_is_where_it_should_be_is_not_the_fault(tmp_path: Path) -> None:
    right = replace(NEEDS, hints=("nudge", "idea", "COPY --from=build /etc/ca.crt /certs/ca.crt"))
    copy = "COPY --from=build /etc/ca.crt /certs/"
    assert hints(tmp_path, copy, "certs/ca.crt", request=right) == right.hints


def test_an_answer_that_needs_no_file_keeps_its_hints(tmp_path: Path) -> None:
    plain = replace(NEEDS, file="")
    assert hints(tmp_path, "COPY --from=build / /", "x", request=plain) == HINTS
