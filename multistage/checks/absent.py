"""What must stay behind, found in an image by its path, its name, or its content under any name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from multistage.images import File
from multistage.labs import Absent

# So many files of one folder are no coincidence: licence texts, say, are alike everywhere.
_MANY = 10
_SMALL = 64  # bytes; shorter files are alike in many images
_EXECUTABLE = 0o111


@dataclass(frozen=True, slots=True)
class Copies:
    """What of the before image must not be in the after image, by SHA-256 of the content.

    Attributes:
        programs: programs, of which one is too many.
        files: other files, which may be alike by coincidence.
    """

    programs: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


def copies_of(entry: Absent, files: list[File]) -> Copies:
    """Return which files of the before image an entry means.

    What the before image also has elsewhere does not tell where a copy of it comes from: packages
    of an app may be the ones that npm itself uses.
    """
    programs, others, elsewhere = set(), set(), set()
    for file in files:
        if file.digest and file.size >= _SMALL:
            if is_program(file, entry.programs):
                programs.add(file.digest)
            elif _is_meant(file.path, entry):
                others.add(file.digest)
            else:
                elsewhere.add(file.digest)
    return Copies(frozenset(programs), frozenset(others - programs - elsewhere))


def find(entry: Absent, files: Sequence[File], copies: Copies, context: Path) -> tuple[str, str]:
    """Return the path of what is in the image, and words for how it was found; both may be empty.

    It is found by its path, by the name of a program, or by its content under any name.
    """
    by_name = {file.path.rpartition("/")[2]: file.path for file in files if file.mode & _EXECUTABLE}
    for name in entry.programs:
        if name in by_name:
            return by_name[name], ""
    by_digest = {file.digest: file.path for file in files if file.digest}
    for digest, source in _digests(context, entry.context).items():
        if digest in by_digest:
            return by_digest[digest], f", and is {source} of your folder"
    for file in files:
        if _is_meant(file.path, entry):
            return file.path, ""
        if file.digest in copies.programs:
            return file.path, f": {entry.what}, under another name"
    like = [file.path for file in files if file.digest in copies.files]
    if len(like) < _MANY:
        return "", ""
    return like[0], f", and so are {len(like) - 1} more files of {entry.what}"


def _is_meant(path: str, entry: Absent) -> bool:
    named = any(matches(path, pattern) for pattern in entry.paths)
    return named and not any(matches(path, pattern) for pattern in entry.but)


def is_program(file: File, names: tuple[str, ...]) -> bool:
    """Return whether a file can be run and has one of the names, in whatever folder."""
    return bool(file.mode & _EXECUTABLE) and file.path.rpartition("/")[2] in names


def matches(path: str, pattern: str) -> bool:
    """Return whether ``path`` is what the glob names, or lies below it."""
    places = (pattern, f"usr/{pattern}")  # in most images /bin is a link to /usr/bin
    return any(fnmatchcase(path, glob) for p in places for glob in (p, f"{p}/*"))


def _digests(context: Path, globs: Iterable[str]) -> dict[str, str]:
    """Return the names of files of the build context by their SHA-256, in the globs' order."""
    found: dict[str, str] = {}
    for path in (path for glob in globs for path in sorted(context.glob(glob))):
        if path.is_file() and path.stat().st_size:
            name = path.relative_to(context).as_posix()
            found.setdefault(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", name)
    return found
