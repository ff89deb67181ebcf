"""What an image lacks, told by its files, and the table that says it."""

import pytest

from multistage.images import File, surface
from multistage.lacks import Equipment, equipment, table

NOTHING = Equipment((), (), (), ca_certificates=False, zone_data=False, user_list=False)


def test_an_empty_image_has_nothing() -> None:
    assert equipment({}) == NOTHING


def test_a_program_alone_is_no_equipment() -> None:
    assert equipment({"server": 7_000_000}) == NOTHING


@pytest.mark.parametrize(
    ("path", "part", "value"),
    [
        ("usr/bin/bash", "shell", ("bash",)),
        ("bin/sh", "shell", ("sh",)),
        ("usr/sbin/apk", "package_manager", ("apk",)),
        ("sbin/apk", "package_manager", ("apk",)),
        ("usr/bin/apt-get", "package_manager", ("apt-get",)),
        ("usr/local/bin/npm", "package_manager", ("npm",)),
        ("usr/lib64/ld-linux-x86-64.so.2", "c_library", ("glibc",)),
        ("usr/lib/ld-linux-aarch64.so.1", "c_library", ("glibc",)),
        ("lib/ld-musl-x86_64.so.1", "c_library", ("musl",)),
        ("etc/ssl/certs/ca-certificates.crt", "ca_certificates", True),
        ("etc/ssl/cert.pem", "ca_certificates", True),
        ("usr/share/zoneinfo/Europe/Paris", "zone_data", True),
        ("zoneinfo.zip", "zone_data", True),
        ("etc/passwd", "user_list", True),
    ],
)
def test_a_file_is_taken_for_what_it_is(path: str, part: str, value: object) -> None:
    found = equipment({path: 1})
    assert getattr(found, part) == value
    others = [name for name in Equipment.__slots__ if name != part]
    assert all(getattr(found, name) == getattr(NOTHING, name) for name in others)


@pytest.mark.parametrize(
    "path",
    [
        "usr/share/doc/bash",
        "usr/bin/dpkg",
        "var/lib/dpkg/status",
        "usr/share/robin/sh",
        "usr/share/bash-completion/completions/apt",
        "usr/lib/apt/methods/http",
        "etc/passwd-",
        "usr/share/base-passwd/passwd.master",
        "usr/sbin/update-ca-certificates",
    ],
)
def test_what_only_has_a_name_like_it_does_not_count(path: str) -> None:
    assert equipment({path: 1}) == NOTHING


SYSTEMS = {
    "debian": ("usr/bin/bash", "bin/sh", "usr/bin/apt-get", "usr/bin/dpkg", "var/lib/dpkg/status"),
    "alpine": ("bin/busybox", "bin/sh", "bin/ash", "sbin/apk", "usr/bin/dpkg"),
    "debug": ("busybox/busybox", "busybox/sh", "var/lib/dpkg/status.d/base"),
    "node": ("usr/local/bin/npm", "usr/local/bin/npx", "opt/robin/zsh", "usr/bin/ksh"),
    "static": ("server", "etc/passwd", "sh", "usr/share/bash/sh.txt"),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_lessons_name_the_same_shells_and_package_managers(name: str) -> None:
    paths = SYSTEMS[name]
    found = surface({path: File(path, 1, 0o755) for path in paths})
    lacking = equipment(dict.fromkeys(paths, 1))
    assert (found.shells, found.package_managers) == (lacking.shell, lacking.package_manager)
    assert (bool(found.shells), bool(found.package_managers)) == {
        "debian": (True, True), "alpine": (True, True), "debug": (True, False),
        "node": (True, True), "static": (False, False),
    }[name]  # fmt: skip


def test_an_empty_file_of_certificates_is_none() -> None:
    assert not equipment({"etc/ssl/certs/ca-certificates.crt": 0}).ca_certificates


def test_both_c_libraries_are_named() -> None:
    files = {"lib/ld-musl-x86_64.so.1": 1, "lib64/ld-linux-x86-64.so.2": 0}
    assert equipment(files).c_library == ("glibc", "musl")


def test_the_table_has_a_line_for_each_image_and_says_none() -> None:
    alpine = Equipment(("ash", "sh"), ("apk",), ("musl",), True, False, True)
    assert table({"alpine": alpine, "scratch": NOTHING}).splitlines() == [
        "         shell    package manager  C library  CA certificates  zone data  user list",
        "alpine   ash, sh  apk              musl       yes              none       yes",
        "scratch  none     none             none       none             none       none",
    ]


def test_an_empty_table_has_its_headings() -> None:
    assert "zone data" in table({})
