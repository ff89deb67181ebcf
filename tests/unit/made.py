"""Values that several test files make: labs, builds, image archives, an engine without Docker."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from multistage.builds import Build, BuiltLayer, BuiltStage
from multistage.engines import BuildRequest, Finished, Report, RunningContainer, ignore
from multistage.errors import CourseError
from multistage.images.streams import Readable

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "sha256:before"  # the ID of every before image
BUILDER = "Docker Engine 26.1.5, overlay2, buildx 0.13.1"

SINGLE_STAGE = "# TODO 1: name this stage\nFROM golang:1.27\nRUN go build -o /server\n"
TWO_STAGES = "FROM golang:1.27 AS build\nFROM scratch\nCOPY --from=build /server /server\n"

LAB_TOML = """\
title = "A lab"
summary = "What it is about."
order = {order}
minutes = 20
video = "A part of the video"
notebook = "{order}_{name}.ipynb"
port = 8080
solution = "scratch"

[budget]
unpacked_size = 1_000

[[requests]]
path = "/"
status = 200
contains = "hello"
why = "The page is served"
hints = ["Is the binary in the image?", "Copy it."]

[[absent]]
id = "toolchain"
what = "the Go toolchain"
paths = ["usr/local/go"]
programs = ["go"]
hints = ["The last FROM decides what ships."]
"""


def write_lab(root: Path, name: str, order: int = 10, toml: str = LAB_TOML) -> Path:
    """Write a lab whose Dockerfile is the starter; return its folder."""
    folder = root / "labs" / name
    for place in ("before", "app"):
        (folder / place).mkdir(parents=True)
        (folder / place / "Dockerfile").write_text(SINGLE_STAGE, "utf-8")
    (folder / "lab.toml").write_text(toml.format(order=order, name=name), "utf-8")
    return folder


def made_build(
    sizes: Mapping[str, int],
    *,
    compressed: Mapping[str, int] | None = None,
    stand_ins: tuple[str, ...] = (),
    builder: str = BUILDER,
    date: str = "2026-01-31",
    stages: int = 2,
) -> Build:
    """Return a build with one layer for each kind in ``sizes``."""
    packed = compressed if compressed is not None else {k: s // 3 for k, s in sizes.items()}
    layers = tuple(
        BuiltLayer(
            digest=f"sha256:{place}",
            created_by="COPY . .",
            stage=None if kind == "base" else "build",
            line=None if kind == "base" else place,
            kind=kind,
            unpacked_size=size,
            compressed_size=packed.get(kind, 0),
        )
        for place, (kind, size) in enumerate(sizes.items(), 1)
    )
    return Build(
        image="multistage/made:after",
        image_id="sha256:made",
        engine="docker",
        builder=builder,
        stand_ins=stand_ins,
        seconds=1.5,
        unpacked_size=sum(sizes.values()),
        compressed_size=sum(packed.values()),
        layers=layers,
        stages=tuple(BuiltStage(str(n), "golang:1.27", True, 0.5) for n in range(stages)),
        date=date,
        is_multistage=stages > 1,
    )


def made_tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def made_archive(files: Mapping[str, bytes], config: Mapping[str, object] | None = None) -> bytes:
    """Return an image of one layer, as ``docker save`` writes it."""
    return made_layers(files, config=config)


def made_layers(*layers: Mapping[str, bytes], config: Mapping[str, object] | None = None) -> bytes:
    """Return an image, as ``docker save`` writes it; its lowest layer comes first."""
    blobs = [made_tar(files) for files in layers]
    digests = [_digest(blob) for blob in blobs]
    config = {"rootfs": {"type": "layers", "diff_ids": digests}, **(config or {})}
    config_data = json.dumps(config).encode()
    config_name, *names = (f"blobs/sha256/{d[7:]}" for d in (_digest(config_data), *digests))
    manifest = json.dumps([{"Config": config_name, "Layers": names}]).encode()
    blobs_by_name = dict(zip(names, blobs, strict=True))
    return made_tar({**blobs_by_name, config_name: config_data, "manifest.json": manifest})


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class MadeContainer:
    """A container that is whatever listens at ``address``."""

    address: str
    ended: int | None = None
    log: str = ""
    stops_after: float | None = 0.1
    asked_to_stop: list[float] = field(default_factory=list)

    def exit_code(self) -> int | None:
        return self.ended

    def logs(self) -> str:
        return self.log

    def stop(self, seconds: float) -> float | None:
        self.asked_to_stop.append(seconds)
        return self.stops_after

    def end(self) -> None:
        self.ended = 137


@dataclass
class MadeEngine:
    """An engine that has every image, and builds the one it was given.

    ``before`` is an engine for the image of a lab's before Dockerfile; without one it is the same.
    ``fails`` is what running the image raises.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    container: MadeContainer = field(default_factory=lambda: MadeContainer("", 1))
    built: list[BuildRequest] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    name: str = "docker"
    config: Mapping[str, object] = field(default_factory=dict)
    before: MadeEngine | None = None
    fails: CourseError | None = None

    def describe(self) -> str:
        return BUILDER

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        self.built.append(request)
        return BEFORE if request.tag.endswith(":before") else "sha256:0"

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        made = self._of(image)
        yield io.BytesIO(made_archive(made.files, made.config))

    def export(self, image: str, file: Path) -> None:
        raise AssertionError("not asked for")

    def labels(self, image: str) -> dict[str, str] | None:
        return {}

    def registry_has(self, reference: str) -> bool | None:
        raise AssertionError("an image that the engine has is not looked up")

    def pull(self, reference: str) -> None:
        raise AssertionError("an image that the engine has is not pulled")

    def load(self, archive: Path) -> None:
        raise AssertionError("an image that the engine has is not loaded")

    @contextmanager
    def run(
        self, image: str, port: int, environment: Mapping[str, str] | None = None
    ) -> Iterator[RunningContainer]:
        made = self._of(image)
        made.environments.append(environment or {})
        if made.fails is not None:
            raise made.fails
        yield made.container

    def _of(self, image: str) -> MadeEngine:
        return self.before if self.before and image == BEFORE else self

    def run_command(self, image: str, command: list[str], seconds: float = 60) -> Finished:
        return Finished(0, "")
