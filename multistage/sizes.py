"""What "size" means, by whoever says it, and where an image's bytes come from, layer by layer."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from multistage.builds import Build, read_image
from multistage.engines import Engine, choose
from multistage.errors import MachineError, UsageError
from multistage.images import ImageArchive, Layer
from multistage.shown import Shown
from multistage.units import megabytes

_WIDTH = 60  # characters of an instruction that are shown
_NO_DOCKER = "no Docker here to ask"
_BUILDERS_NOTE = re.compile(r"\s*# buildkit$")
# What the classic builder and BuildKit put in front: "|1 A=b" stands for ARGs.
_SHELL = re.compile(r"^(?:RUN )?(?:\|\d+ (?:\S+=.*? )?)?/bin/sh -c ", re.DOTALL)
_NOT_RUN = re.compile(r"^/bin/sh -c #\(nop\)\s+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DockerSizes:
    """What a Docker Engine says of an image, in bytes.

    Attributes:
        store: the engine's image store: ``overlay2``, ``containerd store``.
        listed: what ``docker image ls`` shows; ``None`` where it does not list the image.
        inspected: ``.Size`` of ``docker image inspect``.
    """

    store: str
    listed: int | None
    inspected: int


def sizes(image: Build | str) -> Shown:
    """Return the size of an image by everyone who can be asked: the meter, and Docker itself.

    Args:
        image: a finished build, or the name of an image on the engine that builds here.

    Raises:
        UsageError: the engine has no image of that name.
        MachineError: the engine does not answer, or the image is gone.
    """
    if not isinstance(image, (Build, str)):
        raise UsageError("This is no image.", mend='For example: sizes(lab.build()), sizes("app")')
    if isinstance(image, Build):
        engine, name, measured_on = _engine_of(image), image.image_id, image.measured_on
        measured = (image.unpacked_size, image.compressed_size)
    else:
        engine, name = choose(), image
        if engine.labels(name) is None:
            raise UsageError(f"The engine has no image {name}.", mend="Build it first.")
        archive, measured_on = read_image(engine, name), f"on {engine.describe()}"
        measured = (archive.unpacked_size, archive.compressed_size)
    asked = _ask_docker(name) if engine.name == "docker" else None
    return Shown("\n".join([*size_lines(*measured, asked), f"Measured {measured_on}"]))


def layers(build: Build) -> Shown:
    """Return an image's layers, lowest first: unpacked size, stage, line, and what made it.

    Raises:
        UsageError: this is no finished build.
    """
    return Shown("\n".join(layer_lines(_finished(build).layers)))


def history(build: Build) -> Shown:
    """Return what ``docker history`` says of an image, newest first, from the image's config.

    Raises:
        UsageError: this is no finished build.
        MachineError: the engine does not answer, or the image is gone.
    """
    finished = _finished(build)
    image = read_image(_engine_of(finished), finished.image_id)
    return Shown("\n".join(history_lines(image)))


def size_lines(unpacked: int, compressed: int, asked: DockerSizes | None) -> list[str]:
    """Return one line for each meaning of size, and to which of the meter's two it is nearest."""
    meter = {"the meter, unpacked": unpacked, "the meter, compressed": compressed}
    lines = [f"{name:<22} {megabytes(size):>9}" for name, size in meter.items()]
    said = {
        "docker image ls": asked.listed if asked else None,
        "image inspect .Size": asked.inspected if asked else None,
    }
    for name, size in said.items():
        if size is None:
            lines.append(f"{name:<22} {'—':>9}  {'not listed' if asked else _NO_DOCKER}")
        else:
            lines.append(f"{name:<22} {megabytes(size):>9}  {nearest(size, unpacked, compressed)}")
    return [*lines, f"image store: {asked.store}"] if asked else lines


def nearest(size: int, unpacked: int, compressed: int) -> str:
    """Return which of the meter's figures this one comes nearest to."""
    figures = {
        "nearest to unpacked": unpacked,
        "nearest to compressed": compressed,
        "nearest to unpacked + compressed": unpacked + compressed,
    }
    return min(figures, key=lambda name: abs(figures[name] - size))


def layer_lines(found: Sequence[Layer]) -> list[str]:
    """Return one line for each layer, lowest first."""
    lines = []
    for number, layer in enumerate(found, 1):
        stage = f"stage {layer.stage}" if (layer.stage or "").isdigit() else layer.stage
        place = f"{stage}, line {layer.line}" if layer.stage else "base image"
        made = instruction(layer.created_by)
        lines.append(f"{number:>2}  {megabytes(layer.unpacked_size):>8}  {place:<18}  {made}")
    return lines


def history_lines(image: ImageArchive) -> list[str]:
    """Return one line for each entry of an image's history, newest first.

    A base image that was imported may have layers that its history does not name.
    """
    lines = [
        f"{'config only' if size is None else megabytes(size):>11}  {instruction(created_by)}"
        for size, created_by in _entries(image)
    ]
    return lines[::-1]


def instruction(created_by: str) -> str:
    """Return the instruction of a history entry in one line, without what its builder added."""
    text = _NOT_RUN.sub("", _BUILDERS_NOTE.sub("", created_by))
    text = _SHELL.sub("RUN ", text)
    return textwrap.shorten(text, _WIDTH, placeholder=" […]") or "(not said)"


def _entries(image: ImageArchive) -> Iterator[tuple[int | None, str]]:
    """Yield what each step made, lowest first: a layer's bytes, ``None`` for config alone."""
    found = [layer.unpacked_size for layer in image.layers]
    for entry in image.config.get("history") or []:
        if isinstance(entry, dict):
            empty = entry.get("empty_layer") or not found
            yield None if empty else found.pop(0), str(entry.get("created_by") or "")
    yield from ((size, "") for size in found)


def _ask_docker(image: str) -> DockerSizes:
    from multistage.engines.docker import connection  # the Docker SDK is slow to import

    with closing(connection.connect()) as client, connection.faults():
        api: Any = client.api
        found = api.inspect_image(image)
        listed = (entry for entry in api.images(all=True) if entry["Id"] == found["Id"])
        size = next((int(entry["Size"]) for entry in listed), None)
        return DockerSizes(connection.image_store(client.info()), size, int(found["Size"]))


def _engine_of(build: Build) -> Engine:
    """Return the engine that built an image, where the image still is on it."""
    engine = choose(build.engine)
    if engine.labels(build.image_id) is None:
        raise MachineError(f"The image is gone: {build.image}.", mend="Build it again.")
    return engine


def _finished(build: object) -> Build:
    if not isinstance(build, Build):
        raise UsageError("This is no finished build.", mend="For example: layers(lab.build())")
    return build
