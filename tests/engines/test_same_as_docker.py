"""The engine without a daemon builds the images that Docker Engine 26 with buildx builds.

Both build the Dockerfiles of tests/engines/same/, one for each feature, and those of the labs;
then their archives are read by a reader of the tests' own and compared: every file with kind,
mode, owner, content, link target, hard links and extended attributes, the config, the history.
"""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest, Engine
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.docker import DockerEngine
from tests.engines.conftest import HOSTS
from tests.engines.same import cases
from tests.engines.same.flat import Image, read_image

pytestmark = pytest.mark.docker

_BLOCK = 1 << 20


@pytest.fixture(scope="module")
def docker_engine() -> Iterator[DockerEngine]:
    """Return Docker Engine 26 with the overlay2 store, or else the machine's own."""
    with pytest.MonkeyPatch.context() as patch:
        if HOSTS:
            patch.setenv("DOCKER_HOST", HOSTS["engine26"])
        yield DockerEngine()


@pytest.fixture(scope="module")
def bases(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return archives of the cases' base images, which Docker has by then."""
    folder = tmp_path_factory.mktemp("bases")
    prepare_bases(docker_engine, parse("FROM alpine:latest"), None, lambda _line: None)
    archives = []
    for name, text in {
        cases.BASE: cases.BASE_DOCKERFILE,
        cases.ONBUILD_BASE: cases.ONBUILD_DOCKERFILE,
    }.items():
        (folder / "Dockerfile").write_text(text, "utf-8")
        docker_engine.build(BuildRequest(folder, folder / "Dockerfile", name))
        archives.append(save(docker_engine, name, folder / f"{name}.tar"))
    return archives


def save(engine: Engine, image: str, file: Path) -> Path:
    with engine.save(image) as stream, file.open("wb") as out:
        while data := stream.read(_BLOCK):
            out.write(data)
    return file


@pytest.fixture(scope="module")
def engines(bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    """Return an engine without a daemon for each sandbox, with the cases' base images."""
    found: dict[str, Engine] = {}
    for kind in ("root", "chroot", "user-namespaces", "proot"):
        found[kind] = DaemonlessEngine(kind, tmp_path_factory.mktemp(kind))
        for archive in bases:
            found[kind].load(archive)
    return found


def built(engine: Engine, name: str, tmp_path: Path, **more: Any) -> Image:
    """Build a case and return its image."""
    options = cases.OPTIONS.get(name, cases.Options())
    folder = tmp_path / "context"
    if not folder.exists():
        shutil.copytree(cases.CASES / name, folder, symlinks=True)
        options.prepare(folder)
    secrets: tuple[str, ...] = ()
    if options.secret is not None:
        (tmp_path / "secret").write_bytes(options.secret)
        secrets = (f"id=token,src={tmp_path / 'secret'}",)
    request = BuildRequest(
        folder,
        folder / "Dockerfile",
        f"multistage/same:{name}",
        options.target,
        {**options.build_args, **more.get("build_args", {})},
        secrets,
    )
    identifier = engine.build(request)
    archive = save(engine, identifier, tmp_path / f"{engine.name}.tar")
    image = read_image(archive)
    archive.unlink()
    return image


def differences(ours: Image, dockers: Image) -> list[str]:
    """Return what two images differ in, one line each."""
    found = []
    for path in sorted({*ours.files, *dockers.files}):
        mine, theirs = ours.files.get(path), dockers.files.get(path)
        if mine is None or theirs is None:
            found.append(f"{path!r}: {'only Docker' if mine is None else 'only we'} have it")
            continue
        left, right = mine.shown(), theirs.shown()
        found += [
            f"{path!r}: {name}: {left[name]!r}, Docker {right[name]!r}"
            for name in left
            if left[name] != right[name]
        ]
    found += _document_differences(ours.document, dockers.document)
    return found


def _document_differences(ours: Mapping[str, Any], dockers: Mapping[str, Any]) -> Iterator[str]:
    for name in ("architecture", "os", "variant", "author"):
        if ours.get(name) != dockers.get(name):
            yield f"{name}: {ours.get(name)!r}, Docker {dockers.get(name)!r}"
    mine, theirs = ours["config"], dockers["config"]
    for name in sorted({*mine, *theirs}):
        if mine.get(name, "no such key") != theirs.get(name, "no such key"):
            yield f"config.{name}: {mine.get(name)!r}, Docker {theirs.get(name)!r}"
    left, right = (
        [(h.get("created_by"), h.get("empty_layer", False)) for h in d["history"]]
        for d in (ours, dockers)
    )
    for number in range(max(len(left), len(right))):
        a, b = (h[number] if number < len(h) else None for h in (left, right))
        if a != b:
            yield f"history {number}: {a!r},\n    Docker {b!r}"


@pytest.mark.parametrize("name", [n for n in cases.NAMES if n != "add-address"])
def test_the_image_is_the_one_that_docker_builds(
    name: str, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    theirs = built(docker_engine, name, tmp_path)
    ours = built(engines["root"], name, tmp_path)
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
