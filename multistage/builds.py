"""Builds a Dockerfile and measures the image: what every lab, command and figure starts from."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from multistage import bases
from multistage.advice import Failure, advise
from multistage.dockerfile import Dockerfile, parse
from multistage.dockerfile.errors import did_you_mean
from multistage.dockerfile.steps import step_numbers, step_stage
from multistage.engines import BuildRequest, Engine, Report, ignore
from multistage.engines.events import BuildLog, Event
from multistage.errors import CourseError, LearnerError, MachineError, UsageError
from multistage.failures import explained
from multistage.files import mode_of
from multistage.images import ImageArchive, Layer, attribute, read_archive
from multistage.shown import wrapped
from multistage.units import megabytes

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """One stage of a build. ``seconds`` is wall-clock time, 0 where all of it was cached."""

    name: str
    base: str
    built: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class BuiltLayer(Layer):
    """A layer, and whether its step came from the build cache."""

    cached: bool = False


@dataclass(frozen=True, repr=False)
class Build:
    """A finished build, measured.

    Attributes:
        image: the image's name on its engine.
        image_id: its ID there, which stays when another build takes the name over.
        engine: ``docker`` or ``daemonless``.
        builder: the engine's name, version and image store.
        stand_ins: the base images that were stand-ins, by the names the Dockerfile gives them.
        seconds: how long the build took, without measuring.
        unpacked_size: bytes of all files in all layers.
        compressed_size: bytes of all layers under the meter's zstd.
        layers: lowest first.
        stages: in the Dockerfile's order.
        date: the day of the build, ISO 8601.
        is_multistage: whether the Dockerfile has more than one stage.
    """

    image: str
    image_id: str
    engine: str
    builder: str
    stand_ins: tuple[str, ...]
    seconds: float
    unpacked_size: int
    compressed_size: int
    layers: tuple[BuiltLayer, ...]
    stages: tuple[BuiltStage, ...]
    date: str
    is_multistage: bool

    def __str__(self) -> str:
        """Return the sizes in one line."""
        return (
            f"{self.image}: {megabytes(self.unpacked_size)} unpacked, "
            f"{megabytes(self.compressed_size)} compressed"
        )

    def __repr__(self) -> str:
        """Return the sizes, and on what they were measured: what a notebook shows."""
        return f"{self}\nMeasured {self.measured_on}"

    def _repr_html_(self) -> str:
        return wrapped(repr(self))

    @property
    def measured_on(self) -> str:
        """What the figures rest on: the day, the engine, and the stand-in bases by name."""
        bases = f"stand-ins for {', '.join(self.stand_ins)}" if self.stand_ins else "real bases"
        return f"{self.date} · {self.builder} · {bases}"

    def sizes_by_kind(self, *, compressed: bool = False) -> dict[str, int]:
        """Return bytes for each kind of layer: base, dependencies, app, config."""
        sizes = {"base": 0, "dependencies": 0, "app": 0, "config": 0}
        for layer in self.layers:
            sizes[layer.kind] += layer.compressed_size if compressed else layer.unpacked_size
        return sizes

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``multistage build --json`` prints."""
        return asdict(self)


def build(
    engine: Engine,
    context: Path,
    *,
    tag: str,
    dockerfile: Path | None = None,
    target: str | None = None,
    secrets: tuple[str, ...] = (),
    no_cache: bool = False,
    report: Report = ignore,
    announce: Announce = lambda _line: None,
) -> Build:
    """Build ``context`` with ``engine`` and measure the image.

    Raises:
        LearnerError: the Dockerfile cannot be read or does not build.
        UsageError: there is no such folder or file.
        MachineError: the engine, the network or the disk falls short.
    """
    path = dockerfile or context / "Dockerfile"
    model = read_dockerfile(path, context)
    request = BuildRequest(context, path, tag, target, secrets=secrets, no_cache=no_cache)
    made = _make(engine, request, model, report, announce)
    announce(f"  Measuring {tag}")
    image = _measured(engine, made.image_id, model, target)
    return Build(
        image=tag,
        image_id=made.image_id,
        engine=engine.name,
        builder=engine.describe(),
        stand_ins=made.stand_ins,
        seconds=round(made.seconds, 2),
        unpacked_size=image.unpacked_size,
        compressed_size=image.compressed_size,
        layers=_with_cached(attribute(image, model, target, sure=True), model, made.log),
        stages=_stages(model, target, made.log),
        date=date.today().isoformat(),
        is_multistage=model.is_multistage,
    )


def build_image(
    engine: Engine,
    context: Path,
    *,
    tag: str,
    dockerfile: Path,
    report: Report = ignore,
    announce: Announce = lambda _line: None,
) -> str:
    """Build ``context`` and return the image's ID; raises as :func:`build`, measures nothing."""
    model = read_dockerfile(dockerfile, context)
    request = BuildRequest(context, dockerfile, tag)
    return _make(engine, request, model, report, announce).image_id


@dataclass(frozen=True, slots=True)
class _Made:
    image_id: str
    stand_ins: tuple[str, ...]
    seconds: float
    log: BuildLog


def _make(
    engine: Engine, request: BuildRequest, model: Dockerfile, report: Report, announce: Announce
) -> _Made:
    """Build an image; an error gets the line of the step that failed."""
    log = BuildLog()

    def tell(event: Event) -> None:
        log.add(event)
        report(event)

    if request.target is not None:
        model.stage(request.target)
    _refuse_misspelt_stages(model)
    stand_ins = prepare_bases(engine, model, request.target, announce)
    started = time.monotonic()
    try:
        image_id = engine.build(request, tell)
    except CourseError as error:
        raise explained(error, model, log, stand_ins) from error
    return _Made(image_id, stand_ins, time.monotonic() - started, log)


def _measured(engine: Engine, image: str, model: Dockerfile, target: str | None) -> ImageArchive:
    """Measure an image. That it has no layers is an error, which some engines make themselves."""
    said = "empty export - not implemented"  # as Docker says it
    try:
        measured = read_image(engine, image)
    except MachineError as error:
        if said not in error.what:
            raise
    else:
        if measured.layers:
            return measured
    advised = advise(Failure(said))
    assert advised is not None  # it is in the table
    where = f"{model.path}:{(model.final if target is None else model.stage(target)).line}"
    raise LearnerError(advised.advice.means, where=where, mend=advised.advice.mend)


def read_image(
    engine: Engine, image: str, *, keep_files: bool = False, keep_digests: bool = False
) -> ImageArchive:
    """Measure an image that an engine has; see :func:`multistage.images.read_archive`."""
    with engine.save(image) as stream:
        return read_archive(
            stream, image, keep_files=keep_files, keep_digests=keep_digests, from_engine=True
        )


def read_dockerfile(path: Path, context: Path) -> Dockerfile:
    """Read and model a Dockerfile.

    Raises:
        LearnerError: it cannot be read.
        UsageError: the file or the build context does not exist.
    """
    if not stat.S_ISDIR(mode_of(context)):
        raise UsageError(f"There is no folder {context}.", mend="Name a lab or a build context.")
    if not stat.S_ISREG(mode_of(path)):
        raise UsageError(
            f"There is no file {path}.",
            mend="In a lab, bring the starter's back: multistage reset LAB, or lab.reset().",
        )
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LearnerError(
            f"The Dockerfile cannot be read: {error.strerror}.",
            where=str(path), mend="Give yourself the right to read it, or name another file.",
        ) from error  # fmt: skip
    return parse(text, str(path))


def _refuse_misspelt_stages(model: Dockerfile) -> None:
    """Stop at ``--from=buidler``: an engine would look for an image of that name."""
    for image, suggestion in model.suspicious_images():
        raise LearnerError(
            f"There is no stage called {image.name}.",
            where=f"{model.path}:{image.line}",
            mend=f"Did you mean {suggestion}?",
        )


def prepare_bases(
    engine: Engine, model: Dockerfile, target: str | None, announce: Announce
) -> tuple[str, ...]:
    """See to it that the engine can get every base image; return which of them are stand-ins.

    An image that the engine has is used as it is. One that the registry has is left to the
    builder to fetch. Only where the registry cannot be reached is a stand-in loaded.

    Raises:
        LearnerError: an image is not in its registry, or there is neither registry nor stand-in.
    """
    stand_ins = []
    for image in model.external_images(target):
        where = f"{model.path}:{image.line}"
        try:
            labels = engine.labels(image.name)
        except UsageError as error:
            raise LearnerError(error.what, where=where, mend=error.mend) from error
        if labels is not None and not bases.is_stand_in(image.name, labels):
            continue
        found = engine.registry_has(image.name)
        if found:
            if labels is not None:  # a stand-in from a time without network
                announce(f"Fetching {image.name}, in place of its stand-in")
                engine.pull(image.name)
        elif _looks_like_a_stage(image.name, model):
            raise LearnerError(
                f"There is no stage called {image.name}.",
                where=where,
                mend=f"Give the stage above this name: FROM <base image> AS {image.name}",
            )
        elif found is False and bases.find_recipe(image.name) is None:
            raise LearnerError(
                f"The registry has no image {image.name}.",
                where=where,
                mend=_nearest_base(image.name) or "Check its name and tag.",
            )
        else:
            _load_stand_in(engine, image.name, labels, where, announce)
            stand_ins.append(image.name)
    return tuple(stand_ins)


def _load_stand_in(
    engine: Engine, name: str, labels: dict[str, str] | None, where: str, announce: Announce
) -> None:
    recipe = bases.find_recipe(name)
    if recipe is None:
        near = _nearest_base(name)
        names = sorted(r for recipe in bases.recipes() for r in recipe.references)
        known = ", ".join(["scratch", *names])
        raise LearnerError(
            f"There is no image {name} on this machine, its registry cannot be reached, "
            "and the course has no stand-in for it.",
            where=where,
            mend=near or f"Check the name. Without a registry these bases work: {known}.",
        )
    announce(f"{name}: the registry cannot be reached; a stand-in from Debian's packages is used")
    stand_in = bases.stand_in(name, lambda step: announce(f"  {step}"))
    if labels is None or labels.get(bases.RECIPE_LABEL) != stand_in.recipe_digest:
        engine.load(stand_in.archive)


def _looks_like_a_stage(name: str, model: Dockerfile) -> bool:
    """Return whether ``--from`` names this, in one plain word: then a stage was meant."""
    is_source = any(edge.source == name and edge.kind != "from" for edge in model.edges)
    return is_source and not set(name) & set("/:@.") and bases.find_recipe(name) is None


def _nearest_base(name: str) -> str:
    known = ["scratch", *(r for recipe in bases.recipes() for r in recipe.references)]
    if name.partition(":")[0] == "scratch":
        return "Write FROM scratch, without a tag: it is no image."
    return did_you_mean(name, known)


def _with_cached(
    layers: tuple[Layer, ...], model: Dockerfile, log: BuildLog
) -> tuple[BuiltLayer, ...]:
    steps = {
        (stage.label, line): (step_stage(model, stage), number)
        for stage in model.stages
        for line, number in step_numbers(stage).items()
    }
    return tuple(
        BuiltLayer(
            **asdict(layer),
            cached=layer.stage is None
            or log.cached(*steps.get((layer.stage, layer.line or 0), (None, 0))),
        )
        for layer in layers
    )


def _stages(model: Dockerfile, target: str | None, log: BuildLog) -> tuple[BuiltStage, ...]:
    needed = {stage.index for stage in model.needed(target)}
    return tuple(
        BuiltStage(
            name=stage.label,
            base=stage.base,
            built=stage.index in needed,
            seconds=round(log.stage_seconds(step_stage(model, stage)), 2),
        )
        for stage in model.stages
    )
