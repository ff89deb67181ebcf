"""Finds the Docker Engine, and says in one sentence why there is none."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import docker
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.tls import TLSConfig
from requests.exceptions import RequestException

from multistage.engines import EngineState
from multistage.errors import MachineError

# The first release whose progress can be read as JSON:
# https://github.com/docker/buildx/releases/tag/v0.13.0
BUILDX_NEEDED = (0, 13)

_INSTALL = "Install Docker Desktop (https://docs.docker.com/get-docker/) and start it."
_START = (
    "Start it: sudo systemctl start docker"
    if sys.platform.startswith("linux")
    else "Start Docker Desktop and wait until it says that the engine is running."
)
_PERMISSION = "Run: sudo usermod -aG docker $USER, then log out and in again."


def connect(timeout: int = 300) -> docker.DockerClient:
    """Return a client of the engine that the ``docker`` command would talk to.

    ``DOCKER_HOST`` comes first, then ``DOCKER_CONTEXT``, then the current context. ``timeout``
    is in seconds, for one request.

    Raises:
        MachineError: no engine answers; says why and what to do.
    """
    try:
        client = _client(timeout)
        client.ping()
    except Exception as error:
        # Damaged settings make the SDK raise whatever comes: all of it keeps us from an engine.
        reason, mend = explain(error)
        raise MachineError(reason, mend=mend) from error
    return client


@contextmanager
def faults() -> Iterator[None]:
    """Turn what the SDK raises when the engine fails us into a clear error.

    Raises:
        MachineError: the engine went away, or refused.
    """
    try:
        yield
    except (DockerException, RequestException) as error:
        text = getattr(error, "explanation", None) or str(error)
        raise MachineError(
            f"The Docker Engine does not do its part: {text}",
            mend="Look whether it runs (docker info), and try again.",
        ) from error


def _client(timeout: int) -> docker.DockerClient:
    if os.environ.get("DOCKER_HOST"):
        return docker.from_env(timeout=timeout, use_ssh_client=True)
    context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))  # None: the current one
    if context is None:
        raise DockerException("the current Docker context does not exist: docker context ls")
    tls = context.TLSConfig if isinstance(context.TLSConfig, TLSConfig) else False
    return docker.DockerClient(
        base_url=context.Host, tls=tls, timeout=timeout, version="auto", use_ssh_client=True
    )


def explain(error: Exception) -> tuple[str, str]:
    """Return why no engine answers, and the mend."""
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return "Docker runs, but you have no permission to use its socket.", _PERMISSION
    if shutil.which("docker") is None:
        return "Docker is not installed on this machine.", _INSTALL
    if "context does not exist" in text:
        return f"No engine: {text}.", "Choose another: docker context use default"
    where = os.environ.get("DOCKER_HOST")
    if where:
        return (
            f"No Docker Engine answers at {where} (from DOCKER_HOST).",
            "Start that engine, or unset DOCKER_HOST.",
        )
    return "Docker is installed but its engine is not running.", _START


def probe() -> EngineState:
    """Return whether a Docker Engine answers, and which."""
    try:
        client = connect(timeout=10)
    except MachineError as error:
        return EngineState("docker", False, error.what, error.mend)
    try:
        return EngineState("docker", True, describe(client, buildx_version()))
    finally:
        client.close()


def describe(client: docker.DockerClient, buildx: tuple[int, ...] | None) -> str:
    """Return, for example, ``Docker Engine 26.1.5, overlay2, buildx 0.13.1``."""
    information = client.info()
    builder = (
        f"buildx {'.'.join(map(str, buildx or ()))}" if has_buildx(buildx) else "classic builder"
    )
    return f"Docker Engine {information['ServerVersion']}, {image_store(information)}, {builder}"


def is_local(client: docker.DockerClient) -> bool:
    """Return whether the engine runs on this machine, so that its ports are this machine's."""
    # What the SDK makes of a socket, a pipe and ssh: http+docker://localhost, …localnpipe, …ssh
    host = urlsplit(client.api.base_url).hostname
    return host in ("localhost", "localnpipe", "127.0.0.1", "::1")


def image_store(information: dict[str, object]) -> str:
    """Return ``containerd store`` or the name of the storage driver, from ``docker info``."""
    # With the containerd store DriverStatus says so:
    # https://docs.docker.com/engine/storage/containerd/
    if "io.containerd.snapshotter" in json.dumps(information.get("DriverStatus")):
        return "containerd store"
    return str(information.get("Driver"))


def buildx_version() -> tuple[int, ...] | None:
    """Return the version of ``docker buildx``, ``None`` where there is none."""
    try:
        found = subprocess.run(
            ["docker", "buildx", "version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", found.stdout)
    return tuple(int(part) for part in match.groups()) if found.returncode == 0 and match else None


def has_buildx(version: tuple[int, ...] | None) -> bool:
    """Return whether this buildx can tell its progress as JSON."""
    return version is not None and version[:2] >= BUILDX_NEEDED
