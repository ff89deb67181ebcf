"""The same files give the same image: layers and config carry no trace of when they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest
from multistage.engines.daemonless import DaemonlessEngine

DOCKERFILE = """\
FROM nginx:alpine
WORKDIR /made
COPY . .
RUN mkdir new; touch new/one new/two; ln new/one new/three; rm /etc/nginx/mime.types
"""


def image_id(folder: Path, context: Path, epoch: str | None) -> str:
    engine = DaemonlessEngine(folder=folder)
    text = context / "Dockerfile"
    prepare_bases(engine, parse(text.read_text("utf-8")), None, lambda _line: None)
    arguments = {} if epoch is None else {"SOURCE_DATE_EPOCH": epoch}
    return engine.build(BuildRequest(context, text, "made", build_args=arguments))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE, "utf-8")
    return folder


def test_with_source_date_epoch_two_builds_give_the_same_image(
    tmp_path: Path, context: Path
) -> None:
    first = image_id(tmp_path / "one", context, "1700000000")
    assert first == image_id(tmp_path / "two", context, "1700000000")
    assert first != image_id(tmp_path / "two", context, "1600000000")


def test_without_it_the_image_says_when_it_was_made(tmp_path: Path, context: Path) -> None:
    assert image_id(tmp_path / "one", context, None) != image_id(tmp_path / "two", context, None)


def test_building_the_same_again_gives_the_same_image(tmp_path: Path, context: Path) -> None:
    first = image_id(tmp_path / "one", context, None)
    assert image_id(tmp_path / "one", context, None) == first
    (context / "Dockerfile").write_text(f"{DOCKERFILE}CMD true\n", "utf-8")
    assert image_id(tmp_path / "one", context, None) != first
