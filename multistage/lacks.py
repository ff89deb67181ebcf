"""What a runtime base has for a program that needs more than itself, and how to look without it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from multistage import labs
from multistage.builds import Build, build, read_dockerfile, read_image
from multistage.engines import choose
from multistage.images import final_files, package_managers_in, shells_in
from multistage.notebooks import Lab
from multistage.panels import build_panel
from multistage.shown import Shown

# What is looked for, as globs over paths without leading slash; ``*`` takes slashes.
_LIBRARIES = {"glibc": ("*/ld-linux*.so.*",), "musl": ("*/ld-musl-*.so.1",)}
# Where Go's crypto/x509 and OpenSSL look, in Debian's and Alpine's words.
_CERTIFICATES = ("etc/ssl/certs/ca-certificates.crt", "etc/ssl/cert.pem")
_ZONES = ("usr/share/zoneinfo/*", "*zoneinfo.zip")
_USERS = ("etc/passwd",)
_HEADINGS = ("shell", "package manager", "C library", "CA certificates", "zone data", "user list")
_GAP = 2  # blanks between columns


@dataclass(frozen=True, slots=True)
class Equipment:
    """What an image has besides its program.

    Attributes:
        shell: the names of its shells.
        package_manager: the names of its package managers.
        c_library: ``glibc``, ``musl``, both or neither.
        ca_certificates: whether it has certificates of the authorities that vouch for servers.
        zone_data: whether it has the rules of time zones.
        user_list: whether it has names of users.
    """

    shell: tuple[str, ...]
    package_manager: tuple[str, ...]
    c_library: tuple[str, ...]
    ca_certificates: bool
    zone_data: bool
    user_list: bool


def equipment(files: Mapping[str, int]) -> Equipment:
    """Return what an image has, told by its files: paths without leading slash, and sizes."""
    return Equipment(
        shell=shells_in(files),
        package_manager=package_managers_in(files),
        c_library=_names(_LIBRARIES, files),
        ca_certificates=any(files.get(path) for path in _CERTIFICATES),
        zone_data=_any(files, _ZONES),
        user_list=_any(files, _USERS),
    )


def _names(kinds: Mapping[str, tuple[str, ...]], paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name, globs in kinds.items() if _any(paths, globs))


def _any(paths: Iterable[str], globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, glob) for path in paths for glob in globs)


def table(rows: Mapping[str, Equipment]) -> str:
    """Return a table with a line for each image and a column for each kind of equipment."""
    names = [field.name for field in fields(Equipment)]
    lines = [["", *_HEADINGS]]
    for image, row in rows.items():
        lines.append([image, *(_said(getattr(row, name)) for name in names)])
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    padded = [
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in padded)


def _said(value: bool | tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "none"
    return ", ".join(value) or "none"


def what_is_there(images: Mapping[str, Build]) -> Shown:
    """Return which image has a shell, a C library, CA certificates and the like, as a table."""
    found = {}
    for name, made in images.items():
        image = read_image(choose(made.engine), made.image_id, keep_files=True)
        found[name] = equipment(final_files(image))
    return Shown(table(found))


def run_in_stage(lab: Lab, folder: str, target: str, *command: str) -> Shown:
    """Build one stage of a Dockerfile of the course, run a command there, return what it says.

    Raises:
        LearnerError: there is no such stage, or it does not build.
    """
    path = labs.ROOT / folder / "Dockerfile"
    tag = lab.folder.tag(f"tried-{target.lower()}")
    with build_panel(f"Building {target}", read_dockerfile(path, lab.folder.app), target) as panel:
        made = build(
            lab.engine, lab.folder.app, tag=tag, dockerfile=path, target=target,
            report=panel.report, announce=panel.announce,
        )  # fmt: skip
    finished = lab.engine.run_command(made.image_id, list(command))
    return Shown(f"exit code {finished.exit_code}: {finished.output.strip() or 'no output'}")
