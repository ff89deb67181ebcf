"""A container as tight as a pod of the public Binder, and the course in it as ``binder/`` says.

repo2docker itself wants Ubuntu's image from Docker Hub and Conda's packages. Where those cannot be
had, Debian and a plain virtual environment stand in; the files in ``binder/`` are the real ones.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from multistage import bases
from multistage.bases.build import ca_certificates
from multistage.dockerfile import parse
from multistage.engines import Engine
from tests.machine import debian
from tests.notebooks.course import ROOT, copy_course

HOME = "/home/jovyan"
SERVER = "/srv/conda/envs/notebook"  # where repo2docker keeps the notebook server
MEMORY = 2 << 30
UBUNTU = "buildpack-deps:24.04"  # what repo2docker builds on
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_IMAGE = "multistage-tests/binder-base"

# What the tests' Debian has of the same: see debian.py for how it is made.
_PACKAGES = (
    "bash", "binutils", "ca-certificates", "curl", "gcc", "libc6-dev", "make", "passwd",
    "pkg-config", "python3", "python3-venv",
)  # fmt: skip

_DOCKERFILE = """
ARG BASE
FROM $BASE
ARG PACKAGES
COPY ca-certificates.crt binder_base.sh /tmp/
RUN command -v proot || (apt-get -qq update && apt-get -qq install --yes $PACKAGES)
RUN cp /tmp/ca-certificates.crt {certificates} && sh /tmp/binder_base.sh {server}
"""


def apt_packages() -> tuple[str, ...]:
    """Return what ``binder/apt.txt`` names."""
    lines = (ROOT / "binder/apt.txt").read_text("utf-8").splitlines()
    return tuple(name for line in lines if (name := line.partition("#")[0].strip()))


def variables() -> dict[str, str]:
    """Return the variables of an image by repo2docker, and what reaching the network needs here."""
    found = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    for name in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT"):
        if name in os.environ:
            found[name] = os.environ[name]
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
        if name in os.environ:
            found[name] = _CERTIFICATES  # the machine's own list lies there: see _DOCKERFILE
    return {
        **found,
        "HOME": HOME,
        "USER": "jovyan",
        "LANG": "C.UTF-8",
        "REPO_DIR": HOME,
        "NB_PYTHON_PREFIX": SERVER,
        "PATH": f"{HOME}/.local/bin:{SERVER}/bin:/usr/local/bin:/usr/bin:/bin",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def base_image(client: docker.DockerClient, engine: Engine) -> str:
    """Return the image that Binder's has been when ``binder/`` comes in: built if need be."""
    if engine.registry_has(UBUNTU):
        base = UBUNTU
    else:
        base = f"{_IMAGE}:debian"
        _import(client, debian.build(debian.Tree("trixie", (*_PACKAGES, *apt_packages()))), base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = _DOCKERFILE.format(certificates=_CERTIFICATES, server=SERVER)
        (folder / "Dockerfile").write_text(text, "utf-8")
        (folder / "ca-certificates.crt").write_bytes(ca_certificates())
        shutil.copy(Path(__file__).with_name("binder_base.sh"), folder)
        arguments = {"BASE": base, "PACKAGES": " ".join((*_PACKAGES, *apt_packages()))}
        settings = variables()
        for key in ("PIP_CERT", "PIP_INDEX_URL", "HTTPS_PROXY", "https_proxy"):
            if key in settings:
                arguments[key] = settings[key]
        client.images.build(
            path=name, tag=f"{_IMAGE}:latest", buildargs=arguments, network_mode="host", rm=True
        )
    return f"{_IMAGE}:latest"


def _import(client: docker.DockerClient, tree: Path, name: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        subprocess.run(["tar", "-C", str(tree), "-cf", archive.name, "."], check=True)
        repository, _, tag = name.partition(":")
        client.api.import_image_from_file(archive.name, repository=repository, tag=tag)


class Pod:
    """The container: the course is installed in it, and its notebook server runs."""

    def __init__(self, container: Container, port: int) -> None:
        self.container, self.port = container, port
        self.memory = 0  # bytes that no reclaim can take back, at the highest
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        samples: Iterator[Any] = iter(self.container.stats(decode=True))
        for sample in samples:
            self.memory = max(self.memory, _resident(sample))

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command as the learner would in JupyterLab's terminal."""
        done: tuple[Any, Any] = self.container.exec_run(list(command), workdir=HOME)
        return int(done[0]), done[1].decode("utf-8", "replace")

    def read(self, path: str) -> str:
        """Return a file of the container."""
        code, text = self.run("cat", path)
        assert code == 0, text
        return text

    def logs(self) -> str:
        """Return what installing and the server have written."""
        return str(self.container.logs().decode("utf-8", "replace"))


def _resident(sample: Mapping[str, Any]) -> int:
    stats = sample.get("memory_stats", {}).get("stats", {})
    return int(stats.get("anon", stats.get("total_rss", 0)))  # cgroup 2, cgroup 1


@contextmanager
def pod(engine: Engine, folder: Path, port: int, token: str) -> Iterator[Pod]:
    """Run the container; in it, do what repo2docker does with ``binder/``, then what Binder does.

    One container for both, so that nothing is installed with rights that a pod has not.
    """
    client = docker.from_env(timeout=600)
    serve = f"jupyter-lab --ip=127.0.0.1 --port={port} --no-browser --ServerApp.port_retries=0"
    container = client.containers.create(
        base_image(client, engine),
        [
            "bash",
            "-euc",
            "pip install --quiet --no-cache-dir -r binder/requirements.txt\n"
            "chmod +x binder/postBuild binder/start\n"
            "./binder/postBuild\n"
            f"exec ./binder/start {serve} --ServerApp.base_url=/user/learner/",
        ],
        user="1000:1000",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=MEMORY,
        memswap_limit=MEMORY,
        nano_cpus=1_000_000_000,
        network_mode="host",
        working_dir=HOME,
        environment={**variables(), "JUPYTER_TOKEN": token},
    )
    try:
        _copy_in(container, copy_course(folder / "course", solved=True), engine)
        container.start()
        yield Pod(container, port)
    finally:
        container.remove(force=True)
        client.close()


def _copy_in(container: Container, course: Path, engine: Engine) -> None:
    for name in ("start.py", "requirements.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, course / name)
    shutil.copytree(ROOT / "binder", course / "binder")
    # The same archive that Binder takes from the project's own address, by its digest.
    shutil.copyfile(debian.proot_source(), course / "binder/proot.tar.gz")
    _put(container, course, HOME)
    cache = f"{HOME}/.cache/multistage-course/bases"
    for reference in _without_registry(course, engine):
        # Made on this machine, as the container has no Debian mirror of its own.
        archive = bases.stand_in(reference).archive
        _put(container, archive.parent, f"{cache}/{archive.parent.name}", "image.*")


def _without_registry(course: Path, engine: Engine) -> list[str]:
    """Return the base images of labs and solutions that only stand-ins can be had of."""
    folders = ("labs", "solutions", "examples")
    files = [file for folder in folders for file in course.glob(f"{folder}/*/*/Dockerfile")]
    files = [file for file in files if not file.with_name("expected-error.txt").exists()]
    models = [parse(file.read_bytes(), str(file)) for file in files]
    names = {image.name for model in models for image in model.external_images()}
    return [name for name in sorted(names) if not engine.registry_has(name)]


def _put(container: Container, folder: Path, target: str, pattern: str = "*") -> None:
    """Copy a folder's content in, for the container's user."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid, entry.gid, entry.uname, entry.gname = 1000, 1000, "", ""
        return entry

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for parent in reversed(Path(target).relative_to(HOME).parents):
                _add_folder(archive, str(parent))
            _add_folder(archive, str(Path(target).relative_to(HOME)))
            for path in sorted(folder.glob(pattern)):
                name = Path(target).relative_to(HOME) / path.name
                archive.add(path, str(name), filter=owned)
        file.seek(0)
        container.put_archive(HOME, file)


def _add_folder(archive: tarfile.TarFile, name: str) -> None:
    if name == ".":
        return
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
    archive.addfile(entry, io.BytesIO())


def wait_for(answers: Any, pod: Pod, seconds: float) -> float:
    """Wait until the server answers; return how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        pod.container.reload()
        assert pod.container.status == "running", pod.logs()
        if answers():
            return time.monotonic() - began
        time.sleep(0.5)
    raise AssertionError(f"The server does not answer.\n{pod.logs()}")
