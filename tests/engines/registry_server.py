"""A real registry, Debian's docker-registry, images made for it, and a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import requests

from tests.machine import debian

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
USER, PASSWORD = "learner", "secret"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


@dataclass(frozen=True)
class Image:
    """An image as it is pushed."""

    manifest: bytes
    media_type: str
    config: bytes
    layer: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def make_image(layer: bytes, *, docker: bool = False, architecture: str = "amd64") -> Image:
    config = json.dumps({"os": "linux", "architecture": architecture}).encode()
    kind = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
    config_type = f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
    layer_type = f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip"
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(config, config_type),
        "layers": [descriptor(layer, layer_type)],
    }
    return Image(json.dumps(document).encode(), kind, config, layer)


def make_index(images: dict[str, Image], *, docker: bool = False) -> tuple[bytes, str]:
    """Return an index of images by platform, and its media type."""
    kind = f"{DOCKER}.distribution.manifest.list.v2+json" if docker else f"{OCI}.index.v1+json"
    entries = []
    for platform, image in images.items():
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append(descriptor(image.manifest, image.media_type, platform=names))
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    return json.dumps(document).encode(), kind


class RegistryServer:
    """Debian's docker-registry on a free loopback port, until ``close``."""

    def __init__(self, folder: Path, *, password: bool = False) -> None:
        debian.install("docker-registry", "apache2-utils")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
            "http": {"addr": self.host},
        }
        if password:
            users = folder / "htpasswd"
            line = subprocess.check_output(["htpasswd", "-nbB", USER, PASSWORD])
            users.write_bytes(line.strip() + b"\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
        file = folder / "config.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        self.url = f"http://{self.host}"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (USER, PASSWORD) if password else None
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(file)], stdout=log, stderr=log
            )
        self._wait(folder / "log")

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._session.get(f"{self.url}/v2/", timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.05)
        self.close()
        raise AssertionError(f"docker-registry does not start: {log.read_text()}")

    def push(self, name: str, tag: str, image: Image) -> None:
        for blob in (image.config, image.layer):
            started = self._session.post(f"{self.url}/v2/{name}/blobs/uploads/", timeout=10)
            assert started.ok, started.text
            self._put(started.headers["Location"], blob, params={"digest": digest_of(blob)})
        self.push_manifest(name, tag, image.manifest, image.media_type)

    def push_manifest(self, name: str, tag: str, data: bytes, media_type: str) -> None:
        url = f"{self.url}/v2/{name}/manifests/{tag}"
        self._put(url, data, headers={"Content-Type": media_type})

    def _put(self, url: str, data: bytes, **more: Any) -> None:
        answer = self._session.put(url, data=data, timeout=10, **more)
        assert answer.ok, answer.text

    def close(self) -> None:
        self._session.close()
        self._process.terminate()
        self._process.wait(10)


class Handler(BaseHTTPRequestHandler):
    """One request to a ``Front``."""

    protocol_version = "HTTP/1.1"
    front: Front

    def do_GET(self) -> None:
        self.front.asked.append(Asked(self.command, self.path, dict(self.headers)))
        for rule in self.front.rules:
            if rule.part in self.path and rule.times > 0:
                rule.times -= 1
                rule.answer(self)
                return
        self.forward()

    do_HEAD = do_GET

    def forward(self, *, but_range: bool = False) -> None:
        """Answer what the registry behind answers."""
        wanted = ("Accept", "Authorization") + (() if but_range else ("Range",))
        headers = {name: self.headers[name] for name in wanted if name in self.headers}
        answer = self.front.session.request(
            self.command, self.front.behind + self.path, headers=headers, timeout=10
        )
        kept = ("Content-Type", "Docker-Content-Digest", "Content-Range", "Www-Authenticate")
        more = {name: answer.headers[name] for name in kept if name in answer.headers}
        if self.command == "HEAD":
            self.say(answer.status_code, headers=more, length=0)
        else:
            self.say(answer.status_code, answer.content, more)

    def say(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Answer; closes the connection where ``length`` lies about the body."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = self.command != "HEAD" and length not in (None, len(body))

    def send_error(self, *arguments: Any) -> None:
        """Answer with a status line also who speaks TLS: Docker then tries it without."""
        self.request_version = self.protocol_version
        super().send_error(*arguments)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Handler], None]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Rule:
    part: str
    answer: Answer
    times: int


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are what the tests are about."""


@dataclass
class Front:
    """A server in front of a registry, which answers as its rules say, else as the registry."""

    behind: str = ""
    rules: list[Rule] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.released = Event()
        self.session = requests.Session()
        self.session.trust_env = False
        handler = type("FrontHandler", (Handler,), {"front": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def rule(self, part: str, answer: Answer, times: int = 1_000) -> None:
        """Answer so for paths with ``part`` in them, so many times."""
        self.rules.append(Rule(part, answer, times))

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.session.close()
