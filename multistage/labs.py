"""Finds the labs, knows their before and after, and resets them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from multistage.dockerfile import parse
from multistage.errors import LearnerError, MachineError, UsageError
from multistage.files import mode_of, replace_link

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the running container must answer, before and after alike.

    Attributes:
        path: what is asked for.
        status: the status of the answer.
        contains: what its body must hold.
        why: what is right then, as a sentence without its full stop.
        hints: from a nudge over the idea to the line to write.
        needs_network: whether the app asks another server.
        same: whether type and body must be the before image's.
        file: the name of a file that the answer needs in the image, where it needs one.
        file_hints: the hints where that file is copied and the answer is wrong all the same:
            the idea and the line to write. ``{there}`` stands for where it was copied to.
    """

    path: str
    status: int
    contains: str
    why: str
    hints: tuple[str, ...]
    needs_network: bool = False
    same: bool = False
    file: str = ""
    file_hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """What must not be in the after image, in any of its layers.

    Attributes:
        id: its check is called ``without-<id>``.
        what: its name in a sentence.
        hints: from a nudge over the idea to the line to write.
        paths: globs from the image's root, for what they name and all that lies below it.
        but: globs of what ``paths`` means all the same, and another entry names better.
        programs: names of programs, in whatever folder. The before image's are also found under
            another name, by their content.
        context: globs of files of the build context, found by their content.
    """

    id: str
    what: str
    hints: tuple[str, ...]
    paths: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabArtifact:
    """What the builder stage of a lab makes.

    Attributes:
        stage: the stage's name in the lab's hints.
        path: the artifact's path in it, in the lab's hints.
        made_by: words of the command that makes it, in whatever Dockerfile.
    """

    stage: str
    path: str
    made_by: str


@dataclass(frozen=True, slots=True)
class LabFolder:
    """A lab as its folder and ``lab.toml`` tell it.

    Attributes:
        name: the folder's name under ``labs/``.
        folder: the folder.
        order: the number of its notebook.
        minutes: how long the lab takes.
        video: the part of the video it goes with.
        port: where the app listens inside the container.
        budget: bytes that the after image may weigh, unpacked.
        nonroot: whether the after image must name a user other than root.
        nonroot_hints: what helps with that; empty where the usual hints do.
        start_line: what to write in place of a command that starts what the image has not.
        artifact: what the builder stage makes; ``None`` where the hints do not name it.
        solution: the variant under ``solutions/`` that the lab leads to.
    """

    name: str
    folder: Path
    title: str
    summary: str
    order: int
    minutes: int
    video: str
    notebook: str
    port: int
    budget: int
    nonroot: bool
    solution: str
    requests: tuple[Request, ...]
    absent: tuple[Absent, ...]
    nonroot_hints: tuple[str, ...] = ()
    start_line: str = ""
    artifact: LabArtifact | None = None

    @property
    def app(self) -> Path:
        """The starter app, which is the build context."""
        return self.folder / "app"

    @property
    def dockerfile(self) -> Path:
        """The learner's Dockerfile."""
        return self.app / "Dockerfile"

    @property
    def before_dockerfile(self) -> Path:
        """The starter's Dockerfile, single-stage: a copy that is never edited."""
        return self.folder / "before" / "Dockerfile"

    def tag(self, which: str) -> str:
        """Return the name of the lab's image, ``which`` being ``before`` or ``after``."""
        return f"multistage/{self.name}:{which}"

    def is_converted(self, dockerfile: Path | None = None) -> bool:
        """Return whether the learner's Dockerfile has more than one stage.

        Raises:
            LearnerError: the Dockerfile cannot be read.
        """
        path = dockerfile or self.dockerfile
        try:
            if not path.is_file():
                raise LearnerError(
                    f"There is no file {path}.", mend=f"Run: multistage reset {self.name}"
                )
            data = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
        return parse(data, str(path)).is_multistage


def unreadable(path: Path, error: OSError) -> LearnerError:
    """Return what is said of a file that is there and cannot be read."""
    return LearnerError(
        f"{error.strerror}: {path}",
        mend="Make it and the folder that it is in readable, then try again.",
    )


def labs(root: Path = ROOT) -> tuple[LabFolder, ...]:
    """Return all labs, in the course's order."""
    files = sorted((root / "labs").glob("*/lab.toml"))
    return tuple(sorted((read_lab(file) for file in files), key=lambda lab: lab.order))


def name_of(text: str, root: Path = ROOT) -> str:
    """Return a lab's name also for the path of its folder, as a shell completes it."""
    folder = Path(text)
    is_lab = mode_of(folder / "lab.toml") and folder.resolve().parent == root / "labs"
    return folder.resolve().name if is_lab else text


def find_lab(name: str, root: Path = ROOT) -> LabFolder:
    """Return the lab called ``name``.

    Raises:
        UsageError: there is none; names the nearest.
    """
    found = {lab.name: lab for lab in labs(root)}
    if name in found:
        return found[name]
    known = list(found)
    near = get_close_matches(name, known, 1)
    raise UsageError(
        f"There is no lab called {name[:60]}.",
        mend=f"Did you mean {near[0]}?" if near else f"Labs: {', '.join(known)}.",
    )


def read_lab(file: Path) -> LabFolder:
    """Return the lab that a ``lab.toml`` describes.

    Raises:
        MachineError: the file is damaged; the checkout is at fault, not the learner.
    """
    try:
        data: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        fields = {key: data[key] for key in _PLAIN_FIELDS}
        for key, value in fields.items():
            (_number if key in _NUMBERS else _text)(value)
        return LabFolder(
            name=file.parent.name,
            folder=file.parent,
            budget=_number(data["budget"]["unpacked_size"]),
            nonroot=bool(data.get("nonroot", False)),
            requests=tuple(Request(**_tuples(entry)) for entry in data.get("requests", [])),
            nonroot_hints=_hints(data.get("nonroot_hints", [])),
            start_line=_text(data.get("start_line", "")),
            artifact=_artifact(data["artifact"]) if "artifact" in data else None,
            absent=tuple(Absent(**_tuples(entry)) for entry in data.get("absent", [])),
            **fields,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise MachineError(
            f"The lab's description is damaged: {why}.",
            where=str(file),
            mend="Restore it with: git checkout -- labs",
        ) from error


_LISTS = ("hints", "file_hints", "paths", "but", "programs", "context")


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the file with its lists as tuples."""
    for key, value in entry.items():
        if (key in _LISTS) != isinstance(value, list):
            raise TypeError(f"{key}: {value!r}")
        if key == "status":
            _number(value)
    return {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}


def _artifact(entry: dict[str, Any]) -> LabArtifact:
    return LabArtifact(**{key: _text(value) for key, value in entry.items()})


def _hints(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(hint, str) for hint in value):
        raise TypeError(f"nonroot_hints: {value!r}")
    return tuple(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


_PLAIN_FIELDS = (
    "title", "summary", "order", "minutes", "video", "notebook", "port", "solution",
)  # fmt: skip
_NUMBERS = ("order", "minutes", "port")


def reset(lab: LabFolder) -> Path | None:
    """Put the starter's Dockerfile back; keep the learner's as ``Dockerfile.yours-N``.

    A link goes; what it leads to stays as it is.

    Returns:
        Where the learner's file was kept; ``None`` where it was the starter already.

    Raises:
        LearnerError: something else than a file has the Dockerfile's name.
        MachineError: a file cannot be read or written.
    """
    try:
        return _reset(lab)
    except OSError as error:
        raise MachineError(
            f"The lab cannot be reset: {error.strerror}.", where=str(error.filename or lab.app),
            mend="Make the file readable and its folder writable; a missing file comes back with: "
            "git checkout -- labs",
        ) from error  # fmt: skip


def _reset(lab: LabFolder) -> Path | None:
    starter, file, kept = lab.before_dockerfile.read_bytes(), lab.dockerfile, None
    if file.exists():
        if not file.is_file():
            what = "a folder, not a file" if file.is_dir() else "no ordinary file"
            raise LearnerError(
                f"{file} is {what}.", mend="Move it to another place, then reset the lab again."
            )
        same = file.read_bytes() == starter
        if same and not file.is_symlink():
            return None
        kept = None if same else keep(file)
    replace_link(file, starter)
    return kept


def keep(file: Path) -> Path:
    """Copy ``file`` to ``NAME.yours-N`` with the first free N, and return the copy."""
    number = 1
    while True:
        copy = file.with_name(f"{file.name}.yours-{number}")
        try:
            with copy.open("xb") as target, file.open("rb") as source:
                shutil.copyfileobj(source, target)
        except FileExistsError:
            number += 1
        else:
            return copy
