"""The line to write where a copy did not find its source: right for the learner's own file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.checks import does_not_build
from multistage.checks.building import line_to_write
from multistage.checks.starting import workdir
from multistage.dockerfile import parse
from multistage.errors import LearnerError
from multistage.labs import LabArtifact, LabFolder, read_lab
from tests.unit.made import write_lab

STARTER = "FROM node:24-alpine\nWORKDIR /app\nRUN npm ci\nCOPY . .\nRUN npm run build --all\n"
BUILD = STARTER.replace("\nW", " AS builder\nW", 1)
GO = "FROM golang:1.27 AS build\nWORKDIR /src\n"
GO += "RUN npm ci && npm run build && go build -o /app/server\n"


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    made = read_lab(write_lab(tmp_path, "page") / "lab.toml")
    made.before_dockerfile.write_text(STARTER, "utf-8")
    return made


def missing(path: str, where: str) -> LearnerError:
    return LearnerError(f'The build stopped: "{path}": not found', where=where, mend="Look.")


def line(lab: LabFolder, above: str, copy: str, path: str = "/x") -> str:
    """Return what is said of a copy at the end of a file that did not find its source."""
    lab.dockerfile.write_text(f"{above}{copy}\n", "utf-8")
    number = above.count("\n") + 1
    found = line_to_write(lab, missing(path, f"{lab.dockerfile}:{number}"))
    return found.removeprefix(f"Line {number}, ")


NGINX = f"{BUILD}FROM nginx:alpine\n"
MENDED = "COPY --from=builder /app/dist /html"
PULLED = "for node:24-alpine is the image as it is pulled"
WORKDIR = "if builder makes it in its WORKDIR"


@pytest.mark.parametrize(
    ("copy", "said"),
    [
        ("COPY dist /html", f"{WORKDIR}: {MENDED}"),
        ("COPY ./dist/ /html", f"{WORKDIR}: {MENDED}"),
        ("COPY --from=builder dist /html", f"{WORKDIR}: {MENDED}"),
        ("COPY --from=builder /dist /html", f"{WORKDIR}: {MENDED}"),
        ("COPY --from=0 /dist /html", f"{WORKDIR}: {MENDED}"),
        ("COPY --from=node:24-alpine /app/dist /html", f"{PULLED}: {MENDED}"),
        ("COPY --from=node:24-alpine dist /html", f"{PULLED}: {MENDED}"),
        ("COPY --link --chown=1:1 dist /html",
         f"{WORKDIR}: COPY --from=builder --link --chown=1:1 /app/dist /html"),
        ("COPY --from=node:18-alpine /app/dist /html", ""),
        ("COPY --from=builder /app/build /html", ""),
        ("COPY --from=builder a b /html/", ""),
        ('COPY ["the dist", "/html"]', ""),
        ("COPY $DIST /html", ""),
        ("COPY <<a /html\na", ""),
    ],
)  # fmt: skip
def test_a_copy_is_mended_with_the_stage_and_its_workdir(
    lab: LabFolder, copy: str, said: str
) -> None:
    assert line(lab, NGINX, copy) == said


@pytest.mark.parametrize(
    "copy",
    ["COPY /app/server /s", "COPY --from=build /src/server /s", "COPY --from=build server /s"],
)
def test_the_path_that_a_command_names_comes_before_the_workdir(lab: LabFolder, copy: str) -> None:
    said = line(lab, f"{GO}FROM scratch\n", copy)
    assert said == "as line 3 makes it there: COPY --from=build /app/server /s"


def test_a_path_that_is_right_already_is_not_written_again(lab: LabFolder) -> None:
    assert line(lab, f"{GO}FROM scratch\n", "COPY --from=build /app/server /s") == ""


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("", "The starter has this line, and yours does not: RUN npm run build --all"),
        ("RUN npm run buil\n", "The starter has this line, and yours does not: "
         "RUN npm run build --all"),
        ("RUN npm run build\n", ""),
        ("RUN npm test && npm  run build -v\n", ""),
        ("RUN npm run \\\n  build\n", ""),
        ("RUN <<EOF\nnpm run build\nEOF\n", ""),
    ],
)  # fmt: skip
def test_a_command_of_the_starter_that_was_left_out_is_named(
    lab: LabFolder, run: str, said: str
) -> None:
    above = f"FROM node:24 AS b\nWORKDIR /app\nRUN npm ci\n{run}FROM nginx:alpine\n"
    assert line(lab, above, "COPY --from=b /app/dist /html") == said


def test_a_stage_without_another_one_above_has_nothing_to_take_from(lab: LabFolder) -> None:
    assert line(lab, STARTER, "COPY gone /x") == ""


@pytest.mark.parametrize(
    "what",
    ["The build stopped: no space left on device", "COPY: unable to find user app", "It broke."],
)
def test_a_copy_that_fails_otherwise_gets_no_line(lab: LabFolder, what: str) -> None:
    lab.dockerfile.write_text(f"{NGINX}COPY dist /html\n", "utf-8")
    where = f"{lab.dockerfile}:7"
    assert line_to_write(lab, missing("/dist", where))
    assert line_to_write(lab, LearnerError(what, where=where)) == ""


@pytest.mark.parametrize("where", ["", "gone:7", "7", ":", "Dockerfile:7", "\0:7"])
def test_a_file_that_cannot_be_read_gets_no_line(lab: LabFolder, where: str) -> None:
    assert line_to_write(lab, missing("/x", where)) == ""


def test_a_file_that_makes_no_sense_gets_no_line(lab: LabFolder) -> None:
    lab.dockerfile.write_text("COPY dist /html\n", "utf-8")
    assert line_to_write(lab, missing("/dist", f"{lab.dockerfile}:1")) == ""
    assert line_to_write(replace(lab, folder=lab.app), missing("/x", f"{lab.dockerfile}:1")) == ""


def test_the_line_is_the_last_hint_of_a_dockerfile_that_does_not_build(lab: LabFolder) -> None:
    lab.dockerfile.write_text(f"{NGINX}COPY dist /html\n", "utf-8")
    [found] = does_not_build(lab, missing("/dist", f"{lab.dockerfile}:7")).checks
    assert found.hints == ("Look.", f"Line 7, {WORKDIR}: {MENDED}")


@pytest.mark.parametrize(
    ("path", "look"),
    [
        ("/usr/share/zoneinfo", "/usr/share"), ("/etc/ssl/certs/x.pem", "/etc/ssl/certs"),
        ("/opt/tool", "/opt"), ("/var/lib/x/", "/var/lib"),
        ("/usr/src/app/server", ""), ("/var/www/page", ""), ("/data/usr/x", ""),
    ],
)  # fmt: skip
def test_what_a_base_image_should_have_is_not_guessed_but_looked_for(
    lab: LabFolder, path: str, look: str
) -> None:
    said = line(lab, f"{GO}FROM scratch\n", f"COPY --from=build {path} /x", path.rstrip("/"))
    shown = f"docker build --target build -t look . and docker run --rm look ls {look}"
    assert (shown in said) == bool(look)
    assert bool(said)


@pytest.mark.parametrize("path", ["/usr/lib/a;b", "/usr/lib/$TOOL", "/usr/lib/a&b", "/opt/`x`"])
def test_no_command_is_shown_that_a_shell_would_read_otherwise(lab: LabFolder, path: str) -> None:
    assert line(lab, f"{GO}FROM scratch\n", f"COPY --from=build {path} /x", path) == ""


def test_what_is_missing_is_recognised_in_the_words_of_both_engines(lab: LabFolder) -> None:
    lab.dockerfile.write_text(f"{GO}FROM scratch\nCOPY --from=build /opt/tool /x\n", "utf-8")
    for said in ('"/opt/tool": not found', "/opt/tool is not there to be copied."):
        what = f"The build stopped at [stage-1 1/1] COPY --from=build /opt/tool /x: {said}"
        found = line_to_write(lab, LearnerError(what, where=f"{lab.dockerfile}:5"))
        assert found.endswith("look ls /opt")


def test_the_lab_may_know_where_a_base_image_keeps_it(lab: LabFolder) -> None:
    knows = "COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip"
    told = replace(lab, requests=(replace(lab.requests[0], hints=("Look.", knows)),))
    copy = "COPY --from=build /usr/share/zoneinfo /x"
    assert line(told, f"{GO}FROM scratch\n", copy, "/usr/share/zoneinfo") == knows
    same = "/usr/local/go/lib/time/zoneinfo.zip"
    said = line(told, f"{GO}FROM scratch\n", f"COPY --from=build {same} /x", same)
    assert said.endswith("look ls /usr/local/go/lib/time")


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("FROM a:1\n", "/"),
        ("FROM a:1\nWORKDIR /app\n", "/app"),
        ("FROM a:1\nWORKDIR /app\nWORKDIR b\n", "/app/b"),
        ("FROM a:1 AS x\nWORKDIR /app/\nFROM x\nWORKDIR ..\n", "/"),
        ("FROM a:1 AS x\nWORKDIR /app\nFROM b:1\n", "/"),
    ],
)
def test_a_stage_works_where_its_last_workdir_says(text: str, folder: str) -> None:
    model = parse(text)
    assert workdir(model, model.final) == folder


copies = st.sampled_from(
    [
        "COPY dist /html", "COPY --from=b /x /", "COPY --from=a:1 . /", "COPY / /", "COPY . .",
        "COPY --from=0 // /", "FROM a:1 AS b", "FROM b", "RUN x > /dist", "WORKDIR $X",
        "WORKDIR ../..", "COPY --from=b $X /", "COPY [\"a b\", \"/\"]", "ARG X=/",
    ]
)  # fmt: skip


@given(st.lists(copies, max_size=8), st.integers(1, 9))
def test_whatever_did_not_build_is_looked_at(text: list[str], number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = read_lab(write_lab(Path(folder), "page") / "lab.toml")
        made.dockerfile.write_text("\n".join(["FROM a:1", *text]), "utf-8")
        said = line_to_write(made, missing("/x", f"{made.dockerfile}:{number}"))
    assert said == "" or said.startswith(("Line ", "The starter"))


def test_what_the_labs_command_makes_comes_where_the_path_is_below_the_workdir(
    lab: LabFolder,
) -> None:
    page = replace(lab, artifact=LabArtifact("builder", "/app/dist", "npm run build"))
    above = "FROM node AS web\nWORKDIR /src\nRUN npm run build\nFROM nginx\n"
    copy = "COPY --from=web /src/build /html"
    assert line(page, above, copy) == "as web makes it there: COPY --from=web /src/dist /html"
    assert "dist" not in line(lab, above, copy)
