"""Each piece of advice, given where its fault is caused for real, on every engine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from multistage import engines
from multistage.advice import Failure, advise
from multistage.builds import build, prepare_bases
from multistage.dockerfile import parse
from multistage.engines import BuildRequest, Engine
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.docker import DockerEngine, buildx, connection
from multistage.engines.events import BuildLog
from multistage.errors import CourseError, LearnerError, MachineError
from tests.engines.conftest import HOSTS
from tests.engines.daemonless import processes_with, small_disk, wait_for
from tests.engines.registry_server import Front, Handler

TAG = "multistage/test:advice"
DOCKER = sorted(HOSTS) or ["the machine's own"]
ALPINE = "FROM alpine:latest\n"
NODE = "FROM node:24-alpine\nWORKDIR /app\n"
GO = "FROM golang:1.27\nWORKDIR /src\n"
PACKAGE = json.dumps({"name": "a", "version": "1.0.0", "scripts": {"pack": "vite build"}})
NEEDING = json.dumps({"name": "a", "version": "1.0.0", "dependencies": {"left-pad": "1.3.0"}})
MAIN = "package main\n\nfunc main() {}\n"
MODULE = "module m\n\ngo 1.27\n"
# A program, its processor (e_machine of the ELF header) turned into RISC-V.
PROGRAM = Path("/bin/true").read_bytes() if Path("/bin/true").exists() else b"\x7fELF" + bytes(60)
FOREIGN = PROGRAM[:18] + b"\xf3" + PROGRAM[19:]

pytestmark = pytest.mark.docker


def make(name: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    if name == "daemonless":
        return engines.choose("daemonless")
    if name in HOSTS:
        monkeypatch.setenv("DOCKER_HOST", HOSTS[name])
    engine = DockerEngine()
    if name == "classic":
        engine._buildx = False
    return engine


@pytest.fixture(params=[*DOCKER, "classic", "daemonless"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return each engine in turn: the Docker Engines, the classic builder, the daemonless one."""
    return make(request.param, monkeypatch)


def names_of(engine: Engine) -> set[str]:
    if not isinstance(engine, DockerEngine):
        return {engine.name}
    if not engine._buildx:
        return {"classic"}
    return {"docker", "engine20"} if "Engine 20" in engine.describe() else {"docker", "docker26"}


@dataclass(frozen=True)
class Case:
    """A Dockerfile with a fault; ``files`` lie beside it, ``said`` is the engine's own word."""

    text: str
    mend: str
    said: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    not_on: tuple[str, ...] = ()


BUILDKIT = ("classic",)  # what the classic builder does not know at all
NETWORK = ("classic", "engine20")  # RUN --network is not known there
CASES = {
    "source not in the context": Case(ALPINE + "COPY gone /\n", "in the build context", "gone"),
    "source ignored": Case(
        ALPINE + "COPY a /\n", ".dockerignore", "a", {"a": "x", ".dockerignore": "a\n"}
    ),
    "source not in the stage": Case(
        "FROM alpine:latest AS b\nFROM scratch\nCOPY --from=b /no/such /x\n",
        "in that stage", "no",
    ),
    "comment behind COPY": Case(ALPINE + "COPY a /b # c\n", "line of its own", "", {"a": "x"}),
    "comment behind EXPOSE": Case(ALPINE + "EXPOSE 80 # c\n", "line of its own", "#"),
    "comment behind USER": Case(ALPINE + "USER 1 # c\nRUN id\n", "line of its own", "1 # c"),
    "comment behind FROM": Case("FROM alpine:latest # c\n", "line of its own", ""),
    "comment behind ENV": Case(ALPINE + "ENV A=b # c\n", "line of its own", "#"),
    "unknown instruction": Case(ALPINE + "CPOY a b\n", "Did you mean COPY?", "CPOY"),
    "misspelt stage": Case(
        "FROM alpine:latest AS builder\nFROM scratch\nCOPY --from=buidler /etc /x\n",
        "Did you mean builder?", "buidler",
    ),
    "stage below": Case(
        "FROM scratch\nCOPY --from=b /etc /x\nFROM alpine:latest AS b\n", "change the order", "b"
    ),
    "RUN on scratch": Case(
        "FROM scratch\nCOPY a /\nRUN ls\n", "has no shell", "/bin/sh", {"a": "x"}
    ),
    "npm in the runtime stage": Case(
        "FROM nginx:alpine\nRUN npm ci\n", "This stage has no npm", "npm: not found"
    ),
    "npm in the runtime stage, exec form": Case(
        'FROM nginx:alpine\nRUN ["npm", "ci"]\n', "This stage has no npm", "npm"
    ),
    "go in the runtime stage": Case(
        ALPINE + "RUN go build\n", "This stage has no go", "go: not found"
    ),
    "command not found": Case(ALPINE + "RUN frob -x\n", "no command frob", "frob: not found"),
    "not executable": Case(
        ALPINE + "COPY x.sh /\nRUN /x.sh\n", "COPY --chmod=755", "Permission denied",
        {"x.sh": "#!/bin/sh\n"},
    ),
    "interpreter missing": Case(
        ALPINE + "COPY x.sh /\nRUN chmod +x /x.sh && /x.sh\n", "/x.sh cannot start", "not found",
        {"x.sh": "#!/no/bash\n"},
    ),
    "dynamic program on scratch": Case(
        'FROM golang:1.27 AS b\nFROM scratch\nCOPY --from=b /bin/ls /ls\nRUN ["/ls"]\n',
        "CGO_ENABLED=0", "/ls: no such file or directory",
    ),
    "another processor's program": Case(
        ALPINE + 'COPY x /\nRUN chmod +x /x\nRUN ["/x"]\n', "GOARCH", "xec format error",
        {"x": FOREIGN},
    ),
    "no script": Case(
        NODE + "COPY package.json .\nRUN npm run build\n", "no script called build",
        'Missing script: "build"', {"package.json": PACKAGE},
    ),
    "no lock": Case(
        NODE + "COPY package.json .\nRUN npm ci\n", "needs a package-lock.json",
        "can only install with an existing package-lock.json", {"package.json": PACKAGE},
    ),
    "no package.json": Case(
        NODE + "RUN npm run build\n", "no package.json where npm runs", "package.json"
    ),
    "npm ci left out": Case(
        NODE + "COPY package.json .\nRUN npm run pack\n", "vite is not installed",
        "vite: not found", {"package.json": PACKAGE},
    ),
    "npm ci below NODE_ENV": Case(
        NODE + "ENV NODE_ENV=production\nCOPY package.json .\nRUN npm run pack\n",
        "ENV NODE_ENV=production", "vite: not found", {"package.json": PACKAGE},
    ),
    "source in a folder of an image that it has not": Case(
        "FROM alpine:latest AS b\nRUN mkdir /app\nFROM scratch\n"
        "COPY --from=alpine:latest /app/dist /x\n",
        "alpine:latest is an image, not a stage of yours", "/app",
    ),
    "what a base image has not": Case(
        "FROM alpine:latest AS b\nFROM scratch\nCOPY --from=b /usr/share/zoneinfo /x\n",
        "its base image does not bring it", "/usr/share/zoneinfo",
    ),
    "package manager of a stand-in": Case(
        ALPINE + "RUN apk add x\n", "Only the stand-in of alpine:latest lacks apk",
        "apk: not found",
    ),
    "RUN first on scratch, while another stage builds": Case(
        f"{ALPINE[:-1]} AS b\nRUN sleep 3\nFROM scratch\nRUN ls\nCOPY --from=b /etc /x\n",
        "has no shell", "/bin/sh",
    ),
    "go's variable behind its command": Case(
        GO + "COPY go.mod main.go ./\nRUN go build CGO_ENABLED=0 -o /s .\n",
        "RUN CGO_ENABLED=0 go build", "malformed import path",
        {"go.mod": MODULE, "main.go": MAIN},
    ),
    "no go.mod": Case(
        GO + "COPY main.go .\nRUN go build .\n", "no go.mod where go runs",
        "go.mod file not found", {"main.go": MAIN},
    ),
    "no go.mod for the modules": Case(
        GO + "RUN go mod download\n", "no go.mod where go runs", "no modules specified"
    ),
    "no Go files": Case(
        GO + "COPY go.mod .\nRUN go build .\n", "no Go source", "no Go files in /src",
        {"go.mod": MODULE},
    ),
    "Go too old": Case(
        "FROM golang:1.22\nCOPY go.mod main.go /src/\nWORKDIR /src\nRUN go build .\n",
        "asks for Go 1.27", "go.mod requires go >= 1.27", {"go.mod": MODULE, "main.go": MAIN},
    ),
    "no go.sum": Case(
        GO + "COPY go.mod main.go ./\nRUN go build .\n", "go.sum", "missing go.sum entry",
        {
            "go.mod": MODULE + "\nrequire rsc.io/quote v1.5.2\n",
            "main.go": 'package main\n\nimport _ "rsc.io/quote"\n\nfunc main() {}\n',
        },
    ),
    "flag of a later builder": Case(
        ALPINE + "RUN --network=none true\n", "too old for network", "flag: network",
        not_on=("daemonless", "docker26", "classic"),
    ),
    "secret not given": Case(
        ALPINE + "RUN --mount=type=secret,id=token,required=true cat /run/secrets/token\n",
        "--secret id=token,src=<file>", "secret token", not_on=BUILDKIT,
    ),
    "BuildKit's option": Case(
        ALPINE + "RUN --mount=type=cache,target=/c true\n", "docker buildx", "--mount",
        not_on=("docker", "daemonless"),
    ),
    "here-document": Case(
        ALPINE + "RUN <<EOF\nexit 3\nEOF\n", "docker buildx", "<<",
        not_on=("docker", "daemonless"),
    ),
    "user's name on scratch": Case(
        "FROM scratch\nCOPY --chown=app a /\n", "use numbers", "", {"a": "x"}
    ),
    "npm without network": Case(
        NODE + "COPY package.json .\nRUN --network=none npm install --fetch-retries=0\n",
        "does not reach the network", "EAI_AGAIN", {"package.json": NEEDING}, NETWORK,
    ),
    "go without network": Case(
        GO + "COPY go.mod .\nRUN --network=none go mod download\n", "does not reach the network",
        "dial ", {"go.mod": MODULE + "\nrequire rsc.io/quote v1.5.2\n"}, NETWORK,
    ),
    "killed": Case(ALPINE + "RUN sh -c 'kill -9 $$' || exit $?\n", "memory was used up", "137"),
    "file system full": Case(
        ALPINE + "RUN dd if=/dev/zero of=/dev/shm/x bs=1M count=90\n", "is full",
        "No space left on device", not_on=("daemonless",),  # its /dev/shm is the machine's
    ),
    "file system full in a mount": Case(
        ALPINE + "RUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x bs=1M count=9\n",
        "is full", "No space left on device", not_on=("docker", "classic"),
    ),
}  # fmt: skip


def write(context: Path, text: str, files: dict[str, str | bytes]) -> Path:
    (context / "Dockerfile").write_text(text, "utf-8")
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (context / name).write_bytes(data)
    return context


def failure(engine: Engine, context: Path) -> CourseError:
    with pytest.raises(CourseError) as caught:
        build(engine, context, tag=TAG)
    return caught.value


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_is_told_with_its_mend_and_in_the_engines_own_words(
    engine: Engine, context: Path, case: Case
) -> None:
    names = names_of(engine)
    if names & set(case.not_on):
        pytest.skip("this cannot be caused there")
    error = failure(engine, write(context, case.text, case.files))
    assert isinstance(error, LearnerError)
    assert case.mend in error.mend
    assert case.said in error.what
    # Engine 20 does not say where an instruction is that cannot be read.
    assert error.where.rpartition(":")[2].isdigit() or "engine20" in names


@pytest.mark.parametrize(
    "command",
    [
        "echo npm: not found; exit 1",
        "echo no space left on device toomanyrequests; exit 1",
        "echo 'Missing script: \"build\"' >&2; exit 1",
        "echo /bin/sh: go: not found; exit 3",
        "echo exit code: 137; exit 2",
        "grep -q 'pull access denied' /etc/passwd",
    ],
)
def test_a_command_of_the_learners_that_only_says_so_gets_no_advice(
    engine: Engine, context: Path, command: str
) -> None:
    error = failure(engine, write(context, f"{ALPINE}RUN {command}\n", {}))
    assert isinstance(error, LearnerError)
    assert error.mend in (
        "Read the last lines above: they are what the command said before it failed.",
        "Mend that step and build again.",
    )


def test_an_image_that_holds_nothing_is_a_fault_of_its_dockerfile(
    engine: Engine, context: Path
) -> None:
    error = failure(engine, write(context, 'FROM scratch\nCMD ["/x"]\n', {}))
    assert isinstance(error, LearnerError)
    assert error.what == "The final image holds nothing: no instruction puts a file into it."
    assert error.where.endswith("Dockerfile:1")
    assert "COPY --from=<stage>" in error.mend


def test_the_output_of_a_failed_command_is_shown(engine: Engine, context: Path) -> None:
    error = failure(engine, write(context, f"{ALPINE}RUN echo why >&2; exit 1\n", {}))
    assert "\n    why" in error.what


# What the course says before an engine could: the engine's own words are known all the same.

DOCKERS_OWN = {
    "unknown instruction": (f"{ALPINE}CPOY a b\n", ("misspelt", "unknown-instruction")),
    "FROM with a comment": ("FROM alpine:latest # c\n", ("comment",)),
    "ENV with a comment": (f"{ALPINE}ENV A=b # c\n", ("comment",)),
    "stage's number": (f"{ALPINE}COPY --from=7 /etc /x\n", ("stage-order",)),
    # No name of hexadecimal digits alone: the classic builder takes the beginning of an image's ID.
    "own stage": ("FROM alpine:latest AS own\nCOPY --from=own /etc /x\n", ("stage-order",)),
    "misspelt stage": (
        "FROM alpine:latest AS builder\nFROM scratch\nCOPY --from=buidler /etc /x\n",
        ("misspelt", "stage-order", "network"),  # older engines only say that they asked for it
    ),
}


@pytest.mark.parametrize("case", DOCKERS_OWN.values(), ids=DOCKERS_OWN.keys())
@pytest.mark.parametrize("name", [*DOCKER, "classic"])
def test_what_docker_says_of_a_dockerfile_is_recognised(
    name: str, context: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, tuple[str, ...]]
) -> None:
    text, names = case
    engine = make(name, monkeypatch)
    prepare_bases(engine, parse(ALPINE), None, lambda _line: None)
    assert told(engine, write(context, text, {})) in names


def told(engine: Engine, context: Path) -> str | None:
    """Build without what the course does before; return the name of the advice."""
    log = BuildLog()
    with pytest.raises(CourseError) as caught:
        engine.build(BuildRequest(context, context / "Dockerfile", TAG), log.add)
    failed = log.failed()
    found = advise(Failure(caught.value.what)) if failed is None else None
    found = found or (advise(Failure(failed.error, "", failed.step.name)) if failed else None)
    return found.advice.name if found else None


# Registries


@pytest.fixture
def front() -> Iterator[Front]:
    front = Front()
    yield front
    front.close()


def hub_denies(handler: Handler) -> None:
    """Answer as Docker Hub does for what is not there: a token, and then that it is too little."""
    if handler.path.startswith("/token"):
        handler.say(200, b'{"token": "x"}', {"Content-Type": "application/json"})
        return
    realm = f'Bearer realm="http://{handler.front.host}/token",service="x"'
    scope = 'scope="repository:base:pull",error="insufficient_scope"'
    body = b'{"errors": [{"code": "DENIED", "message": "requested access is denied"}]}'
    handler.say(401, body, {"Www-Authenticate": f"{realm},{scope}"})


def too_many(handler: Handler) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your limit"}]}'
    handler.say(429, body, {"Content-Type": "application/json"})


def other_platform(handler: Handler) -> None:
    digest = f"sha256:{'0' * 64}"
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 2,
        "platform": {"os": "linux", "architecture": "s390x"},
    }  # fmt: skip
    kind = "application/vnd.oci.image.index.v1+json"
    body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    handler.say(200, body, {"Content-Type": kind}, None)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (too_many, "too-many-requests"),
        (hub_denies, "no-such-image"),
        (other_platform, "platform"),
    ],
)
def test_what_a_registry_refuses_is_told(
    engine: Engine, context: Path, front: Front, answer: object, name: str
) -> None:
    front.rule("/", answer)  # type: ignore[arg-type]
    write(context, f"FROM localhost:{front.port}/base:1\nCOPY Dockerfile /\n", {})
    assert told(engine, context) == name


def test_the_pull_limit_is_the_machines_fault_and_asks_for_a_login(
    engine: Engine, context: Path, front: Front
) -> None:
    front.rule("/", too_many)
    error = failure(engine, write(context, f"FROM localhost:{front.port}/base:1\n", {}))
    assert isinstance(error, MachineError)
    assert "docker login" in error.mend


def test_a_certificate_that_is_not_trusted_is_told(
    engine: Engine, context: Path, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = (
        "const fs = require('fs'), https = require('https');"
        "https.createServer({key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem')})"
        ".listen(18443, '127.0.0.1');"
    )
    files: dict[str, str | bytes] = {
        "package.json": NEEDING, "server.js": server,
        "key.pem": key.read_bytes(), "cert.pem": certificate.read_bytes(),
    }  # fmt: skip
    install = "npm install --registry https://127.0.0.1:18443/ --fetch-retries=0"
    text = (
        f"{NODE}COPY . ./\nRUN node server.js & sleep 1; {install}; code=$?; kill $!; exit $code\n"
    )
    error = failure(engine, write(context, text, files))
    assert "does not trust the TLS certificate" in error.mend
    assert "SELF_SIGNED_CERT" in error.what


# The machine


def test_a_command_that_the_kernel_kills_for_its_memory_is_told(
    engine: Engine, context: Path
) -> None:
    version_1 = Path("/sys/fs/cgroup/memory")
    mark = f"eats-memory-{time.monotonic_ns()}"
    group = (version_1 if version_1.is_dir() else version_1.parent) / f"multistage-test-{mark}"
    text = f"{ALPINE}RUN : {mark}; sleep 5; tail /dev/zero\n"
    try:
        group.mkdir(exist_ok=True)
        limit = "memory.limit_in_bytes" if version_1.is_dir() else "memory.max"
        (group / limit).write_text("32M")
    except OSError as refused:
        pytest.skip(f"no limits of memory can be set here: {refused}")

    def confine() -> None:
        wait_for(lambda: bool(inside(mark)), 60)
        for process in inside(mark):
            (group / "cgroup.procs").write_text(process)

    thread = threading.Thread(target=confine)
    thread.start()
    try:
        error = failure(engine, write(context, text, {}))
    finally:
        thread.join()
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    assert "memory was used up" in error.mend


def inside(mark: str) -> list[str]:
    """Return the processes of a RUN whose command has the mark in it: its shell, not a client."""
    found = (line.partition(": ") for line in processes_with(mark))
    return [number for number, _, words in found if words.startswith("/bin/sh -c")]


def test_a_full_disk_of_the_daemonless_engine_is_told(tmp_path: Path, context: Path) -> None:
    write(context, "FROM scratch\nCOPY big /\n", {"big": os.urandom(24 << 20)})
    with small_disk(tmp_path / "disk", "16m") as disk:
        error = failure(DaemonlessEngine("root", disk / "engine"), context)
    assert isinstance(error, MachineError)
    assert "multistage prune" in error.mend


def test_an_engine_that_does_not_run_is_told_by_the_docker_command_too(
    tmp_path: Path, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "gone.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    assert "No Docker Engine answers" in connection.probe().reason
    write(context, ALPINE, {})
    with pytest.raises(MachineError) as caught:
        buildx.build(BuildRequest(context, context / "Dockerfile", TAG), lambda _event: None)
    found = advise(Failure(caught.value.what))
    assert found is not None
    assert found.advice.name == "docker-not-running"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user")
def test_a_socket_without_permission_is_told(tmp_path: Path) -> None:
    place = Path("/tmp") / f"multistage-advice-{time.monotonic_ns()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(place))
            server.listen()
            place.chmod(0o600)
            docker = Path(os.popen("command -v docker").read().strip()).resolve()
            tool = Path("/tmp") / f"docker-{time.monotonic_ns()}"  # where another user may read it
            tool.write_bytes(docker.read_bytes())
            tool.chmod(0o755)
            done = subprocess.run(
                [str(tool), "version"], user=65534, group=65534, extra_groups=[], cwd="/",
                env={"DOCKER_HOST": f"unix://{place}", "HOME": "/nonexistent"},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            place.unlink(missing_ok=True)
            tool.unlink(missing_ok=True)
    found = advise(Failure(done.stderr))
    assert found is not None, done.stderr
    assert found.advice.name == "docker-permission"


def test_a_port_that_is_taken_is_told(client: object) -> None:
    import docker

    assert isinstance(client, docker.DockerClient)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"80/tcp": ("127.0.0.1", taken.getsockname()[1])}
        container = client.containers.create("nginx:alpine", ports=ports)
        try:
            with pytest.raises(docker.errors.APIError) as caught:
                container.start()
        finally:
            container.remove(force=True)
    found = advise(Failure(str(caught.value.explanation)))
    assert found is not None
    assert found.advice.name == "port-taken"
