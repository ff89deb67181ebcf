"""The size trap on real engines: what Docker calls size depends on its image store."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker
import pytest

from multistage.builds import Build, build
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.docker import DockerEngine
from multistage.errors import MachineError, UsageError
from multistage.lessons import Example
from multistage.sizes import history, layers, sizes
from multistage.units import megabytes
from tests.engines.conftest import BASE

TAG = "multistage/test:sizes"
FILE = 5_000_000
# Random, so that compressed it is as large as before: then all three meanings differ.
DOCKERFILE = f"FROM {BASE}\nRUN head -c {FILE} /dev/urandom > /file\nRUN rm /file\nENV A=b\n"

pytestmark = pytest.mark.docker


@pytest.fixture
def built(engine: DockerEngine, context: Path) -> Build:
    (context / "Dockerfile").write_text(DOCKERFILE, "utf-8")
    return build(engine, context, tag=TAG)


def row(said: object, name: str) -> str:
    return next(line for line in str(said).splitlines() if line.startswith(name))


def near(name: str, said: object) -> str:
    return row(said, name).partition("nearest to ")[2]


def test_docker_means_another_size_by_each_image_store(engine: DockerEngine, built: Build) -> None:
    said = sizes(built)
    if "containerd" in engine.describe():
        assert row(said, "image store") == "image store: containerd store"
        assert near("docker image ls", said) == "unpacked + compressed"
        # Engines from August 2026 on sum both here too: https://github.com/moby/moby/pull/53426
        newer = set() if "Engine 26." in engine.describe() else {"unpacked + compressed"}
        assert near("image inspect .Size", said) in {"compressed", *newer}
    else:
        assert row(said, "image store") == "image store: overlay2"
        assert near("docker image ls", said) == "unpacked"
        assert near("image inspect .Size", said) == "unpacked"


def test_the_meters_rows_are_the_builds_own_figures_on_every_engine(built: Build) -> None:
    said = sizes(built)
    assert row(said, "the meter, unpacked").endswith(f" {megabytes(built.unpacked_size)}")
    assert row(said, "the meter, compressed").endswith(f" {megabytes(built.compressed_size)}")
    assert row(said, "Measured") == f"Measured {built.measured_on}"


def test_the_row_of_image_ls_is_what_the_command_shows(
    client: docker.DockerClient, built: Build
) -> None:
    command = ["docker", "image", "ls", "--format", "{{.Size}}", TAG]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    said = (
        row(sizes(built), "docker image ls").split("  nearest")[0].removeprefix("docker image ls")
    )
    assert said.replace(" ", "") == shown
    inspected = client.images.get(TAG).attrs["Size"]
    assert f" {megabytes(inspected)} " in row(sizes(built), "image inspect .Size")


def test_an_image_is_also_found_by_its_name(engine: DockerEngine, built: Build) -> None:
    by_name, by_build = str(sizes(TAG)).splitlines(), str(sizes(built)).splitlines()
    assert by_name[:-1] == by_build[:-1]
    assert by_name[-1] == f"Measured on {engine.describe()}"


def test_an_image_that_is_not_there_is_named(engine: DockerEngine) -> None:
    with pytest.raises(UsageError, match="no image multistage/test:never-built"):
        sizes("multistage/test:never-built")


def test_an_image_that_was_removed_is_said_to_be_gone(
    client: docker.DockerClient, built: Build
) -> None:
    client.images.remove(built.image_id, force=True)
    for ask in (sizes, history):
        with pytest.raises(MachineError, match="image is gone"):
            ask(built)


def test_a_deleted_file_stays_in_its_layer_and_in_the_history(built: Build) -> None:
    made, removed = str(layers(built)).splitlines()[-2:]
    assert "5 MB  stage 0, line 2" in made
    assert " 0 B  stage 0, line 3     RUN rm /file" in removed
    said = str(history(built)).splitlines()
    assert said[0].split() == ["config", "only", "ENV", "A=b"]
    assert said[1].split() == ["0", "B", "RUN", "rm", "/file"]
    assert said[2].startswith("       5 MB  RUN head -c 5000000")


def test_history_has_the_steps_of_docker_history(built: Build) -> None:
    command = ["docker", "history", "--format", "{{.CreatedBy}}", "--no-trunc", TAG]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(str(history(built)).splitlines()) == len(shown.splitlines())


def test_without_docker_the_meter_and_the_history_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace(BASE, "alpine:latest"), "utf-8")
    built = build(DaemonlessEngine(), tmp_path, tag=TAG)
    said = sizes(built)
    for name in ("docker image ls", "image inspect .Size"):
        assert row(said, name).endswith("—  no Docker here to ask")
    assert row(said, "the meter, unpacked").endswith(f" {megabytes(built.unpacked_size)}")
    assert [line.split("  ")[-1] for line in str(history(built)).splitlines()[:2]] == [
        "ENV A=b",
        "RUN rm /file",
    ]


@pytest.mark.parametrize("engine_name", ["docker", "daemonless"])
def test_only_deleting_in_the_same_layer_or_leaving_it_behind_frees_anything(
    engine_name: str,
) -> None:
    names = ("deleted", "same-layer", "multistage")
    examples = {name: Example(f"verify/{name}", engine_name) for name in names}
    built = {name: example.build() for name, example in examples.items()}
    base = built["deleted"].layers[0].unpacked_size
    more = {name: build.unpacked_size - base for name, build in built.items()}
    assert more["deleted"] >= 20_000_000
    assert 0 < more["same-layer"] == more["multistage"] < 100
    # Those who run it see the same in all three.
    assert len({str(example.run("ls", "/")) for example in examples.values()}) == 1
    assert "archive.bin" not in str(examples["deleted"].run("ls", "/"))
