"""One meter: the same image measures the same on every engine and image store."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import docker
import pytest

from multistage.builds import build
from multistage.engines.docker import DockerEngine
from multistage.images import ImageArchive, read_archive, read_path
from tests.engines.conftest import BASE, HOSTS

TAG = "multistage/test:meter"
pytestmark = pytest.mark.docker


def measure(host: str | None) -> ImageArchive:
    client = docker.DockerClient(base_url=host) if host else docker.from_env()
    with DockerEngine(client).save(TAG) as stream:
        return read_archive(stream, TAG, from_engine=True)


def test_the_same_image_measures_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = HOSTS or {"own": ""}
    first = next(iter(hosts.values()))
    if first:
        monkeypatch.setenv("DOCKER_HOST", first)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BASE}\nRUN cp -r /usr /copy\nRUN rm -r /copy\nENV A=b\nCOPY . /app\n", "utf-8"
    )
    build(DockerEngine(), tmp_path, tag=TAG)
    archive = tmp_path.parent / f"{tmp_path.name}.tar"
    with archive.open("wb") as out:
        subprocess.run(["docker", "save", TAG], stdout=out, check=True)
    for host in hosts.values():
        client = docker.DockerClient(base_url=host) if host else docker.from_env()
        DockerEngine(client).load(archive)
    measured = {name: measure(host) for name, host in hosts.items()}
    measured["the archive"] = read_path(archive)
    assert len({image.layers for image in measured.values()}) == 1, {
        name: (image.unpacked_size, image.compressed_size) for name, image in measured.items()
    }
    assert next(iter(measured.values())).unpacked_size > 10_000_000


def test_ci_measures_on_three_engines() -> None:
    # On the course's own CI machine nothing may be left out; elsewhere one engine is enough.
    if os.environ.get("MULTISTAGE_TEST_ENGINES"):
        assert set(json.loads(os.environ["MULTISTAGE_TEST_ENGINES"])) >= set(HOSTS)
    if Path("/etc/debian_version").exists() and os.geteuid() == 0:
        assert sorted(HOSTS) == ["engine20", "engine26", "engine26-containerd"]
