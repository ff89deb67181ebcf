"""The engine without a daemon builds the images that Docker Engine 26 with buildx builds.

Both build the Dockerfiles of tests/engines/same/, one for each feature, and those of the labs;
then their archives are read by a reader of the tests' own and compared: every file with kind,
mode, owner, content, link target, hard links and extended attributes, the config, the history.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import gzip
import http.server
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest, Engine, RunningContainer
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.docker import DockerEngine
from multistage.errors import LearnerError, MachineError
from multistage.images import ImageArchive, is_made_by
from multistage.labs import ROOT
from tests.engines.conftest import HOSTS
from tests.engines.same import cases
from tests.engines.same.flat import PAST, Image, read_image
from tests.machine import debian

pytestmark = pytest.mark.docker

_BLOCK = 1 << 20
DOCKERFILES = sorted(
    file
    for pattern in ("labs/*/app", "labs/*/before", "solutions/*/*")
    for file in ROOT.glob(f"{pattern}/Dockerfile")
)


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
        for place, folders, files in os.walk(folder, topdown=False):
            for file in (*folders, *files):
                os.utime(f"{place}/{file}", (PAST, PAST), follow_symlinks=False)
        os.utime(folder, (PAST, PAST))
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
        # Docker's cache counts files by content: it would bring those of another time.
        no_cache=engine.name == "docker",
    )
    identifier = engine.build(request)
    archive = save(engine, identifier, tmp_path / f"{engine.name}.tar")
    image = read_image(archive)
    archive.unlink()
    return image


def differences(ours: Image, dockers: Image, *, owners: bool = True) -> list[str]:
    """Return what two images differ in, one line each."""
    found = []
    for path in sorted({*ours.files, *dockers.files}):
        mine, theirs = ours.files.get(path), dockers.files.get(path)
        if mine is None or theirs is None:
            found.append(f"{path!r}: {'only Docker' if mine is None else 'only we'} have it")
            continue
        left, right = mine.shown(owner=owners), theirs.shown(owner=owners)
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


# What a registry, or another release of BuildKit, would be needed for stands below alone/.
@pytest.mark.parametrize("name", cases.NAMES)
def test_the_image_is_the_one_that_docker_builds(
    name: str, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    theirs = built(docker_engine, name, tmp_path)
    ours = built(engines["root"], name, tmp_path)
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
    assert sum(ours.layer_sizes) == pytest.approx(sum(theirs.layer_sizes), rel=0.005)
    model = parse((tmp_path / "context" / "Dockerfile").read_bytes())
    target = cases.OPTIONS.get(name, cases.Options()).target
    for image in (ours, theirs):
        assert is_made_by(ImageArchive(image.document, ()), model, target)


@pytest.mark.parametrize("name", cases.CONFIG_ALONE)
def test_an_image_of_a_config_alone_is_the_one_that_docker_builds(
    name: str, engines: dict[str, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "empty export - not implemented": the overlay2 store cannot save an image without layers.
    monkeypatch.setenv("DOCKER_HOST", HOSTS["engine26-containerd"])
    theirs = built(DockerEngine(), name, tmp_path)
    ours = built(engines["root"], name, tmp_path)
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
    assert not ours.files


def test_add_fetches_what_docker_fetches(
    docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    with served(tmp_path / "served") as address:
        arguments = {"build_args": {"ADDRESS": address}}
        theirs = built(docker_engine, "address", tmp_path, **arguments)
        ours = built(engines["root"], "address", tmp_path, **arguments)
    found = differences(ours, theirs)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", cases.FAILING)
def test_what_docker_refuses_is_refused(
    text: str, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    request = short(text, tmp_path)
    for engine in (docker_engine, engines["root"]):
        with pytest.raises(LearnerError):
            engine.build(request)


@pytest.mark.parametrize("text", cases.STRICTER)
def test_what_docker_gets_wrong_without_a_word_is_refused(
    text: str, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    request = short(text, tmp_path)
    docker_engine.build(request)
    with pytest.raises(LearnerError):
        engines["root"].build(request)


@pytest.mark.parametrize("text", cases.LENIENT)
def test_what_docker_lets_pass_gives_the_same_image(
    text: str, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    request, images = short(text, tmp_path), []
    for engine in (engines["root"], docker_engine):
        images.append(read_image(save(engine, engine.build(request), tmp_path / engine.name)))
    found = differences(*images)
    assert not found, "\n".join(found)


def short(text: str, folder: Path) -> BuildRequest:
    """Return how to build a Dockerfile of a few lines over a small context."""
    context = folder / "context"
    (context / "folder" / "taken").mkdir(parents=True)
    (context / "one").write_text("one\n", "utf-8")
    (context / "two").write_text("two\n", "utf-8")
    (context / "Dockerfile").write_text(f"FROM {cases.BASE}\n{text}\n", "utf-8")
    return BuildRequest(context, context / "Dockerfile", "multistage/same:short")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve files on the loopback interface, which Engine 26 of the tests shares."""
    folder.mkdir()
    (folder / "file.txt").write_bytes(cases.SERVED)
    (folder / "archive.tar.gz").write_bytes(gzip.compress(cases.made_archive()))
    os.utime(folder / "file.txt", (1_000_000_000, 1_000_000_000))
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("name", [*cases.NAMES, *cases.CONFIG_ALONE])
@pytest.mark.parametrize("kind", sorted(cases.REFUSED))
def test_every_sandbox_builds_the_same_image(
    name: str, kind: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    """Hold them to namespaces made by root; without root's rights all but the owners."""
    if name in cases.REFUSED[kind]:
        with pytest.raises((LearnerError, MachineError)):
            built(engines[kind], name, tmp_path)
        return
    want = built(engines["root"], name, tmp_path)
    ours = built(engines[kind], name, tmp_path)
    allowed = tuple(f"{path!r}: " for path in cases.DIFFERING[kind].get(name, ()))
    found = differences(ours, want, owners=kind == "chroot")
    found = [line for line in found if not line.startswith(allowed or ("\0",))]
    assert not found, "\n".join(found)


def test_parents_keeps_the_folders_of_a_source(engines: dict[str, Engine], tmp_path: Path) -> None:
    # The built-in frontend of Engine 26 knows neither --parents nor --exclude.
    files = built(engines["root"], "alone/copy-parents", tmp_path).files
    assert {path for path in files if files[path].kind == "file"} >= {
        "flat/one",
        "flat/sub/two",
        "folder/sub/two",
        "pivot/below/three",
        "stars/deep/below/three",
    }
    assert {path for path in files if path.startswith(("flat/", "pivot/"))} == {
        "flat/one", "flat/sub", "flat/sub/two", "pivot/below", "pivot/below/three",
    }  # fmt: skip


def test_exclude_leaves_out_what_it_names(engines: dict[str, Engine], tmp_path: Path) -> None:
    files = built(engines["root"], "alone/copy-exclude", tmp_path).files
    assert {path for path in files if path.startswith(("all/", "sub/"))} == {
        "all/Dockerfile", "all/one.txt", "all/sub", "all/sub/kept", "all/sub/deep",
        "all/sub/deep/two.md", "all/sub/deep/two.txt",
        "sub/gone", "sub/kept", "sub/deep", "sub/deep/two.md",
    }  # fmt: skip


def test_add_unpacks_xz_too(engines: dict[str, Engine], tmp_path: Path) -> None:
    # Docker calls the program xz for that, which its minimal Debian tree of the tests has not.
    files = built(engines["root"], "alone/add-xz", tmp_path).files
    unpacked = {
        name: {
            path.removeprefix(f"{name}/"): file.shown()
            for path, file in files.items()
            if path.startswith(f"{name}/") and file.linked == frozenset()
        }
        for name in ("xz", "gzip")
    }
    assert len(unpacked["xz"]) > 5
    assert unpacked["xz"] == unpacked["gzip"]


def test_a_script_may_be_indented(engines: dict[str, Engine], tmp_path: Path) -> None:
    # Engine 26 looks for #! before it takes the tabs off; later releases of BuildKit after.
    files = built(engines["root"], "alone/run-heredoc-tabs-shebang", tmp_path).files
    assert files["awk"].content == repr(b"awk\n")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda p: "/".join(p.parts[-4:-1]))
def test_the_image_of_a_lab_is_the_one_that_docker_builds(
    dockerfile: Path, docker_engine: DockerEngine, engines: dict[str, Engine], tmp_path: Path
) -> None:
    images = []
    for engine in (engines["root"], docker_engine):
        archive = save(engine, built_lab(engine, dockerfile), tmp_path / "image.tar")
        images.append(read_image(archive))
        archive.unlink()
    ours, theirs = (without_volatile(image) for image in images)
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
    assert sum(ours.layer_sizes) == pytest.approx(sum(theirs.layer_sizes), rel=0.005)


def built_lab(engine: Engine, dockerfile: Path) -> str:
    """Build a lab's Dockerfile over the lab's app."""
    context = ROOT / "labs" / lab_of(dockerfile) / "app"
    prepare_bases(engine, parse(dockerfile.read_bytes()), None, lambda _line: None)
    tag = f"multistage/same-{lab_of(dockerfile)}:{dockerfile.parent.name}"
    return engine.build(BuildRequest(context, dockerfile, tag))


def lab_of(dockerfile: Path) -> str:
    return dockerfile.parents[1].name


def without_volatile(image: Image) -> Image:
    """Return an image without the files that no two builds have alike."""
    files = {
        path: file
        for path, file in image.files.items()
        if not any(fnmatch.fnmatch(path, pattern) for pattern in cases.VOLATILE)
    }
    return dataclasses.replace(image, files=files)


@pytest.mark.parametrize("name", ["odd-names", "opaque", "replace-types", "copy-from-scratch"])
def test_other_tools_read_the_archive(
    name: str, engines: dict[str, Engine], docker_engine: DockerEngine, tmp_path: Path
) -> None:
    image = built(engines["root"], name, tmp_path)
    archive = exported(engines["root"], f"multistage/same:{name}", tmp_path)
    check_with_skopeo(archive)
    check_with_umoci(archive, name, image, tmp_path)
    docker_engine.load(archive)
    command = {"copy-from-scratch": ["/app/bin/busybox", "echo", "runs"]}
    ran = docker_engine.run_command(
        f"multistage/same:{name}", command.get(name, ["/bin/sh", "-c", "echo runs"])
    )
    assert (ran.exit_code, ran.output) == (0, "runs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dockerfile", "port"),
    [
        (ROOT / "solutions/go-scratch/scratch/Dockerfile", 8080),
        (ROOT / "solutions/react-nginx/nginx/Dockerfile", 80),
    ],
    ids=["go-scratch", "react-nginx"],
)
def test_docker_runs_a_solution_that_was_built_without_it(
    dockerfile: Path,
    port: int,
    engines: dict[str, Engine],
    docker_engine: DockerEngine,
    tmp_path: Path,
) -> None:
    identifier = built_lab(engines["root"], dockerfile)
    image = read_image(save(engines["root"], identifier, tmp_path / "image.tar"))
    tag = f"multistage/same-{lab_of(dockerfile)}:{dockerfile.parent.name}"
    archive = exported(engines["root"], tag, tmp_path)
    check_with_skopeo(archive)
    check_with_umoci(archive, dockerfile.parent.name, image, tmp_path)
    docker_engine.load(archive)
    with docker_engine.run(tag, port) as running:
        assert answer(running) == 200, running.logs()


def answer(running: RunningContainer) -> int:
    """Return the status of the server's answer to its first page."""
    deadline = time.monotonic() + 20
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(running.address, timeout=5) as response:
                return int(response.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def exported(engine: Engine, tag: str, tmp_path: Path) -> Path:
    file = tmp_path / "exported.tar"
    engine.export(tag, file)
    return file


def check_with_skopeo(archive: Path) -> None:
    debian.install("skopeo")
    for kind in ("oci-archive", "docker-archive"):
        done = run(["skopeo", "inspect", f"{kind}:{archive}"])
        assert json.loads(done)["Architecture"]


def check_with_umoci(archive: Path, tag: str, image: Image, tmp_path: Path) -> None:
    """Hold the files that umoci unpacks to those that the tests' own reader sees."""
    debian.install("umoci")
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    with tarfile.open(archive) as tar:
        tar.extractall(layout, filter="data")
    run(["umoci", "unpack", "--image", f"{layout}:{tag}", str(bundle)])
    root = bundle / "rootfs"
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            place = Path(folder, name)
            status = place.lstat()
            mode = 0 if place.is_symlink() else stat.S_IMODE(status.st_mode)
            found[str(place.relative_to(root))] = (mode, status.st_uid, status.st_gid)
    assert found == {path: (file.mode, *file.owner) for path, file in image.files.items()}


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
