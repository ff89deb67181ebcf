"""Says for each layer of an image which instruction, line and stage of its Dockerfile made it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from multistage.dockerfile import Dockerfile, Instruction, Stage
from multistage.dockerfile.parser import KEYWORDS
from multistage.images.archive import ImageArchive

# Instructions for which not every builder leaves an entry in the image's history.
_MAY_LEAVE_NO_HISTORY = {"ARG", "ONBUILD", "LABEL", "MAINTAINER"}
_CLASSIC = re.compile(r"^/bin/sh -c #\(nop\)\s+(?P<rest>.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and where it comes from.

    Attributes:
        digest: SHA-256 of the uncompressed layer.
        created_by: the history entry of the layer, as the builder wrote it.
        stage: name or index of the stage; ``None`` for layers of the base image.
        line: line of the instruction in the Dockerfile; ``None`` for the base image.
        kind: ``base``, ``dependencies``, ``app`` or ``config``.
        unpacked_size: bytes of the layer's files.
        compressed_size: bytes under the meter's zstd.
    """

    digest: str
    created_by: str
    stage: str | None
    line: int | None
    kind: str
    unpacked_size: int
    compressed_size: int


def attribute(
    image: ImageArchive, dockerfile: Dockerfile | None = None, target: str | None = None
) -> tuple[Layer, ...]:
    """Return the image's layers, lowest first, each with its instruction.

    Without a Dockerfile nothing tells the base image's layers from the rest: then every layer
    has the kind of its files.
    """
    history = [entry for entry in image.config.get("history") or [] if isinstance(entry, dict)]
    made_by = _match(history, dockerfile, target) if dockerfile else {}
    places = [i for i, entry in enumerate(history) if not entry.get("empty_layer")]
    layers = []
    for number, measured in enumerate(image.layers):
        place = places[number] if number < len(places) else None
        stage, instruction = made_by.get(place, (None, None)) if place is not None else (None, None)
        layers.append(
            Layer(
                digest=measured.digest,
                created_by=str(history[place].get("created_by", "")) if place is not None else "",
                stage=stage.label if stage else None,
                line=instruction.line if instruction else None,
                kind="base" if dockerfile and instruction is None else measured.kind,
                unpacked_size=measured.unpacked_size,
                compressed_size=measured.compressed_size,
            )
        )
    return tuple(layers)


def _match(
    history: Sequence[dict[str, Any]], dockerfile: Dockerfile, target: str | None
) -> dict[int | None, tuple[Stage, Instruction]]:
    """Match history entries with instructions, from the last one back to the base image."""
    matches: dict[int | None, tuple[Stage, Instruction]] = {}
    place = len(history) - 1
    for stage, instruction in _instructions_backwards(dockerfile, target):
        keyword = instruction.keyword
        if place >= 0 and history_keyword(str(history[place].get("created_by", ""))) == keyword:
            matches[place] = (stage, instruction)
            place -= 1
        elif keyword not in _MAY_LEAVE_NO_HISTORY:
            break
    return matches


def _instructions_backwards(
    dockerfile: Dockerfile, target: str | None
) -> Iterator[tuple[Stage, Instruction]]:
    stage: Stage | None = dockerfile.final if target is None else dockerfile.stage(target)
    while stage is not None:
        for instruction in reversed(stage.instructions):
            yield stage, instruction
        stage = None if stage.base_stage is None else dockerfile.stage(stage.base_stage)


def history_keyword(created_by: str) -> str:
    """Return the instruction keyword of a history entry.

    BuildKit writes ``RUN /bin/sh -c npm ci # buildkit``; the classic builder writes
    ``/bin/sh -c #(nop) COPY file:…``, and for RUN the command alone, with ``|1 NAME=value``
    before it where there are ARGs.
    """
    match = _CLASSIC.match(created_by)
    keyword = (match["rest"] if match else created_by).split(" ", 1)[0].upper()
    return keyword if keyword in KEYWORDS else "RUN"
