"""The kinds of sandbox, and how each is told what to do."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multistage.engines.daemonless.sandbox.commands import Command
from multistage.engines.daemonless.sandbox.devices import DEVICES
from multistage.engines.daemonless.sandbox.process import Process, SandboxError

_LAUNCHER = Path(__file__).with_name("launcher.py")
_HOSTNAME = "buildkitsandbox"

# What a container of Docker may do:
# https://docs.docker.com/engine/security/#linux-kernel-capabilities
_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip
# In a bare chroot these two would lead out of it.
_LEAD_OUT_OF_CHROOT = ("SYS_CHROOT", "MKNOD")

# In the order in which they are preferred.
KINDS = {
    "root": "namespaces of its own, as root",
    "user-namespaces": "namespaces of its own, as an ordinary user",
    "chroot": "chroot, as root",
    "proot": "proot: the system calls are translated",
}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One kind of sandbox, as it works on this machine.

    Attributes:
        kind: one of :data:`KINDS`.
        overlay: whether layers are put together by overlayfs; else the files are copied.
        options: the options that overlayfs needs.
        accelerated: whether proot only stops the system calls that it translates.
    """

    kind: str
    overlay: bool = False
    options: tuple[str, ...] = ()
    accelerated: bool = False

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        kind = f"accelerated {self.kind}" if self.accelerated else self.kind
        return f"{kind} sandbox, {'overlayfs' if self.overlay else 'copies'}"

    @property
    def keeps_owners(self) -> bool:
        """Whether files can belong to any user."""
        return self.kind in ("root", "chroot")

    @property
    def own_network(self) -> bool:
        """Whether a command can get a network of its own."""
        return self.kind in ("root", "user-namespaces")

    @property
    def own_processes(self) -> bool:
        """Whether a command is the first process of a PID namespace, as in a container."""
        return self.kind in ("root", "user-namespaces")

    def start(self, command: Command, scratch: Path) -> Process:
        """Start a command; ``scratch`` is a folder for what only lives as long as it."""
        merged = Path(tempfile.mkdtemp(prefix="merged-", dir=scratch))
        status_read, status_write = os.pipe()
        try:
            spec = _spec(self, command, merged, status_write)
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
            merged.rmdir()
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


def _spec(sandbox: Sandbox, command: Command, merged: Path, status: int) -> dict[str, Any]:
    argv = None if command.argv is None else list(command.argv)
    kind = sandbox.kind
    bindings: list[tuple[str, str]] = []
    if kind == "proot" and argv is not None:
        bindings = _bindings(command, merged)
        argv = _proot(command, argv, bindings)
    dropped = _LEAD_OUT_OF_CHROOT if kind == "chroot" else ()
    environment = dict(command.environment)
    if kind == "proot":
        environment.setdefault("PROOT_TMP_DIR", str(merged.parent))
        if not sandbox.accelerated:
            # It stops every system call, those of threads that wait for each other too: the fewer
            # threads, the fewer calls. Node has four for files.
            environment.setdefault("UV_THREADPOOL_SIZE", "2")
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
        "bindings": bindings,
        "user": command.identity.user,
        "group": command.identity.group,
        "groups": list(command.identity.groups),
        "folder_owner": [command.folder_owner.user, command.folder_owner.group],
        "capabilities": [name for name in _CAPABILITIES if name not in dropped],
        "own_network": command.own_network and sandbox.own_network,
        "has_musl": command.root is not None and _has_musl(command.root),
        "forward": command.forward,
        "proxy": command.proxy,
        "hostname": _HOSTNAME,
    }


def _has_musl(root: Path) -> bool:
    """Return whether an image's programs are for musl, by the loader that they name."""
    return any(any(root.glob(f"{folder}/ld-musl-*")) for folder in ("lib", "usr/lib"))


def _proot(command: Command, argv: list[str], bindings: list[tuple[str, str]]) -> list[str]:
    """Return the command line of proot, see proot(1)."""
    identity = f"{command.identity.user}:{command.identity.group}"
    line = [shutil.which("proot") or "proot", "-r", str(command.root), "-i", identity]
    for source, target in bindings:
        line += ["-b", f"{source}:{target}"]
    return [*line, "-w", command.folder, *argv]


def _bindings(command: Command, shared: Path) -> list[tuple[str, str]]:
    """Return what proot shows where, as (source, target). ``shared`` becomes ``/dev/shm``."""
    devices = _own_devices(shared) if os.geteuid() == 0 else Path("/dev")
    return [
        ("/proc", "/proc"),
        ("/sys", "/sys"),
        *((str(devices / n), f"/dev/{n}") for n in DEVICES if (devices / n).exists()),
        (str(shared), "/dev/shm"),  # the machine's own is none of the command's business
        *((mount.source, mount.target) for mount in command.mounts),
    ]


def _own_devices(shared: Path) -> Path:
    """Return a folder with devices of the command's own: as root it could remove the machine's."""
    folder = Path(f"{shared}.devices")
    folder.mkdir()
    try:
        for name, numbers in DEVICES.items():
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(*numbers))
            (folder / name).chmod(0o666)  # whatever the umask
        os.close(os.open(folder / "null", os.O_WRONLY))  # a disk may allow no devices
    except OSError as error:
        # In a container without root's rights they are mounts of their own, which nobody removes.
        if all(os.path.ismount(f"/dev/{name}") for name in DEVICES):
            return Path("/dev")
        raise SandboxError("devices", f"{error.strerror}, and proot as root needs them") from error
    return folder
