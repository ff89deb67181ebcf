"""What an image is made of, and what an intruder finds in it, told by its files."""

import pytest

from multistage.images import File, parts_of, surface
from multistage.images.surface import PARTS, part_of


def tree(*files: tuple[str, int, int]) -> dict[str, File]:
    return {path: File(path, size, mode) for path, size, mode in files}


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("usr/local/go/bin/go", "toolchain"),
        ("usr/lib/gcc/x86_64-linux-gnu/12/cc1", "toolchain"),
        ("usr/local/bin/node", "toolchain"),
        ("usr/local/lib/node_modules/npm/index.js", "package manager"),
        ("root/.npm/_cacache/index", "package manager"),
        ("var/lib/dpkg/status", "package manager"),
        ("app/node_modules/react/index.js", "build dependencies"),
        ("root/.cache/go-build/00/x", "build dependencies"),
        ("app/dist/index.html", "app"),
        ("server", "app"),
        ("src/main.go", "source"),
        ("etc/passwd", "system"),
        ("usr/bin/ls", "system"),
    ],
)
def test_a_file_belongs_to_the_part_it_is_there_for(path: str, part: str) -> None:
    assert part_of(path) == part


def test_the_parts_add_up_to_the_image() -> None:
    files = tree(("server", 5, 0o755), ("etc/passwd", 2, 0o644), ("src/main.go", 3, 0o644))
    parts = parts_of(files)
    assert tuple(parts) == tuple(PARTS)
    assert sum(parts.values()) == 10
    assert parts["app"] == 5


def test_programs_are_counted_without_libraries_links_and_data() -> None:
    found = surface(
        tree(
            ("usr/bin/ls", 100, 0o755),
            ("usr/bin/passwd", 100, 0o4755),
            ("usr/lib/libc.so.6", 100, 0o755),
            ("usr/bin/link", 0, 0o777),
            ("etc/passwd", 100, 0o644),
        )
    )
    assert (found.programs, found.set_uid) == (2, 1)


def test_shells_and_package_managers_are_named_links_included() -> None:
    found = surface(
        tree(("bin/busybox", 9, 0o755), ("bin/sh", 0, 0o777), ("usr/local/bin/npm", 0, 0o777),
             ("usr/share/doc/bash", 3, 0o644))
    )  # fmt: skip
    assert found.shells == ("busybox", "sh")
    assert found.package_managers == ("npm",)


def test_installed_packages_are_counted_by_what_names_them() -> None:
    found = surface(
        tree(("app/node_modules/react/package.json", 1, 0o644),
             ("app/package.json", 1, 0o644),
             ("var/lib/dpkg/info/bash.list", 1, 0o644))
    )  # fmt: skip
    assert found.packages == 2


def test_an_empty_image_offers_nothing() -> None:
    found = surface({})
    assert (found.programs, found.shells, found.package_managers, found.packages) == (0, (), (), 0)
