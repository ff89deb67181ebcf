"""The engines that tests run on: all that ``start.py test`` started, else the machine's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from multistage.builds import prepare_bases
from multistage.dockerfile import parse
from multistage.engines.docker import DockerEngine

HOSTS: dict[str, str] = json.loads(os.environ.get("MULTISTAGE_TEST_ENGINES") or "{}")

# Its base has a shell, and is small whether it is the published one or a stand-in.
BASE = "nginx:alpine"


@pytest.fixture(params=sorted(HOSTS) or ["the machine's own"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """Return each engine in turn, with the base image of the tests on it."""
    if request.param in HOSTS:
        monkeypatch.setenv("DOCKER_HOST", HOSTS[request.param])
    engine = DockerEngine()
    prepare_bases(engine, parse(f"FROM {BASE}"), None, lambda _line: None)
    return engine


@pytest.fixture
def client(engine: DockerEngine) -> Iterator[docker.DockerClient]:
    """Return the SDK's client for the same engine, to look behind the course's back."""
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a folder for a Dockerfile and what it copies."""
    folder = tmp_path / "context"
    folder.mkdir()
    return folder
