"""What a fat image consists of, and what an intruder would find in it: told by its files."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from multistage.images.layers import File

# What a part is called -> whose colour it has in the figures.
PARTS = {
    "toolchain": "base",
    "package manager": "base",
    "build dependencies": "dependencies",
    "source": "config",
    "app": "app",
    "system": "base",
}

# The first pattern that a path matches decides; paths have no leading slash, ``*`` takes slashes.
_RULES = (
    ("package manager", ("usr/local/lib/node_modules/*", "root/.npm/*", "opt/yarn*", "*/apt/*",
                         "*/dpkg/*", "usr/bin/apt*", "usr/bin/dpkg*", "lib/apk/*", "sbin/apk")),
    ("build dependencies", ("*node_modules/*", "go/pkg/*", "root/.cache/*", "*/site-packages/*",
                            "tmp/node-compile-cache/*")),
    ("toolchain", ("usr/local/go/*", "usr/lib/gcc/*", "usr/libexec/gcc/*", "usr/local/bin/node",
                   "usr/include/*", "usr/local/include/*", "usr/lib/git-core/*", "*.a", "*.h",
                   "usr/bin/*gcc*", "usr/bin/*g++*", "usr/bin/*-linux-gnu-*", "usr/bin/git*",
                   "usr/lib/*/bfd-plugins/*", "usr/lib/*/libLLVM*", "usr/share/node/*",
                   "usr/bin/make", "usr/bin/perl*", "usr/share/perl*", "usr/lib/*/perl*")),
    ("app", ("app/dist/*", "app/server", "server", "usr/share/nginx/html/*")),
    ("source", ("app/*", "src/*")),
)  # fmt: skip
# In a folder of one of these names a program is found; distroless debug images have the last.
_PROGRAM_FOLDERS = {"bin", "sbin", "busybox"}
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"}
_MANAGERS = {"apt", "apt-get", "dpkg", "apk", "npm", "npx", "yarn", "pip", "pip3", "corepack"}
_PACKAGES = ("*node_modules/*/package.json", "var/lib/dpkg/info/*.list",
             "*/site-packages/*.dist-info/METADATA", "go/pkg/mod/cache/download/*.mod")  # fmt: skip
_EXECUTABLE, _SET_UID = 0o111, 0o4000


@dataclass(frozen=True, slots=True)
class Surface:
    """What an intruder finds in an image.

    Attributes:
        programs: how many files can be run, shared libraries left out, links not counted.
        set_uid: how many of them run with their owner's rights, whoever starts them.
        shells: the names of its shells.
        package_managers: the names of its package managers.
        packages: how many installed packages it names.
    """

    programs: int
    set_uid: int
    shells: tuple[str, ...]
    package_managers: tuple[str, ...]
    packages: int


def part_of(path: str) -> str:
    """Return which of :data:`PARTS` a file belongs to."""
    for part, patterns in _RULES:
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            return part
    return "system"


def parts_of(tree: Mapping[str, File]) -> dict[str, int]:
    """Return the bytes of each of :data:`PARTS` in an image's final tree."""
    sizes = dict.fromkeys(PARTS, 0)
    for path, file in tree.items():
        sizes[part_of(path)] += file.size
    return sizes


def surface(tree: Mapping[str, File]) -> Surface:
    """Return what an intruder finds in an image's final tree."""
    programs = {path: file for path, file in tree.items() if _is_program(file)}
    return Surface(
        programs=len(programs),
        set_uid=sum(bool(file.mode & _SET_UID) for file in programs.values()),
        shells=shells_in(tree),
        package_managers=package_managers_in(tree),
        packages=sum(any(fnmatch.fnmatchcase(p, glob) for glob in _PACKAGES) for p in tree),
    )


def shells_in(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the shells among an image's files, links included, in order."""
    return tuple(sorted(_programs(paths) & _SHELLS))


def package_managers_in(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the package managers among an image's files, in order."""
    paths = tuple(paths)
    names = _programs(paths) & _MANAGERS
    if not any(path.startswith("var/lib/dpkg/") for path in paths):
        names.discard("dpkg")  # busybox brings a program of that name, which manages nothing
    return tuple(sorted(names))


def _programs(paths: Iterable[str]) -> set[str]:
    parts = (path.split("/") for path in paths)
    return {names[-1] for names in parts if names[-2:-1] and names[-2] in _PROGRAM_FOLDERS}


def _is_program(file: File) -> bool:
    name = file.path.rpartition("/")[2]
    return bool(file.size and file.mode & _EXECUTABLE) and ".so" not in name
