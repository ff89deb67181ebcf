"""Recipes of stand-in base images: ``bases/<name>/recipe.toml`` and the files beside it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from multistage.errors import MachineError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parent.parent.parent / "bases"
LABEL = "org.multistage-course.stand-in"
_FORMAT = "2"  # counted up when the assembling code changes what a recipe yields


@dataclass(frozen=True)
class Wheel:
    """Files from a PyPI package: ``moves`` says which folder of the wheel goes where."""

    requirement: str
    libc: str
    moves: dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made.

    Attributes:
        name: the folder's name.
        references: the images it stands in for; none for a recipe that only others build on.
        differs: one sentence on how it differs from the original.
        parent: the recipe it builds on.
        packages: Debian packages, in apt's words; what they depend on comes too.
        keep: globs of the paths to keep; empty for all.
        drop: globs of the paths to leave out.
        wheels: what comes from PyPI.
        npm: what comes from npm: package and version to the folder it goes to.
        busybox: whether busybox's links are made.
        ca_certificates: where this machine's CA certificates go, so that builds work behind
            a proxy that signs anew; empty for nowhere.
        folders: folders to make, with their mode.
        links: symbolic links, path to target.
        config: the image's config, in the words of the OCI image specification.
    """

    name: str
    folder: Path
    references: tuple[str, ...]
    differs: str
    parent: Recipe | None
    packages: tuple[str, ...]
    keep: tuple[str, ...]
    drop: tuple[str, ...]
    wheels: tuple[Wheel, ...]
    npm: dict[str, str]
    busybox: bool
    ca_certificates: str
    folders: dict[str, int]
    links: dict[str, str]
    config: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the stand-in is made by."""
        hasher = hashlib.sha256(_FORMAT.encode())
        if self.parent is not None:
            hasher.update(self.parent.digest.encode())
        for file in sorted(self.folder.rglob("*")):
            if file.is_file():
                hasher.update(file.relative_to(self.folder).as_posix().encode() + b"\0")
                hasher.update(file.read_bytes())
        return hasher.hexdigest()


def recipes(folder: Path = FOLDER) -> tuple[Recipe, ...]:
    """Return all recipes that stand in for an image."""
    found = (read_recipe(file.parent) for file in sorted(folder.glob("*/recipe.toml")))
    return tuple(recipe for recipe in found if recipe.references)


def find_recipe(reference: str, folder: Path = FOLDER) -> Recipe | None:
    """Return the recipe that stands in for an image, however its name is written."""
    wanted = normal_reference(reference)
    return next(
        (r for r in recipes(folder) if wanted in {normal_reference(n) for n in r.references}), None
    )


def is_stand_in(reference: str, labels: Mapping[str, str]) -> bool:
    """Return whether an image of this name and labels is its stand-in.

    An image that was built on a stand-in has inherited the labels and is none itself.
    """
    recipe = find_recipe(reference)
    return recipe is not None and labels.get(LABEL) == recipe.name


def normal_reference(reference: str) -> str:
    """Return a reference with the registry, ``library/`` and tag that Docker would assume."""
    first, slash, rest = reference.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", reference
    if first == "index.docker.io":
        first = "docker.io"
    if first == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if "@" not in rest and ":" not in rest.rpartition("/")[2]:
        rest += ":latest"
    return f"{first}/{rest}"


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe in a folder.

    Raises:
        MachineError: its file is damaged; the checkout is at fault.
    """
    file = folder / "recipe.toml"
    try:
        data = tomllib.loads(file.read_text("utf-8"))
        parent = data.get("parent")
        if parent == folder.name:
            raise ValueError("it is its own parent")
        return Recipe(
            name=folder.name,
            folder=folder,
            references=tuple(data.get("references", ())),
            differs=data.get("differs", ""),
            parent=read_recipe(folder.parent / parent) if parent else None,
            packages=tuple(data.get("packages", ())),
            keep=tuple(data.get("keep", ())),
            drop=tuple(data.get("drop", ())),
            wheels=tuple(Wheel(**wheel) for wheel in data.get("wheels", ())),
            npm=data.get("npm", {}),
            busybox=data.get("busybox", False),
            ca_certificates=data.get("ca_certificates", ""),
            folders={path: int(mode, 8) for path, mode in data.get("folders", {}).items()},
            links=data.get("links", {}),
            config=data.get("config", {}),
        )
    except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise MachineError(
            f"A recipe of a stand-in base is damaged: {error}.",
            where=str(file),
            mend="Restore it with: git checkout -- bases",
        ) from error
