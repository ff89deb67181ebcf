"""Sandboxes: where a RUN's command runs, so that it sees the image's files and not this machine's.

Four kinds, best first. Which of them a machine allows is found out by trying, once.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from multistage.errors import MachineError

__all__ = [
    "KINDS",
    "Command",
    "Identity",
    "Mount",
    "Overlay",
    "Process",
    "Sandbox",
    "choose",
    "probe",
]

_LAUNCHER = Path(__file__).with_name("launcher.py")
_HOSTNAME = "buildkitsandbox"
_PROOT_VERSION = "5.1"
_PROBE_SECONDS = 20.0
_END_SECONDS = 10.0  # how long a launcher may take to end what it started

# What a container of Docker may do:
# https://docs.docker.com/engine/security/#linux-kernel-capabilities
_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip
# In a bare chroot these two would lead out of it.
_LEAD_OUT_OF_CHROOT = ("SYS_CHROOT", "MKNOD")

_LEFT_RUNNING = "it left a process running in the background, and proot then hides its exit code"

# In the order in which they are preferred.
KINDS = {
    "root": "namespaces of its own, as root",
    "user-namespaces": "namespaces of its own, as an ordinary user",
    "chroot": "chroot, as root",
    "proot": "proot: the system calls are translated",
}


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay file system: lower folders, highest first, named from ``folder``."""

    folder: str
    lower: tuple[str, ...]
    upper: str
    work: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """Something shown in the sandbox. ``kind`` is ``bind`` or ``tmpfs``; ``size`` in bytes."""

    target: str
    source: str = ""
    kind: str = "bind"
    read_only: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs a command, in numbers."""

    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run in a sandbox.

    Attributes:
        argv: the program and its arguments; ``None`` to enter the sandbox and leave.
        environment: all of its environment.
        folder: its working folder, in the image.
        root: the image's files, where they lie in one folder.
        overlay: the image's files, where they are layers.
        mounts: what else it sees.
        identity: who it runs as.
        own_network: whether it gets a network of its own, with a loopback interface alone.
        forward: a listening socket of this machine's network, by descriptor, and the port of
            the sandbox's own network to which what it accepts is handed on.
        proxy: a connected socket's descriptor, over which a socket that listens within is
            handed out.
    """

    argv: Sequence[str] | None
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    root: Path | None = None
    overlay: Overlay | None = None
    mounts: tuple[Mount, ...] = ()
    identity: Identity = Identity()
    own_network: bool = False
    forward: tuple[int, int] | None = None
    proxy: int | None = None


class Process:
    """A command that runs in a sandbox.

    Attributes:
        stubs: the files and folders that were made for mounts, in the image; known at the end.
    """

    def __init__(self, process: subprocess.Popen[bytes], status: int, merged: Path) -> None:
        self._process, self._status, self._merged = process, status, merged
        self.stubs: list[str] = []

    @property
    def pid(self) -> int:
        """The launcher's process ID: what the command starts descends from it."""
        return self._process.pid

    @property
    def output(self) -> Any:
        """Its standard output and error, one stream of bytes."""
        return self._process.stdout

    def poll(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for the end, and return the exit code, 128 and the number after a signal.

        Raises:
            SandboxError: the sandbox could not be made.
        """
        with os.fdopen(self._status, "rb", closefd=True) as status:
            said = [json.loads(line) for line in status]
        code = self._process.wait()
        self._clean_up()
        for message in said:
            self.stubs += message.get("stubs", [])
            if "error" in message:
                raise SandboxError(message["step"], message["error"])
            if "left_running" in message:
                raise SandboxError("the end of the command", _LEFT_RUNNING)
        return code if code >= 0 else 128 - code

    def signal(self) -> None:
        """Ask it to end, with all that it started; whoever reads its output sees the end."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """End it and all that it started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        with suppress(OSError):
            os.close(self._status)
        self._clean_up()

    def _clean_up(self) -> None:
        with suppress(OSError):
            self._merged.rmdir()


class SandboxError(Exception):
    """A sandbox could not be made: at which step, and what the kernel said."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step, self.reason = step, reason


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One kind of sandbox, as it works on this machine.

    Attributes:
        kind: one of :data:`KINDS`.
        overlay: whether layers are put together by overlayfs; else the files are copied.
        options: the options that overlayfs needs.
    """

    kind: str
    overlay: bool = False
    options: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"{self.kind} sandbox, {'overlayfs' if self.overlay else 'copies'}"

    @property
    def keeps_owners(self) -> bool:
        """Whether files can belong to any user."""
        return self.kind in ("root", "chroot")

    @property
    def own_network(self) -> bool:
        """Whether a command can get a network of its own."""
        return self.kind in ("root", "user-namespaces")

    def start(self, command: Command, scratch: Path) -> Process:
        """Start a command; ``scratch`` is a folder for what only lives as long as it."""
        merged = Path(tempfile.mkdtemp(prefix="merged-", dir=scratch))
        status_read, status_write = os.pipe()
        spec = _spec(self, command, merged, status_write)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[status_write, *_descriptors(command)],
                start_new_session=True,  # Ctrl-C in a terminal ends builds in order: by the builder
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        except BaseException:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(spec).encode())
        return Process(process, status_read, merged)


def _descriptors(command: Command) -> list[int]:
    """Return the open files that the launcher is given."""
    forward = [command.forward[0]] if command.forward else []
    return [*forward, *([command.proxy] if command.proxy is not None else [])]


def follow(process: Process, tell: Callable[[bytes], None]) -> int:
    """Hand on what a command writes, to its end; return its exit code.

    Raises:
        SandboxError: the sandbox could not be made.
    """
    try:
        while data := process.output.read1(65536):
            tell(data)
        return process.wait()
    finally:
        process.end()


def _spec(sandbox: Sandbox, command: Command, merged: Path, status: int) -> dict[str, Any]:
    argv = None if command.argv is None else list(command.argv)
    kind = sandbox.kind
    if kind == "proot" and argv is not None:
        argv = _proot(command, argv)
    dropped = _LEAD_OUT_OF_CHROOT if kind == "chroot" else ()
    environment = dict(command.environment)
    if kind == "proot":
        environment.setdefault("PROOT_TMP_DIR", str(merged.parent))
    return {
        "kind": kind,
        "parent": os.getpid(),
        "status": status,
        "argv": argv,
        "environment": environment,
        "folder": command.folder,
        "root": str(command.root) if command.root else None,
        "overlay": asdict(command.overlay) if command.overlay else None,
        "merged": str(merged),
        "mounts": [asdict(mount) for mount in command.mounts],
        "user": command.identity.user,
        "group": command.identity.group,
        "groups": list(command.identity.groups),
        "capabilities": [name for name in _CAPABILITIES if name not in dropped],
        "own_network": command.own_network and sandbox.own_network,
        "forward": command.forward,
        "proxy": command.proxy,
        "hostname": _HOSTNAME,
    }


def _proot(command: Command, argv: list[str]) -> list[str]:
    """Return the command line of proot: proot(1)."""
    identity = f"{command.identity.user}:{command.identity.group}"
    line = [shutil.which("proot") or "proot", "-r", str(command.root), "-i", identity]
    for path in ("/proc", "/sys", *(f"/dev/{name}" for name in _HOST_DEVICES)):
        if os.path.exists(path):
            line += ["-b", path]
    for mount in command.mounts:
        line += ["-b", f"{mount.source}:{mount.target}"]
    return [*line, "-w", command.folder, *argv]


_HOST_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "shm")


@functools.cache
def probe() -> dict[str, str]:
    """Try every kind; return why it does not work, empty where it does, by kind."""
    if sys.platform != "linux":
        return dict.fromkeys(KINDS, "It needs Linux.")
    return {kind: _try(kind)[1] for kind in KINDS}


@functools.cache
def _try(kind: str) -> tuple[Sandbox | None, str]:
    """Return a sandbox of this kind as it works here, or why it does not."""
    if sys.platform != "linux":
        return None, "It needs Linux."
    if kind in ("root", "chroot") and os.geteuid() != 0:
        return None, "It needs root, and this is an ordinary user."
    if kind == "proot":
        return _try_proot()
    if kind == "chroot":
        return _first_that_works([Sandbox(kind)])
    options = ("userxattr",) if kind == "user-namespaces" else ()
    plain = ("index=off", "metacopy=off", "redirect_dir=off") if kind == "root" else options
    return _first_that_works(
        [
            Sandbox(kind, overlay=True, options=(*plain, "volatile")),
            Sandbox(kind, overlay=True, options=plain),
            Sandbox(kind),
        ]
    )


def _try_proot() -> tuple[Sandbox | None, str]:
    program = shutil.which("proot")
    if program is None:
        return None, "There is no proot on this machine: apt-get install proot"
    sandbox = Sandbox("proot")
    reason = _trial(sandbox, Command(["/bin/true"], dict(os.environ), root=Path("/")))
    return (None, reason) if reason else (sandbox, "")


def _first_that_works(sandboxes: list[Sandbox]) -> tuple[Sandbox | None, str]:
    reason = ""
    for sandbox in sandboxes:
        reason = _trial(sandbox, None)
        if not reason:
            return sandbox, ""
    return None, reason


def _trial(sandbox: Sandbox, command: Command | None) -> str:
    """Enter a sandbox and leave; return what went wrong, empty if nothing did."""
    from multistage.engines.daemonless.paths import cache_folder

    with _folder(cache_folder()) as folder:
        said: list[bytes] = []
        try:
            process = sandbox.start(command or _nothing(sandbox, folder), folder)
            code = follow(process, said.append)
        except SandboxError as error:
            return f"The kernel refuses {error.step}: {error.reason}."
        if code:
            return f"It ends with exit code {code}: {b''.join(said).decode('utf-8', 'replace')}"
        return ""


def _nothing(sandbox: Sandbox, folder: Path) -> Command:
    for name in ("lower", "upper", "work"):
        (folder / name).mkdir()
    if not sandbox.overlay:
        return Command(None, root=folder / "lower")
    overlay = Overlay(
        str(folder), ("lower",), str(folder / "upper"), str(folder / "work"), sandbox.options
    )
    return Command(None, overlay=overlay)


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose(kind: str | None = None) -> Sandbox:
    """Return the sandbox of a kind, or the best one of this machine.

    Raises:
        MachineError: it does not work here, or none does; says why.
    """
    reasons = []
    for candidate in KINDS if kind is None else (kind,):
        sandbox, reason = _try(candidate)
        if sandbox is not None:
            return sandbox
        reasons.append(f"{candidate}: {reason}")
    raise MachineError(
        f"No sandbox for RUN works on this machine. {' '.join(reasons)}",
        mend="Install proot (apt-get install proot), or allow user namespaces.",
    )
