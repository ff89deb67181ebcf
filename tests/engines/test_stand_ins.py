"""Stand-in base images behave as the originals where a lesson depends on it."""

from __future__ import annotations

import fnmatch
import platform
import sys
from pathlib import Path

import pytest

from multistage import bases
from multistage.engines import Engine, choose
from multistage.images import read_path
from multistage.images.layers import File

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not sys.platform.startswith("linux")
        or platform.freedesktop_os_release().get("ID") != "debian",
        reason="stand-ins are made on Debian",
    ),
]
REFERENCES = sorted(name for recipe in bases.recipes() for name in recipe.references)
MEGABYTE = 1_000_000


def archive(reference: str) -> Path:
    return bases.stand_in(reference, lambda _line: None).archive


def files(reference: str) -> dict[str, File]:
    layers = read_path(archive(reference), keep_files=True).layers
    return {file.path: file for layer in layers for file in layer.files}


def found(reference: str, *globs: str) -> list[str]:
    return [path for path in files(reference) if any(fnmatch.fnmatch(path, g) for g in globs)]


def output(engine: Engine, reference: str, *command: str) -> str:
    engine.load(archive(reference))
    finished = engine.run_command(reference, list(command))
    assert finished.exit_code == 0, finished.output
    return finished.output


@pytest.fixture(scope="module")
def engine() -> Engine:
    return choose()


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_stand_in_says_that_it_is_one_and_from_what(reference: str) -> None:
    image = read_path(archive(reference))
    assert image.labels[bases.LABEL]
    assert image.labels[bases.SOURCES_LABEL]
    assert image.labels[bases.RECIPE_LABEL] == bases.stand_in(reference, print).recipe_digest


@pytest.mark.parametrize(
    ("reference", "most"),
    [
        ("alpine", 8 * MEGABYTE),
        ("nginx:alpine", 40 * MEGABYTE),
        ("nginx:alpine-slim", 20 * MEGABYTE),
        ("debian:trixie-slim", 100 * MEGABYTE),
    ],
)
def test_a_stand_in_is_small_where_the_original_is(reference: str, most: int) -> None:
    known = next(name for name in REFERENCES if name.startswith(reference))
    assert read_path(archive(known)).unpacked_size <= most


def test_alpine_has_musl_and_busybox_and_no_glibc() -> None:
    alpine = next(name for name in REFERENCES if name.startswith("alpine"))
    assert found(alpine, "*/ld-musl-*", "*/busybox")
    assert not found(alpine, "*ld-linux*", "*libc.so.6")


def test_debian_slim_has_a_shell_apt_and_zones_and_no_certificates() -> None:
    present = files("debian:trixie-slim")
    assert {"usr/bin/sh", "usr/bin/bash", "usr/bin/apt-get", "usr/bin/dpkg"} <= set(present)
    assert {"etc/passwd", "usr/share/zoneinfo/Europe/Paris"} <= set(present)
    assert found("debian:trixie-slim", "*/ld-linux*", "*/libc.so.6")
    assert not found("debian:trixie-slim", "*/ld-musl-*", "etc/ssl/certs/*", "usr/share/man/*")


def test_nginx_on_debian_has_its_base_once_and_more_than_nginx_on_alpine() -> None:
    base, nginx = (read_path(archive(name)) for name in ("debian:trixie-slim", "nginx:latest"))
    assert nginx.layers[0].digest == base.layers[0].digest
    lower, upper = read_path(archive("nginx:latest"), keep_files=True).layers
    doubled = {file.path for file in lower.files if file.size} & {f.path for f in upper.files}
    assert doubled == {"etc/group", "etc/passwd"}
    assert nginx.unpacked_size > 2 * read_path(archive("nginx:alpine")).unpacked_size


def test_nginx_slim_has_no_extra_modules_and_is_no_larger() -> None:
    assert found("nginx:latest", "*/ngx_http_image_filter_module.so")
    assert not found("nginx:alpine-slim", "*/ngx_*_module.so")
    slim, whole = (read_path(archive(name)) for name in ("nginx:alpine-slim", "nginx:alpine"))
    assert slim.unpacked_size <= 1.001 * whole.unpacked_size


@pytest.mark.parametrize("module", ["geoip", "image_filter", "js", "xslt_filter"])
def test_the_modules_of_nginx_on_debian_can_be_loaded(engine: Engine, module: str) -> None:
    load = f"load_module modules/ngx_http_{module}_module.so;"
    if module == "js":  # it brings a module for streams too, which is loaded first
        load = f"load_module modules/ngx_stream_module.so; {load}"
    assert "successful" in output(engine, "nginx:latest", "nginx", "-t", "-g", load)


def test_distroless_has_certificates_zones_and_users_and_no_shell() -> None:
    static = next(name for name in REFERENCES if "distroless/static" in name)
    present = files(static)
    assert present["etc/ssl/certs/ca-certificates.crt"].size > 100_000
    assert "etc/passwd" in present
    assert "usr/share/zoneinfo/Europe/Paris" in present
    assert not found(static, "*/sh", "*/bash", "*/busybox", "*/apt*", "*/dpkg*")
    assert read_path(archive(static)).user == "65532"


@pytest.mark.parametrize(
    ("reference", "command", "said"),
    [
        ("node:24-alpine", ["node", "--version"], "v24."),
        ("node:24-alpine", ["npm", "--version"], "11."),
        ("node:18-alpine", ["node", "--version"], "v18.20"),
        ("node:18-alpine", ["npm", "--version"], "10."),
        ("golang:1.27", ["go", "version"], "go1.27"),
        ("golang:1.22", ["go", "version"], "go1.22"),
        ("golang:1.27", ["gcc", "--version"], "gcc"),
        ("golang:1.27", ["sh", "-c", "ls /usr/local/go/lib/time"], "zoneinfo.zip"),
        ("nginx:alpine", ["sh", "-c", "nginx -v 2>&1"], "nginx/"),
        ("nginx:alpine", ["sh", "-c", "cat /etc/os-release"], "Alpine"),
        ("nginx:alpine-slim", ["sh", "-c", "nginx -v 2>&1"], "nginx/"),
        ("nginx:alpine-slim", ["sh", "-c", "cat /etc/os-release"], "Alpine"),
        ("nginx:latest", ["sh", "-c", "nginx -v 2>&1"], "nginx/"),
        ("nginx:latest", ["sh", "-c", "cat /etc/os-release"], "Debian"),
        ("debian:trixie-slim", ["bash", "-c", "cat /etc/os-release"], "VERSION_CODENAME=trixie"),
        ("debian:trixie-slim", ["dpkg", "--list", "libc6"], "ii  libc6"),
        ("debian:trixie-slim", ["apt-get", "--version"], "apt 3."),
        ("debian:trixie-slim", ["perl", "-e", "print 6 * 7"], "42"),
    ],
)
def test_the_tools_of_a_stand_in_run(
    engine: Engine, reference: str, command: list[str], said: str
) -> None:
    assert said in output(engine, reference, *command)
