"""The registry client, against Debian's docker-registry and a server that misbehaves."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import random
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multistage.engines.daemonless import registry as registry_module
from multistage.engines.daemonless.registry import Descriptor, Manifest, Registry
from multistage.engines.daemonless.registry.client import Reference
from multistage.errors import MachineError, UsageError
from tests.engines.registry_server import (
    DOCKER,
    OCI,
    PASSWORD,
    USER,
    Answer,
    Front,
    Handler,
    RegistryServer,
    descriptor,
    digest_of,
    make_image,
    make_index,
)
from tests.machine import debian

LAYER = random.Random(1).randbytes(500_000)
AMD, ARM = make_image(LAYER), make_image(b"layer for arm", architecture="arm64")
HALF = 300_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.push("plain", "1", AMD)
    server.push("multi", "arm", ARM)
    server.push("multi", "amd", AMD)
    for docker, name in ((False, "oci"), (True, "list")):
        images = {"linux/amd64": AMD, "linux/arm64/v8": ARM}
        if docker:
            images = {
                "linux/amd64": make_image(LAYER, docker=True),
                "linux/arm/v7": make_image(b"v7", docker=True, architecture="arm"),
            }
            for image in images.values():
                server.push("multi", "any", image)
        server.push_manifest("multi", name, *make_index(images, docker=docker))
    yield server
    server.close()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("private"), password=True)
    server.push("plain", "1", AMD)
    yield server
    server.close()


@pytest.fixture
def front(server: RegistryServer) -> Iterator[Front]:
    front = Front(server.url)
    yield front
    front.close()


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def registry(waits: list[float]) -> Iterator[Registry]:
    registry = Registry(tries=3, sleep=waits.append, timeouts=(2, 0.4))
    yield registry
    registry.close()


class Download:
    """One blob's way to the disk."""

    def __init__(self, registry: Registry, host: str, folder: Path, data: bytes = LAYER) -> None:
        self.registry, self.file = registry, folder / "layer"
        self.part = folder / "layer.part"
        blob = Descriptor(f"{OCI}.layer.v1.tar+gzip", digest_of(data), len(data))
        self.manifest = Manifest(f"{host}/plain:1", AMD.digest, AMD.media_type, blob, (blob,), b"")
        self.seen: list[int] = []

    def run(self) -> None:
        self.registry.fetch_blob(self.manifest, self.manifest.config, self.file, self.seen.append)

    def fails(self, match: str) -> MachineError:
        with pytest.raises(MachineError, match=match) as caught:
            self.run()
        assert not self.file.exists()
        return caught.value


@pytest.fixture
def download(registry: Registry, front: Front, tmp_path: Path) -> Download:
    return Download(registry, front.host, tmp_path)


def status(code: int, headers: dict[str, str] | None = None) -> Answer:
    return lambda handler: handler.say(code, b"{}", headers)


def document(data: bytes, media_type: str) -> Answer:
    return lambda handler: handler.say(200, data, {"Content-Type": media_type})


def cut(data: bytes) -> Answer:
    return lambda handler: handler.say(200, data, length=len(LAYER))


def redirect(url: str) -> Answer:
    return lambda handler: handler.say(307, headers={"Location": url + handler.path})


def hang(handler: Handler) -> None:
    handler.front.released.wait(5)


def log_in(config: Path, host: str, user: str = USER, password: str = PASSWORD) -> None:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    config.write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def manifest_with(**changes: Any) -> bytes:
    return json.dumps({**json.loads(AMD.manifest), **changes}).encode()


# References


@pytest.mark.parametrize(
    ("text", "name", "address", "loopback"),
    [
        ("alpine", "docker.io/library/alpine:latest", "registry-1.docker.io", False),
        ("me/x:1", "docker.io/me/x:1", "registry-1.docker.io", False),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000", True),
        ("localhost/x", "localhost/x:latest", "localhost:80", True),
        ("127.8.9.1/x", "127.8.9.1/x:latest", "127.8.9.1", True),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000", True),
        ("host.tld/a.b/x", "host.tld/a.b/x:latest", "host.tld", False),
        ("10.0.0.1:5000/x", "10.0.0.1:5000/x:latest", "10.0.0.1:5000", False),
        (f"x@{AMD.digest}", f"docker.io/library/x@{AMD.digest}", "registry-1.docker.io", False),
        (f"x:t@{AMD.digest}", f"docker.io/library/x:t@{AMD.digest}", "registry-1.docker.io", False),
    ],
)
def test_references_are_read_as_docker_reads_them(
    text: str, name: str, address: str, loopback: bool
) -> None:
    reference = Reference.parse(text)
    assert (reference.name, reference.address) == (name, address)
    assert reference.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    ["", "Alpine", "a b", "x/../y", "h.tld/x?y", "http://h.tld/x", "x@sha256:12", "[:::]/x", "x:é"],
)
def test_what_cannot_be_a_name_is_not_asked_for(text: str, registry: Registry) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        registry.has(text)


# Manifests


def test_a_tag_and_a_digest_lead_to_the_manifest(
    registry: Registry, server: RegistryServer
) -> None:
    by_tag = registry.resolve(f"{server.host}/plain:1", "linux/amd64")
    by_digest = registry.resolve(f"{server.host}/plain@{AMD.digest}", "linux/amd64")
    by_both = registry.resolve(f"{server.host}/plain:gone@{AMD.digest}", "linux/amd64")
    assert by_tag.data == by_digest.data == by_both.data == AMD.manifest
    assert by_tag.digest == AMD.digest
    assert by_tag.reference == f"{server.host}/plain:1"
    assert by_tag.config.digest == digest_of(AMD.config)
    assert [(layer.digest, layer.size) for layer in by_tag.layers] == [
        (digest_of(LAYER), len(LAYER))
    ]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm64/v8", "linux/aarch64"])
def test_an_index_leads_to_the_manifest_for_the_platform(
    platform: str, registry: Registry, server: RegistryServer
) -> None:
    assert registry.resolve(f"{server.host}/multi:oci", platform).data == ARM.manifest
    assert registry.resolve(f"{server.host}/multi:oci", "linux/amd64").data == AMD.manifest


def test_a_docker_manifest_list_is_an_index_too(registry: Registry, server: RegistryServer) -> None:
    manifest = registry.resolve(f"{server.host}/multi:list", "linux/arm")
    assert manifest.layers[0].digest == digest_of(b"v7")
    assert manifest.media_type == f"{DOCKER}.distribution.manifest.v2+json"


def test_a_platform_that_is_missing_is_told_with_those_that_are_there(
    registry: Registry, server: RegistryServer
) -> None:
    with pytest.raises(MachineError, match="not there for linux/s390x, only for linux/amd64, li"):
        registry.resolve(f"{server.host}/multi:oci", "linux/s390x")


def test_a_manifest_must_have_the_digest_that_was_asked_for(
    registry: Registry, front: Front
) -> None:
    front.rule("/manifests/sha256", document(ARM.manifest, ARM.media_type))
    for name in (f"plain@{AMD.digest}", "multi:oci"):
        with pytest.raises(MachineError, match=f"{ARM.digest}, not {AMD.digest}"):
            registry.resolve(f"{front.host}/{name}", "linux/amd64")


def test_a_manifest_by_tag_must_have_the_digest_the_registry_tells(
    registry: Registry, front: Front
) -> None:
    told = {"Docker-Content-Digest": ARM.digest, "Content-Type": AMD.media_type}
    front.rule("/manifests/", lambda handler: handler.say(200, AMD.manifest, told))
    with pytest.raises(MachineError, match="has the digest"):
        registry.resolve(f"{front.host}/plain:1", "linux/amd64")


FOREIGN = f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip"
HIDDEN = f"{OCI}.layer.nondistributable.v1.tar+gzip"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (manifest_with(layers=[descriptor(b"x", FOREIGN)]), "foreign"),
        (manifest_with(layers=[descriptor(b"x", HIDDEN)]), "foreign"),
        (manifest_with(layers=[descriptor(b"x", "text/plain")]), "no layer we can read"),
        (manifest_with(config=descriptor(b"x", "application/vnd.cncf.helm.config")), "something"),
        (manifest_with(config=None), "without type, digest or size"),
        (manifest_with(config={**descriptor(b"", f"{OCI}.config.v1+json"), "size": -1}), "size"),
        (manifest_with(config={**descriptor(b"", f"{OCI}.config.v1+json"), "size": True}), "size"),
        (
            manifest_with(config={**descriptor(b"", f"{OCI}.config.v1+json"), "size": 5 << 20}),
            "its config is larger",
        ),
        (
            manifest_with(layers=[{**descriptor(b"", f"{OCI}.layer.v1.tar"), "digest": "md5:1"}]),
            "digest",
        ),
        (manifest_with(layers={}), "no list of layers"),
        (manifest_with(manifests=[]), "two things"),
        (manifest_with(mediaType=f"{OCI}.index.v1+json"), "two things"),
        (manifest_with(mediaType="application/json"), "no image"),
        (b"[]", "no JSON object"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b" " * ((4 << 20) + 1), "larger than"),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(
    data: bytes, told: str, registry: Registry, front: Front
) -> None:
    front.rule("/manifests/", document(data, f"{OCI}.manifest.v1+json"))
    with pytest.raises(MachineError, match=told):
        registry.resolve(f"{front.host}/plain:1", "linux/amd64")


def test_a_manifest_that_is_cut_short_is_asked_for_again(registry: Registry, front: Front) -> None:
    def half(handler: Handler) -> None:
        handler.say(200, AMD.manifest[:100], {"Content-Type": AMD.media_type}, len(AMD.manifest))

    front.rule("/manifests/", half, times=2)
    assert registry.resolve(f"{front.host}/plain:1", "linux/amd64").data == AMD.manifest
    assert len(front.asked) == 3


# Whether an image is there


def test_has_tells_what_is_there(registry: Registry, server: RegistryServer) -> None:
    assert registry.has(f"{server.host}/plain:1") is True
    assert registry.has(f"{server.host}/multi:oci") is True
    assert registry.has(f"{server.host}/plain@{AMD.digest}") is True
    assert registry.has(f"{server.host}/plain:2") is False
    assert registry.has(f"{server.host}/nothing") is False


def test_has_takes_denied_for_missing(registry: Registry, private: RegistryServer) -> None:
    assert registry.has(f"{private.host}/plain:1") is False


@pytest.mark.parametrize("code", [500, 503, 418])
def test_has_does_not_know_when_the_registry_fails(
    code: int, registry: Registry, front: Front, waits: list[float]
) -> None:
    front.rule("/v2/", status(code))
    assert registry.has(f"{front.host}/plain:1") is None
    assert waits == []


def test_has_does_not_know_when_nobody_answers(registry: Registry, front: Front) -> None:
    front.rule("/v2/", hang)
    assert registry.has(f"{front.host}/plain:1") is None
    assert registry.has("127.0.0.1:1/plain:1") is None


def test_has_tells_of_the_pull_limit(registry: Registry, front: Front) -> None:
    front.rule("/v2/", status(429))
    with pytest.raises(MachineError, match="hands out no more"):
        registry.has(f"{front.host}/plain:1")


# Blobs


def test_a_blob_comes_whole(download: Download) -> None:
    download.run()
    assert download.file.read_bytes() == LAYER
    assert not download.part.exists()
    assert download.seen[0] == 0
    assert download.seen[-1] == len(LAYER)
    assert download.seen == sorted(download.seen)


def test_a_blob_that_is_cut_goes_on_where_it_stopped(
    download: Download, front: Front, waits: list[float]
) -> None:
    front.rule("/blobs/", cut(LAYER[:HALF]), times=1)
    download.run()
    assert download.file.read_bytes() == LAYER
    assert front.asked[-1].headers["Range"] == f"bytes={HALF}-"
    assert len(waits) == 1


def test_a_partial_file_from_before_is_continued(download: Download, front: Front) -> None:
    download.part.write_bytes(LAYER[:HALF])
    download.run()
    assert download.file.read_bytes() == LAYER
    assert [asked.headers["Range"] for asked in front.asked] == [f"bytes={HALF}-"]
    assert download.seen[0] == HALF


def test_a_partial_file_that_is_whole_needs_no_registry(download: Download, front: Front) -> None:
    download.part.write_bytes(LAYER)
    download.run()
    assert download.file.read_bytes() == LAYER
    assert front.asked == []


def test_a_partial_file_that_is_too_long_is_started_anew(download: Download) -> None:
    download.part.write_bytes(LAYER + b"x")
    download.run()
    assert download.file.read_bytes() == LAYER


def test_an_empty_blob_needs_no_registry(registry: Registry, front: Front, tmp_path: Path) -> None:
    Download(registry, front.host, tmp_path, b"").run()
    assert (tmp_path / "layer").read_bytes() == b""
    assert front.asked == []


def test_a_server_without_ranges_starts_anew(download: Download, front: Front) -> None:
    download.part.write_bytes(LAYER[:HALF])
    front.rule("/blobs/", lambda handler: handler.forward(but_range=True))
    download.run()
    assert download.file.read_bytes() == LAYER
    assert download.seen[:2] == [HALF, 0]


@pytest.mark.parametrize(("code", "span"), [(416, ""), (206, "bytes 7-499999/500000")])
def test_a_server_that_answers_another_range_is_asked_for_all(
    code: int, span: str, download: Download, front: Front
) -> None:
    download.part.write_bytes(LAYER[:HALF])
    front.rule("/blobs/", status(code, {"Content-Range": span}), times=1)
    download.run()
    assert download.file.read_bytes() == LAYER
    assert "Range" not in front.asked[-1].headers


def test_a_blob_that_is_cut_every_time_stays_for_later(
    download: Download, front: Front, waits: list[float]
) -> None:
    def some(handler: Handler) -> None:
        begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        span = {"Content-Range": f"bytes {begin}-499999/500000"}
        handler.say(206, LAYER[begin : begin + 1000], span, length=len(LAYER) - begin)

    front.rule("/blobs/", some)
    error = download.fails("broke off")
    assert "where it stopped" in error.mend
    assert download.part.read_bytes() == LAYER[:3000]
    assert len(waits) == 2


def test_a_length_that_is_too_short_counts_as_a_cut(download: Download, front: Front) -> None:
    front.rule("/blobs/", lambda handler: handler.say(200, LAYER[:1000]), times=1)
    download.run()
    assert download.file.read_bytes() == LAYER


def test_a_blob_with_another_digest_is_removed(download: Download, front: Front) -> None:
    front.rule("/blobs/", lambda handler: handler.say(200, LAYER[:-1] + b"x"))
    download.fails("another digest")
    assert not download.part.exists()


def test_a_partial_file_of_something_else_is_removed(download: Download) -> None:
    download.part.write_bytes(b"something else")
    download.fails("another digest")
    assert not download.part.exists()


def test_a_blob_that_announces_too_much_is_removed(download: Download, front: Front) -> None:
    front.rule("/blobs/", lambda handler: handler.say(200, LAYER + b"x"))
    download.fails("500001 bytes instead of 500000")
    assert not download.part.exists()


def test_no_more_is_read_than_the_size(download: Download, front: Front) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"x" * 3_000_000)

    front.rule("/blobs/", endless)
    download.fails("another digest")
    assert max(download.seen) == len(LAYER)


def test_a_server_that_stops_sending_is_not_waited_for(download: Download, front: Front) -> None:
    def stop(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(LAYER)))
        handler.end_headers()
        handler.wfile.write(LAYER[:HALF])
        handler.wfile.flush()
        hang(handler)

    front.rule("/blobs/", stop, times=1)
    download.run()
    assert download.file.read_bytes() == LAYER


def test_an_interrupt_passes_and_the_part_stays(download: Download) -> None:
    def interrupt(there: int) -> None:
        if there > HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.registry.fetch_blob(
            download.manifest, download.manifest.config, download.file, interrupt
        )
    part = download.part.read_bytes()
    assert len(part) > HALF
    assert part == LAYER[: len(part)]


@pytest.mark.parametrize(
    ("code", "told"), [(errno.ENOSPC, "disk is full"), (errno.EIO, "cannot be kept")]
)
def test_a_disk_that_fails_is_told(
    code: int, told: str, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, "the disk")

    monkeypatch.setattr(registry_module._Part, "_receive", fail)
    assert download.fails(told).where == str(download.file.parent)


def test_a_folder_that_is_missing_is_told(download: Download) -> None:
    download.file = download.file.parent / "missing" / "layer"
    download.fails("cannot be kept")


# The registry fails


@pytest.mark.parametrize(
    ("code", "told", "mend", "tries"),
    [
        (401, "denies", "docker login 127.0.0.1", 1),
        (403, "denies", "docker login 127.0.0.1", 1),
        (404, "has no 127.0.0.1:.*/plain:1", "name", 1),
        (418, "answers 418", "try again", 1),
        (429, "hands out no more", "docker login", 1),
        (500, "fails .500.", "later", 3),
        (503, "fails .503.", "later", 3),
    ],
)
def test_what_the_registry_refuses_is_told_once(
    *, code: int, told: str, mend: str, tries: int, download: Download, front: Front
) -> None:
    front.rule("/v2/", status(code))
    assert mend in download.fails(told).mend
    assert len(front.asked) == tries
    with pytest.raises(MachineError, match=told):
        download.registry.resolve(f"{front.host}/plain:1", "linux/amd64")


def test_a_registry_that_recovers_is_asked_again(
    download: Download, front: Front, waits: list[float]
) -> None:
    front.rule("/blobs/", status(502), times=2)
    download.run()
    assert waits == [0.5, 2.0]


def test_a_registry_that_does_not_answer_is_told(registry: Registry, front: Front) -> None:
    front.rule("/v2/", hang)
    with pytest.raises(MachineError, match="does not answer in time"):
        registry.resolve(f"{front.host}/plain:1", "linux/amd64")


def test_a_registry_that_is_not_there_is_told(registry: Registry, waits: list[float]) -> None:
    with pytest.raises(MachineError, match=r"127\.0\.0\.1 cannot be reached"):
        registry.resolve("127.0.0.1:1/plain:1", "linux/amd64")
    assert len(waits) == 2


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[", "http://a..b\u00e9/"])
def test_a_redirect_to_nonsense_is_told(location: str, download: Download, front: Front) -> None:
    front.rule("/blobs/", lambda handler: handler.say(307, headers={"Location": location}))
    download.fails("no sense|cannot be reached")


# Credentials


def test_the_docker_config_logs_in_with_a_password(
    registry: Registry, private: RegistryServer, docker_config: Path, tmp_path: Path
) -> None:
    log_in(docker_config, private.host)
    manifest = registry.resolve(f"{private.host}/plain:1", "linux/amd64")
    registry.fetch_blob(manifest, manifest.layers[0], tmp_path / "layer", lambda _there: None)
    assert (tmp_path / "layer").read_bytes() == LAYER
    assert registry.has(f"{private.host}/plain:1") is True


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_credential_helper_logs_in(
    *,
    key: str,
    registry: Registry,
    private: RegistryServer,
    docker_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ngrep -qx {private.host} && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    value: Any = "tests" if key == "credsStore" else {private.host: "tests"}
    docker_config.write_text(json.dumps({key: value}))
    assert registry.has(f"{private.host}/plain:1") is True


@pytest.mark.parametrize(
    "config",
    ["", "[]", "{not json", '{"auths": {"HOST": 1}}', '{"credsStore": "missing"}', '{"auths": 7}'],
)
def test_a_config_that_is_broken_counts_as_none(
    *,
    config: str,
    registry: Registry,
    private: RegistryServer,
    server: RegistryServer,
    docker_config: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    docker_config.write_text(config.replace("HOST", private.host))
    assert registry.has(f"{server.host}/plain:1") is True
    with pytest.raises(MachineError, match="denies"):
        registry.resolve(f"{private.host}/plain:1", "linux/amd64")
    assert capfd.readouterr() == ("", "")
    assert "oras.logger" not in {record.name for record in caplog.records}


def test_a_wrong_password_is_denied_and_not_shown(
    registry: Registry,
    private: RegistryServer,
    docker_config: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_in(docker_config, private.host, password="forgotten")
    with caplog.at_level("DEBUG"), pytest.raises(MachineError, match="denies") as caught:
        registry.resolve(f"{private.host}/plain:1", "linux/amd64")
    sent = json.loads(docker_config.read_text())["auths"][private.host]["auth"]
    shown = caplog.text + str(caught.value) + "".join(capfd.readouterr())
    assert "forgotten" not in shown
    assert sent not in shown


class TokenServer:
    """Gives tokens, and lets a front ask for them."""

    def __init__(self, front: Front, *, valid: int = 1_000) -> None:
        self.front, self.given, self.left, self._valid = front, 0, 0, valid
        self.realm = f"http://{front.host}/token"
        front.rule("/token", self._give)
        front.rule("/v2/", self._check)

    def _give(self, handler: Handler) -> None:
        self.given, self.left = self.given + 1, self._valid
        handler.say(200, json.dumps({"token": f"token-{self.given}"}).encode())

    def _check(self, handler: Handler) -> None:
        self.left -= 1
        if handler.headers.get("Authorization") == f"Bearer token-{self.given}" and self.left >= 0:
            del handler.headers["Authorization"]
            handler.forward()
        else:
            scope = 'service="tests",scope="repository:plain:pull"'
            handler.say(401, b"{}", {"Www-Authenticate": f'Bearer realm="{self.realm}",{scope}'})


def test_an_anonymous_token_is_fetched_and_kept(download: Download, front: Front) -> None:
    tokens = TokenServer(front)
    download.run()
    download.registry.resolve(f"{front.host}/plain:1", "linux/amd64")
    asked = next(asked for asked in front.asked if asked.path.startswith("/token"))
    assert "scope=repository%3Aplain%3Apull" in asked.path
    assert "Authorization" not in asked.headers
    assert tokens.given == 1


def test_credentials_go_to_the_token_server_only(
    download: Download, front: Front, docker_config: Path
) -> None:
    TokenServer(front)
    log_in(docker_config, front.host)
    download.run()
    basic = [
        asked.path for asked in front.asked if "Basic" in asked.headers.get("Authorization", "")
    ]
    assert basic
    assert all(path.startswith("/token") for path in basic)


def test_a_token_that_ran_out_is_renewed(download: Download, front: Front) -> None:
    tokens = TokenServer(front, valid=1)
    download.run()
    download.registry.resolve(f"{front.host}/plain:1", "linux/amd64")
    assert tokens.given == 2


@pytest.mark.parametrize("realm", ["http://example.com/token", "token", "http://[", "ftp://x/"])
def test_credentials_are_not_sent_in_the_clear(
    realm: str, registry: Registry, front: Front, docker_config: Path
) -> None:
    TokenServer(front).realm = realm
    log_in(docker_config, front.host)
    assert registry.has(f"{front.host}/plain:1") is False
    assert all("Authorization" not in asked.headers for asked in front.asked)


@pytest.mark.parametrize(
    ("answer", "has", "told"),
    [
        (status(401), False, "denies"),
        (status(503), None, "fails"),
        (document(b"<html>", "text/html"), False, "denies"),
        (document(b"[]", "application/json"), False, "denies"),
    ],
)
def test_a_token_server_that_fails_is_told(
    answer: Answer, has: bool | None, told: str, registry: Registry, front: Front
) -> None:
    front.rule("/token", answer)
    TokenServer(front)
    assert registry.has(f"{front.host}/plain:1") is has
    with pytest.raises(MachineError, match=told):
        registry.resolve(f"{front.host}/plain:1", "linux/amd64")


def test_a_redirect_to_another_host_takes_no_credentials_along(
    download: Download, front: Front, server: RegistryServer
) -> None:
    storage = Front(server.url)
    try:
        TokenServer(front)
        front.rules.insert(0, front.rules.pop())
        check = front.rules[0].answer

        def send_on(handler: Handler) -> None:
            known = "Authorization" in handler.headers
            (redirect(f"http://localhost:{storage.port}") if known else check)(handler)

        front.rules[0].answer = send_on
        download.run()
        assert download.file.read_bytes() == LAYER
        assert [("Authorization" in asked.headers) for asked in storage.asked] == [False]
        storage.rule("/blobs/", status(403))
        download.file.unlink()
        download.fails("localhost answers 403; the registry .* has sent us there")
    finally:
        storage.close()


def test_a_registry_on_this_machine_is_asked_without_the_proxy(
    registry: Registry, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert registry.has(f"{server.host}/plain:1") is True


# TLS


@pytest.fixture
def secure(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the front speak TLS as registry.test; return its certificate."""
    debian.install("openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=registry.test", "-addext", "subjectAltName=DNS:registry.test"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, *files], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    front.server.socket = context.wrap_socket(front.server.socket, server_side=True)
    connect = registry_module.requests.packages.urllib3.util.connection.create_connection  # type: ignore[attr-defined]

    def to_the_front(address: tuple[str, int], *rest: Any, **more: Any) -> Any:
        if address == ("registry.test", 443):
            address = ("127.0.0.1", front.port)
        return connect(address, *rest, **more)

    monkeypatch.setattr("urllib3.util.connection.create_connection", to_the_front)
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return certificate


def test_a_certificate_that_nobody_knows_is_told_at_once(
    registry: Registry, secure: Path, waits: list[float]
) -> None:
    with pytest.raises(MachineError, match=r"registry\.test cannot be trusted"):
        registry.resolve("registry.test/plain:1", "linux/amd64")
    assert waits == []
    assert registry.has("registry.test/plain:1") is None


def test_a_certificate_of_this_machine_is_trusted(
    registry: Registry, secure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure))
    assert registry.resolve("registry.test/plain:1", "linux/amd64").data == AMD.manifest


def test_what_netrc_says_is_not_sent(
    *,
    registry: Registry,
    front: Front,
    secure: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure))
    (tmp_path / "netrc").write_text("default login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert registry.has("registry.test/plain:1") is True
    assert "Authorization" not in front.asked[0].headers


def test_images_from_other_tools_are_read(
    registry: Registry, server: RegistryServer, tmp_path: Path
) -> None:
    debian.install("skopeo")
    image = make_image(gzip.compress(bytes(10_240)))
    server.push("original", "1", image)
    copy = ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=v2s2"]
    names = [f"docker://{server.host}/original:1", f"docker://{server.host}/copied:1"]
    done = subprocess.run([*copy, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = registry.resolve(f"{server.host}/copied:1", "linux/amd64")
    assert manifest.media_type == f"{DOCKER}.distribution.manifest.v2+json"
    assert manifest.layers[0].digest == digest_of(image.layer)
