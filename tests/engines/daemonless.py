"""What the tests of the engine without a daemon share: a base, contexts, and a look at the rest."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multistage import bases
from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest, Engine
from multistage.engines.daemonless import DaemonlessEngine, sandbox
from multistage.engines.docker import DockerEngine
from multistage.engines.events import Report, ignore

BASE = "alpine:latest"
ON_DEBIAN = (
    sys.platform.startswith("linux") and platform.freedesktop_os_release().get("ID") == "debian"
)
needs_stand_ins = pytest.mark.skipif(not ON_DEBIAN, reason="stand-ins are made on Debian")


def skip_without(kind: str) -> None:
    """Skip a test where this machine does not allow a kind of sandbox."""
    reason = sandbox.probe()[kind]
    if reason:
        pytest.skip(reason)


def base_archive() -> Path:
    return bases.stand_in(BASE, lambda _line: None).archive


def engine_in(folder: Path, kind: str = "root") -> DaemonlessEngine:
    """Return an engine with a store of its own, which has the base image."""
    skip_without(kind)
    engine = DaemonlessEngine(kind, folder)
    engine.load(base_archive())
    return engine


def any_engine(name: str, folders: pytest.TempPathFactory) -> Engine:
    """Return the engine of Docker, or that of a kind of sandbox, with the base image on it."""
    if name != "docker":
        return engine_in(folders.mktemp("engine"), name)
    engine = DockerEngine()
    prepare_bases(engine, parse(f"FROM {BASE}"), None, lambda _line: None)
    return engine


def write(folder: Path, dockerfile: str, **files: str) -> Path:
    """Make a context; ``__`` in a file's name stands for the dot."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile, "utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, "utf-8")
    return folder


def request(
    context: Path,
    tag: str = "test/faults:a",
    *,
    secrets: tuple[str, ...] = (),
    no_cache: bool = False,
    build_args: dict[str, str] | None = None,
) -> BuildRequest:
    dockerfile = context / "Dockerfile"
    return BuildRequest(
        context, dockerfile, tag, build_args=build_args or {}, secrets=secrets, no_cache=no_cache
    )


def build(engine: DaemonlessEngine, context: Path, report: Report = ignore) -> str:
    return engine.build(request(context), report)


def faults(engine: DaemonlessEngine) -> list[str]:
    """Return what is wrong with an engine's images and build cache, and what was left behind."""
    shop = engine.workshop
    left = [
        str(path)
        for pattern in ("sessions/*", "steps/.*", "steps/*.lock")
        for path in shop.snapshots.folder.glob(pattern)
    ]
    left += [str(path) for path in shop.store.folder.rglob(".*")]
    records = shop.snapshots.folder.glob("steps/[!.]*.json")  # written after their deltas
    left += [record.name for record in records if shop.snapshots.cached(record.stem) is None]
    return [*shop.store.verify(), *shop.snapshots.verify(), *left]


def output(engine: DaemonlessEngine, *command: str, image: str = "test/faults:a") -> str:
    finished = engine.run_command(image, list(command))
    assert finished.exit_code == 0, finished.output
    return finished.output


def files_of(engine: DaemonlessEngine, image: str = "test/faults:a") -> set[tuple[object, ...]]:
    """Return an image's files, layer by layer, with everything but their times."""
    found: set[tuple[object, ...]] = set()
    with (
        engine.save(image) as stream,
        tarfile.open(fileobj=io.BytesIO(bytes(stream.read()))) as archive,
    ):
        [manifest] = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        for number, name in enumerate(manifest["Layers"]):
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                for member in layer:
                    content = layer.extractfile(member) if member.isreg() else None
                    digest = hashlib.sha256(content.read()).hexdigest() if content else ""
                    how = (member.type, oct(member.mode), member.uid, member.gid)
                    found.add((number, member.name, *how, member.linkname, digest))
    return found


def processes_with(word: str, where: str = "cmdline") -> list[str]:
    """Return this machine's processes that hold a word in ``cmdline`` or ``environ``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            held = (folder / where).read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in held and folder.name != str(os.getpid()):
                found.append(f"{folder.name}: {held}")
    return found


def mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return [line for line in lines if f"{folder}/" in line]


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


CHILD = """
import sys
from pathlib import Path
from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest, Engine
from multistage.engines.daemonless import DaemonlessEngine
kind, folder, context, base, tag, *options = sys.argv[1:]
engine = DaemonlessEngine(kind, Path(folder))
if base:
    engine.load(Path(base))
context = Path(context)
request = BuildRequest(context, context / "Dockerfile", tag, no_cache="no_cache" in options)
print(engine.build(request))
"""


def start_build(
    engine_folder: Path,
    context: Path,
    *options: str,
    kind: str = "root",
    tag: str = "test/faults:a",
    base: Path | None = None,
    mark: str = "",
) -> subprocess.Popen[str]:
    """Start a build in a process group of its own; ``mark`` gets into its launchers' PATH."""
    path = os.environ.get("PATH", os.defpath)
    arguments = [kind, str(engine_folder), str(context), str(base or ""), tag, *options]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PATH": f"{path}:/{mark}" if mark else path},
    )


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of so many bytes."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
