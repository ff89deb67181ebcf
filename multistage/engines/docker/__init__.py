"""The Docker Engine: BuildKit builds, the Docker SDK does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException

from multistage.engines import BuildRequest, Finished, RunningContainer
from multistage.engines.docker import buildx, classic, connection, containers
from multistage.engines.events import Report, ignore
from multistage.errors import MachineError, UsageError
from multistage.images.streams import Readable

_BAD_REQUEST = 400
_TOO_MANY = 429


class DockerEngine:
    """Builds and runs on a Docker Engine; see :class:`multistage.engines.Engine`.

    Raises:
        MachineError: no Docker Engine answers.
    """

    name = "docker"

    def __init__(self, client: docker.DockerClient | None = None) -> None:
        self._client = client or connection.connect()
        self._buildx_version = connection.buildx_version()
        self._buildx = connection.has_buildx(self._buildx_version)

    @property
    def notice(self) -> str:
        """One sentence on what this machine's Docker lacks, empty when it lacks nothing."""
        return "" if self._buildx else classic.COST

    def describe(self) -> str:
        """Return, for example, ``Docker Engine 26.1.5, overlay2, buildx 0.13.1``."""
        with connection.faults():
            return connection.describe(self._client, self._buildx_version)

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        """Build an image and return its ID."""
        with connection.faults():
            if not self._buildx:
                classic.build(self._client, request, report)
                return str(self._client.images.get(request.tag).id)
            # Another build may take the name over at any moment: the ID is this build's own.
            digests = buildx.build(request, report)
            for digest in digests:
                with suppress(ImageNotFound):
                    return str(self._client.images.get(digest).id)
            return digests[0]  # gone with its name already, from the containerd store

    @contextmanager
    def save(self, image: str) -> Iterator[Readable]:
        """Open the stream that ``docker save`` would write."""
        # The SDK's get_image() hands out small pieces; the meter wants to choose its own.
        api: Any = self._client.api
        with connection.faults():
            response = api._get(api._url("/images/{0}/get", image), stream=True)
            try:
                api._raise_for_status(response)
                yield response.raw
            except NotFound as error:
                # The containerd store drops an image when another takes its name.
                raise MachineError(
                    f"The image is gone: {image}.", mend="Build it again."
                ) from error
            finally:
                response.close()

    def export(self, image: str, file: Path) -> None:
        """Write what ``docker save`` writes."""
        part = file.with_name(f".{file.name}.part")
        try:
            with self.save(image) as stream, part.open("wb") as out:
                while block := stream.read(1 << 20):
                    out.write(block)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def labels(self, image: str) -> dict[str, str] | None:
        """Return the labels of an image on this engine, ``None`` where there is none such."""
        with connection.faults():
            try:
                return dict(self._client.images.get(image).labels)
            except ImageNotFound:
                return None
            except APIError as error:
                if error.status_code != _BAD_REQUEST:
                    raise
                raise UsageError(
                    f"{image} cannot be the name of an image.",
                    mend="Names are in lower case, without blanks: registry/name:tag",
                ) from error

    def registry_has(self, reference: str) -> bool | None:
        """Let the engine ask the registry, with its own credentials and mirrors."""
        try:
            api: Any = self._client.api
            api.inspect_distribution(reference)
        except NotFound:
            return False
        except APIError as error:
            if error.status_code == _TOO_MANY or "toomanyrequests" in str(error.explanation):
                raise MachineError(
                    f"The registry hands out no more for now, when asked for {reference}.",
                    mend="Run docker login, which raises the limit, or wait.",
                ) from error
            # A private or missing repository of Docker Hub answers 401 and "denied".
            denied = error.status_code in (401, 403) or "denied" in str(error.explanation)
            return False if denied else None
        except (RequestException, DockerException):  # also: credentials that cannot be read
            return None
        return True

    def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""
        with connection.faults():
            self._client.images.pull(reference)

    def load(self, archive: Path) -> None:
        """Take the images of an archive in."""
        with connection.faults(), archive.open("rb") as stream:
            self._client.images.load(stream)

    @contextmanager
    def run(
        self, image: str, port: int, environment: Mapping[str, str] | None = None
    ) -> Iterator[RunningContainer]:
        """Run an image for a check; always removed after."""
        with (
            connection.faults(),
            containers.run(self._client, image, port, environment) as container,
        ):
            yield container

    def run_command(self, image: str, command: list[str], seconds: float = 60) -> Finished:
        """Run ``command`` in place of the image's own."""
        with connection.faults():
            return containers.run_command(self._client, image, command, seconds)
