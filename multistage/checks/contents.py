"""Checks of what is in the image: nothing of the workshop, a small size, a user other than root."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping

from multistage.builds import Build
from multistage.checks.absent import Copies, find
from multistage.checks.results import CheckResult, result
from multistage.images import File, ImageArchive, final_tree
from multistage.labs import Absent, LabFolder
from multistage.units import megabytes

_BUDGET_HINTS: tuple[str, ...] = (
    "What in the image is larger than it has to be?",
    "Start the runtime stage from a smaller base image, and copy the artifact alone.",
)
_COPY = re.compile(r"(?:/bin/sh -c #\(nop\) )?(?:COPY|ADD) ")  # as an image's history says it
_LONGEST = 80  # characters of an instruction
_USER_HINTS = (
    "Whoever breaks into the program has the rights of its user.",
    "Name another user in the last stage. A number works also where there is no list of users.",
    "USER 65532:65532",
)


def check_contents(
    lab: LabFolder, build: Build, image: ImageArchive, copies: Mapping[str, Copies]
) -> Iterator[CheckResult]:
    """Yield the results of all checks of an image's contents.

    Args:
        lab: what is asked.
        build: the image's build.
        image: its layers, with files and their digests.
        copies: what of the before image must not come along, for each entry of ``lab.absent``.
    """
    # All layers: what a later layer deletes is shipped all the same.
    files = [file for layer in image.layers for file in layer.files]
    visible = final_tree(image)
    for entry in lab.absent:
        path, words = find(entry, files, copies.get(entry.id, Copies()), lab.app)
        found = f"/{path} is in {_place(path, visible)}{words}." if path else ""
        yield result(
            f"without-{entry.id}", f"The image is without {entry.what}", not found,
            found or "Nothing of it is in the image.", _hints(entry, path, build, image),
        )  # fmt: skip
    yield _budget(lab, build)
    yield _user(lab, image, visible.get("etc/passwd"))


def _hints(entry: Absent, path: str, build: Build, image: ImageArchive) -> tuple[str, ...]:
    """Return the entry's hints; others where a copy brings the file, and not the base image."""
    for built, layer in zip(build.layers, image.layers, strict=False):
        if any(file.path == path for file in layer.files):
            if not built.line or not _COPY.match(built.created_by):
                break
            idea = f"Line {built.line} brings it. Copy the artifact alone, not what lies around it."
            return (entry.hints[0], idea, *(h for h in entry.hints[2:] if h.startswith("COPY ")))
    return entry.hints


def _place(path: str, visible: Container[str]) -> str:
    if path in visible:
        return "the image"
    return "a layer of the image, where a later layer only hides it"


def _budget(lab: LabFolder, build: Build) -> CheckResult:
    hints = _BUDGET_HINTS
    if build.layers:
        largest = max(build.layers, key=lambda layer: layer.unpacked_size)
        size = megabytes(largest.unpacked_size)
        said = largest.created_by.removesuffix(" # buildkit")[:_LONGEST]
        made = f"line {largest.line}: {said}" if largest.line else "the base image"
        hints += (f"Its largest layer, {size}, is from {made}",)
    return result(
        "budget", f"The image is at most {megabytes(lab.budget)} unpacked",
        build.unpacked_size <= lab.budget, f"It is {megabytes(build.unpacked_size)}.", hints,
    )  # fmt: skip


def _user(lab: LabFolder, image: ImageArchive, users: File | None) -> CheckResult:
    user = image.user.partition(":")[0]
    says_so = user in ("", "root") or _ZERO.fullmatch(user) is not None
    number = _number(user, users)
    is_root = says_so if number is None else _is_zero(number)
    known = ", who is root" if is_root and not says_so else ""
    *_, name = (lab.nonroot_hints or ("",))[-1].rpartition(" ")
    hints = lab.nonroot_hints if _number(name, users) is not None else _USER_HINTS
    return result(
        "nonroot", "The program does not run as root", not is_root,
        f"It runs as {image.user or 'root'}{known}.", hints,
        required=lab.nonroot,
    )  # fmt: skip


_ZERO = re.compile("[+-]?0+")


def _is_zero(number: str) -> bool:
    """Return whether engines read 0: also what is no number."""
    return re.fullmatch(r"[+-]?\d+", number, re.ASCII) is None or bool(_ZERO.fullmatch(number))


def _number(user: str, users: File | None) -> str | None:
    """Return what the image's list of users has for the user's number, if it has the user.

    A name comes first, also one that looks like a number:
    https://github.com/moby/sys/blob/main/user/user.go (GetExecUser)
    """
    lines = users.content.decode("utf-8", "replace").splitlines() if users else ()
    for line in lines:
        name, _, number, *_rest = (*line.strip().split(":"), "", "", "")
        if user and user == name:
            return number
    return None
