"""Looks into a build while it is taught: what each step changed, and the code that did it."""

from __future__ import annotations

import ast
import sys
import tarfile
import tempfile
import textwrap
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multistage import labs
from multistage.builds import prepare_bases, read_dockerfile
from multistage.engines import BuildRequest
from multistage.engines.events import BuildLog
from multistage.errors import MachineError, UsageError
from multistage.notebooks import Lab
from multistage.shown import Shown
from multistage.units import megabytes

if TYPE_CHECKING:
    from multistage.engines.daemonless.stages import BuiltStage
    from multistage.engines.daemonless.tree import Delta

_BLOCK = 1 << 20  # bytes
_FOLDER = Path(__file__).with_name("engines") / "daemonless"


@dataclass(frozen=True, slots=True)
class FollowedStep:
    """One instruction of a followed build.

    Attributes:
        stage: its stage's name or index.
        created_by: what the image's history says of it.
        files: how many files and links it added or changed; ``None`` where it only changed the
            image's config.
        size: bytes of these files.
        shipped: whether they are in the image.
    """

    stage: str
    created_by: str
    files: int | None
    size: int
    shipped: bool


class Followed(Shown):
    """A build that was followed: its steps, lowest first, and what came from the cache."""

    def __init__(self, steps: tuple[FollowedStep, ...], cached: str) -> None:
        super().__init__("\n".join(_lines(steps)))
        self.steps, self.cached = steps, cached


def follow(lab: Lab, folder: str) -> Followed:
    """Build a Dockerfile of the course with the daemonless engine, and return what each step did.

    Raises:
        MachineError: this is not Linux, or no sandbox works here.
    """
    if sys.platform != "linux":
        raise MachineError(
            "The daemonless engine needs Linux.", mend="Open this notebook on Binder."
        )
    from multistage.engines.daemonless import DaemonlessEngine

    engine = DaemonlessEngine()
    path = labs.ROOT / folder / "Dockerfile"
    model = read_dockerfile(path, lab.folder.app)
    prepare_bases(engine, model, None, lambda _line: None)
    log = BuildLog()
    engine.build(BuildRequest(lab.folder.app, path, lab.folder.tag("followed")), log.add)
    final = model.final.label
    steps = [
        step
        for label, stage in engine.last_stages.items()
        for step in _steps(label, stage, shipped=label == final)
    ]
    return Followed(tuple(steps), _cached(log))


def _cached(log: BuildLog) -> str:
    """Return how many steps of the Dockerfile came from the cache."""
    numbered = [event for event in log.finished.values() if event.step.number is not None]
    return f"{sum(event.cached for event in numbered)} of {len(numbered)} steps were cached"


def _steps(label: str, stage: BuiltStage, *, shipped: bool) -> list[FollowedStep]:
    base = stage.deltas[0] if stage.base else None
    found = []
    if base is not None:
        found.append(FollowedStep(label, "the base image", *_count(base), shipped))
    for change in stage.changes:
        count = _count(change.delta) if change.delta else None
        files, size = count or (None, 0)
        found.append(FollowedStep(label, change.created_by, files, size, shipped))
    return found


def _count(delta: Delta) -> tuple[int, int]:
    """Return how many files and links a delta holds, and their bytes: hard links are one file."""
    paths = [path for path in Path(delta.files).rglob("*") if path.is_symlink() or path.is_file()]
    files = [path.stat() for path in paths if not path.is_symlink()]
    return len(paths), sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


def _lines(steps: tuple[FollowedStep, ...]) -> list[str]:
    lines = []
    for stage in dict.fromkeys(step.stage for step in steps):
        mine = [step for step in steps if step.stage == stage]
        lines.append(f"stage {stage}: {'shipped' if mine[0].shipped else 'left behind'}")
        for step in mine:
            what = textwrap.shorten(step.created_by.removesuffix(" # buildkit"), 60)
            if step.files is None:
                lines.append(f"    config only           {what}")
            else:
                lines.append(f"    {step.files:>6,} files {megabytes(step.size):>8}  {what}")
    return lines


def source(name: str) -> Shown:
    """Return the code of a function of the daemonless engine, such as ``cache.copy_key``.

    Raises:
        UsageError: there is none of that name.
    """
    *folders, module, function = ["", *name.split(".")]
    file = Path(_FOLDER, *folders, f"{module}.py")
    text = file.read_text("utf-8") if file.is_file() else ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            found = ast.get_source_segment(text, node)
            return Shown(f"# {file.relative_to(labs.ROOT).as_posix()}\n{found}")
    raise UsageError(f"There is no function {name}.", mend=f"Look into {_FOLDER.name}/.")


def crate(lab: Lab) -> tarfile.TarFile:
    """Return the lab's after image as an open archive: the crate that travels.

    Raises:
        MachineError: the engine writes an older kind of archive.
    """
    # It has no name on disk, so that it is gone with the object, also where the kernel is killed.
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the notebook reads it cell by cell
    with lab.engine.save(lab.image_id()) as stream:
        while block := stream.read(_BLOCK):
            file.write(block)
    file.seek(0)
    archive = tarfile.open(fileobj=file)  # noqa: SIM115
    weakref.finalize(archive, file.close)
    if "index.json" not in archive.getnames():
        raise MachineError(
            "This Docker Engine writes archives of the time before OCI.",
            mend='Update Docker, or use: Lab("go-scratch", engine="daemonless")',
        )
    return archive
