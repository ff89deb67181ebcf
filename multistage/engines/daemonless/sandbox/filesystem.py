"""What a RUN's command finds mounted: its root, /proc, /dev, /sys, and the mounts of the RUN."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multistage.engines.daemonless.sandbox import devices, kernel
else:
    import devices
    import kernel

_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# What runc keeps from a container's hands, as files of /proc do not ask for capabilities:
# https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED = ("kcore", "keys", "timer_list", "latency_stats")
_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


class Stubs:
    """Makes the places that mounts need, and remembers which: they are no part of the image."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.made: list[str] = []

    def place(self, path: str, *, folder: bool) -> str:
        """Return where ``path`` of the image is, made if need be. Links are followed inside."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        here = self._root
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                here = here if here == self._root else os.path.dirname(here)
                continue
            step = os.path.join(here, part)
            try:
                mode = os.lstat(step).st_mode
            except FileNotFoundError:
                self._make(step, folder=folder or bool(parts))
                here = step
                continue
            if stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, f"{path}: too many links")
                target = os.readlink(step)
                parts[:0] = [p for p in target.split("/") if p not in ("", ".")]
                here = self._root if target.startswith("/") else here
                continue
            here = step
        return here

    def _make(self, step: str, *, folder: bool) -> None:
        if folder:
            os.mkdir(step, 0o755)
        else:
            os.close(os.open(step, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644))
        self.made.append(step[len(self._root) :])


def make_folder(root: str, path: str, owner: list[int] | None) -> None:
    """Make a folder of the image that is not there, with those above it, for ``owner``."""
    places = Stubs(root)
    try:
        place = places.place(path, folder=True)
    except NotADirectoryError:
        place = ""
    if not os.path.isdir(place):
        raise NotADirectoryError(errno.ENOTDIR, f"mkdir {path}: not a directory")
    if owner is not None:
        for made in places.made:
            os.chown(f"{root}{made}", *owner)


def mount_root(spec: dict[str, Any]) -> str:
    """Mount the root of the command, and return where."""
    merged: str = spec["merged"]
    overlay = spec.get("overlay")
    if overlay is None:
        kernel.mount(spec["root"], merged, flags=kernel.MS_BIND)
        return merged
    # Lower folders are named from here: full paths of a long chain exceed the kernel's page.
    os.chdir(overlay["folder"])
    options = [
        f"lowerdir={':'.join(overlay['lower'])}",
        f"upperdir={overlay['upper']}",
        f"workdir={overlay['work']}",
        *overlay["options"],
    ]
    # Without device files: the command may make them, and must not reach the disk through them.
    kernel.mount("overlay", merged, "overlay", kernel.MS_NODEV, ",".join(options))
    return merged


def mount_system(stubs: Stubs, *, own_users: bool) -> None:
    """Mount /proc, /sys and /dev as a container has them."""
    _mount_proc(stubs.place("/proc", folder=True))
    _mount_sys(stubs.place("/sys", folder=True), own_users=own_users)
    _mount_dev(stubs.place("/dev", folder=True))


def _mount_proc(place: str) -> None:
    try:
        kernel.mount("proc", place, "proc", _SAFE)
    except OSError:
        # A container whose own /proc is masked may not mount another: the host's is shown.
        kernel.mount("/proc", place, flags=kernel.MS_BIND | kernel.MS_REC)
        return
    for name in _MASKED:
        if os.path.exists(f"{place}/{name}"):
            kernel.mount("/dev/null", f"{place}/{name}", flags=kernel.MS_BIND)
    for name in _READ_ONLY:
        if os.path.exists(f"{place}/{name}"):
            bind(f"{place}/{name}", f"{place}/{name}", read_only=True)


def _mount_sys(place: str, *, own_users: bool) -> None:
    if own_users:
        # The host's root owns what is in there: this user cannot write to it.
        kernel.mount("/sys", place, flags=kernel.MS_BIND | kernel.MS_REC)
    else:
        kernel.mount("sysfs", place, "sysfs", _SAFE | kernel.MS_RDONLY)


def _mount_dev(place: str) -> None:
    kernel.mount("tmpfs", place, "tmpfs", kernel.MS_NOSUID, "mode=755,size=65536k")
    for name in devices.DEVICES:
        if os.path.exists(f"/dev/{name}"):
            os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
            # Read-only, which a device's data is not: else its owner could change its mode for all.
            bind(f"/dev/{name}", f"{place}/{name}", read_only=True)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{place}/{name}")
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"),
        ("shm", "tmpfs", "mode=1777,size=65536k"),
        ("mqueue", "mqueue", ""),
    ):
        os.mkdir(f"{place}/{name}")
        kernel.mount(kind, f"{place}/{name}", kind, _SAFE, options)


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Show ``source`` at ``target``."""
    kernel.mount(source, target, flags=kernel.MS_BIND | kernel.MS_REC)
    if read_only:
        # In a user namespace the flags that the mount came with must be kept: mount_namespaces(7).
        kept = os.statvfs(target).f_flag & _SAFE
        flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kept
        kernel.mount("", target, flags=flags)


def mount_all(mounts: list[dict[str, Any]], stubs: Stubs) -> None:
    """Mount what the RUN asks for."""
    for entry in mounts:
        if entry["kind"] == "tmpfs":
            place = stubs.place(entry["target"], folder=True)
            size = f",size={entry['size']}" if entry.get("size") else ""
            kernel.mount(
                "tmpfs", place, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode=1777{size}"
            )
        else:
            place = stubs.place(entry["target"], folder=os.path.isdir(entry["source"]))
            bind(entry["source"], place, read_only=entry["read_only"])


def place_all(bindings: list[list[str]], stubs: Stubs) -> None:
    """Make the places that proot shows something at.

    It would make and remove them itself, and removes them wherever a link leads by then.
    """
    for source, target in bindings:
        with contextlib.suppress(OSError):  # proot tries once more, and says what is wrong
            stubs.place(target, folder=os.path.isdir(source))


def make_devices(root: str, stubs: Stubs) -> None:
    """Make the most needed devices as files, where nothing can be mounted."""
    for name, numbers in devices.DEVICES.items():
        place = f"{stubs.place('/dev', folder=True)}/{name}"
        if os.path.lexists(place):
            continue
        try:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(*numbers))
            os.chmod(place, 0o666)  # whatever the umask
        except PermissionError:
            if name != "null":
                continue
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o666))
        stubs.made.append(place[len(root) :])
