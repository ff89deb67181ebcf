"""Says for each layer of an image which instruction, line and stage of its Dockerfile made it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multistage.dockerfile import Dockerfile, Instruction, Stage
from multistage.images.archive import ImageArchive
from multistage.images.history import agrees, history_keyword, shells_of

# Instructions for which not every builder leaves an entry in the image's history.
_MAY_LEAVE_NO_HISTORY = {"ARG", "ONBUILD", "LABEL", "MAINTAINER"}


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
    image: ImageArchive,
    dockerfile: Dockerfile | None = None,
    target: str | None = None,
    *,
    sure: bool = False,
) -> tuple[Layer, ...]:
    """Return the image's layers, lowest first, each with its instruction.

    ``sure``: the image was built from this very Dockerfile, so only keywords are compared.
    Without a Dockerfile nothing tells the base image's layers from the rest, nor with one that
    has changed since: then a layer whose instruction is not known has the kind of its files.
    """
    history = _history(image)
    made_by, whole = _match(image, dockerfile, target, sure=sure) if dockerfile else ({}, False)
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
                kind="base" if (whole or sure) and instruction is None else measured.kind,
                unpacked_size=measured.unpacked_size,
                compressed_size=measured.compressed_size,
            )
        )
    return tuple(layers)


def is_made_by(image: ImageArchive, dockerfile: Dockerfile, target: str | None = None) -> bool:
    """Return whether the image's history has all instructions of this Dockerfile, as they are."""
    return _match(image, dockerfile, target)[1]


def _history(image: ImageArchive) -> list[dict[str, Any]]:
    return [entry for entry in image.config.get("history") or [] if isinstance(entry, dict)]


def _match(
    image: ImageArchive, dockerfile: Dockerfile, target: str | None, *, sure: bool = False
) -> tuple[dict[int | None, tuple[Stage, Instruction]], bool]:
    """Match history entries with instructions, from the last one back to the base image.

    Where an instruction is not what the history says, the Dockerfile is another one by now: what
    lies below is then nobody's. The second value is whether all instructions were found.
    """
    history, shells = _history(image), shells_of(image.config, dockerfile)
    matches: dict[int | None, tuple[Stage, Instruction]] = {}
    place = len(history) - 1
    for stage, instruction in _instructions_backwards(dockerfile, target):
        created_by = str(history[place].get("created_by", "")) if place >= 0 else ""
        same_keyword = bool(created_by) and history_keyword(created_by) == instruction.keyword
        if same_keyword and (sure or agrees(created_by, instruction, shells)):
            matches[place] = (stage, instruction)
            place -= 1
        elif instruction.keyword not in _MAY_LEAVE_NO_HISTORY:
            return matches, False
    return matches, True


def _instructions_backwards(
    dockerfile: Dockerfile, target: str | None
) -> Iterator[tuple[Stage, Instruction]]:
    stage: Stage | None = dockerfile.final if target is None else dockerfile.stage(target)
    while stage is not None:
        for instruction in reversed(stage.instructions):
            yield stage, instruction
        stage = None if stage.base_stage is None else dockerfile.stage(stage.base_stage)
