"""The builders that ``builders.py`` compares, each behind the same two calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multistage import bases
from multistage.builds import prepare_bases, read_dockerfile
from multistage.engines import BuildRequest, choose
from multistage.engines.daemonless import DaemonlessEngine, config, sandbox
from multistage.engines.daemonless.bases import unpacked
from multistage.engines.daemonless.store import StoredImage

TAG = "multistage/benchmark:builders"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Lab:
    """What is built: a context, its Dockerfile, and the commands of its builder stage."""

    name: str
    context: Path
    dockerfile: Path
    base: str
    folder: str
    commands: tuple[str, ...]


LABS = (
    Lab(
        "react-nginx",
        ROOT / "labs/react-nginx/app",
        ROOT / "solutions/react-nginx/nginx/Dockerfile",
        "node:24-alpine",
        "/app",
        ("npm ci", "npm run build"),
    ),
    Lab(
        "go-scratch",
        ROOT / "labs/go-scratch/app",
        ROOT / "solutions/go-scratch/scratch/Dockerfile",
        "golang:1.27",
        "/src",
        ('CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /app/server',),
    ),
)


def nothing(_lab: Lab) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Peer:
    """A builder.

    Attributes:
        prepare: brings the base images there, once.
        fresh: makes ready for one build; this is not timed.
        build: builds without a cache.
        close: leaves nothing behind.
    """

    name: str
    prepare: Callable[[Lab], None]
    build: Callable[[Lab], None]
    fresh: Callable[[Lab], None] = nothing
    close: Callable[[Lab], None] = nothing


def docker() -> Peer:
    """Return Docker Engine, through ``docker buildx build``."""
    engine = choose("docker")

    def prepare(lab: Lab) -> None:
        model = read_dockerfile(lab.dockerfile, lab.context)
        prepare_bases(engine, model, None, lambda _line: None)

    def build(lab: Lab) -> None:
        engine.build(BuildRequest(lab.context, lab.dockerfile, TAG, no_cache=True))

    return Peer(f"docker: {engine.describe()}", prepare, build)


def daemonless(kind: str) -> Peer:
    """Return the daemonless engine with one kind of sandbox."""
    engine = DaemonlessEngine(kind)

    def prepare(lab: Lab) -> None:
        model = read_dockerfile(lab.dockerfile, lab.context)
        prepare_bases(engine, model, None, lambda _line: None)
        for image in model.external_images():
            files_of(engine, image.name)

    def build(lab: Lab) -> None:
        engine.build(BuildRequest(lab.context, lab.dockerfile, TAG, no_cache=True))

    return Peer(engine.describe(), prepare, build)


def stored(engine: DaemonlessEngine, name: str) -> StoredImage:
    """Return an image of the engine's store."""
    image = engine.workshop.store.image(name)
    assert image is not None, name
    return image


def files_of(engine: DaemonlessEngine, name: str) -> str:
    """Return the folder of an image's files, unpacked where they were not."""
    workshop = engine.workshop
    image = stored(engine, name)
    return unpacked(image, workshop.store, workshop.snapshots, workshop.sandbox).files


def buildah() -> Peer:
    """Return Buildah with its chroot isolation."""

    def prepare(lab: Lab) -> None:
        model = read_dockerfile(lab.dockerfile, lab.context)
        for image in model.external_images():
            archive = bases.stand_in(image.name).archive
            _run("buildah", "pull", f"docker-archive:{archive}")

    def build(lab: Lab) -> None:
        _run(
            "buildah", "build", "--isolation", "chroot", "--no-cache", "--network", "host",
            "--pull-never", "--tag", TAG, "--file", str(lab.dockerfile), str(lab.context),
        )  # fmt: skip

    return Peer("buildah, chroot isolation", prepare, build)


def bare() -> Peer:
    """Return the builder stage's commands alone, by hand in a chroot: the floor."""
    engine = DaemonlessEngine("root")
    roots = Path(tempfile.mkdtemp(prefix="multistage-bare-"))

    def prepare(lab: Lab) -> None:
        daemonless("root").prepare(lab)

    def build(lab: Lab) -> None:
        root = roots / lab.name
        for command in lab.commands:
            words = ["chroot", str(root), "/bin/sh", "-c", f"cd {lab.folder} && {command}"]
            subprocess.run(words, check=True, capture_output=True, env=environment(lab))

    def environment(lab: Lab) -> dict[str, str]:
        image = stored(engine, lab.base)
        found = config.environment(config.from_image(image.config))
        return {"HOME": "/root", **found}

    def fresh(lab: Lab) -> None:
        """Copy the base anew: that is not part of what is measured."""
        root = roots / lab.name
        clear(root)
        _run("cp", "-a", files_of(engine, lab.base), str(root))
        shutil.copytree(lab.context, f"{root}{lab.folder}", dirs_exist_ok=True)
        for place in ("proc", "dev"):
            (root / place).mkdir(exist_ok=True)
            _run("mount", "--rbind", f"/{place}", str(root / place))
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")

    def clear(root: Path) -> None:
        for place in ("proc", "dev"):
            if os.path.ismount(root / place):
                _run("umount", "--lazy", str(root / place))
        shutil.rmtree(root, ignore_errors=True)

    return Peer(
        "the bare commands in a chroot",
        prepare,
        build,
        fresh,
        lambda lab: clear(roots / lab.name),
    )


def _run(*words: str) -> None:
    # Without Docker's settings: Buildah looks for a file of credentials where they point to.
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-2000:]}")


def kinds() -> list[str]:
    """Return the kinds of sandbox that work here."""
    return [kind for kind, reason in sandbox.probe().items() if not reason]
