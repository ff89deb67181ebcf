"""The system calls that Python has no names for, through the C library.

This file and its neighbours ``launcher.py``, ``filesystem.py`` and ``seccomp.py`` run in a process
of their own, before a RUN's command, with the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36

# linux/capability.h
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` names for new ones."""
    _call("unshare", flags)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    data = os.fsencode(options) if options else None
    fstype = kind.encode() if kind else None
    try:
        _call(
            "mount",
            os.fsencode(source),
            os.fsencode(target),
            fstype,
            ctypes.c_ulong(flags),
            data,
        )
    except OSError as error:
        raise OSError(error.errno, f"mount {kind or 'of'} {target}: {error.strerror}") from error


def pivot_root(new_root: str) -> None:
    """Make ``new_root``, a mount, the root of this mount namespace."""
    os.chdir(new_root)
    # "." twice puts the old root on top of the new one, from where it can be taken away.
    if _libc.syscall(ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b".") != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"pivot_root: {os.strerror(number)}")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name this UTS namespace: sethostname(2)."""
    _call("sethostname", name.encode(), ctypes.c_size_t(len(name)))


def prctl(option: int, value: int = 0) -> None:
    """Set one attribute of this process."""
    zero = ctypes.c_ulong(0)
    _call("prctl", option, ctypes.c_ulong(value), zero, zero, zero)


def die_with_parent(signal_number: int) -> None:
    """Get this signal when the parent ends."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Let no program that is run gain rights, set-user-ID ones included."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_capabilities(names: list[str]) -> None:
    """Drop every capability but these, for good: capabilities(7)."""
    kept = {CAPABILITIES[name] for name in names}
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            try:
                prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                # Beyond the last one this kernel knows; or a container that may not drop any.
                if error.errno in (errno.EINVAL, errno.EPERM):
                    break
                raise
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = ctypes.create_string_buffer(24)
    _call("capget", header, data)
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    mask = sum(1 << number for number in kept) & (high << 32 | low)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    _call("capset", header, data)


def bring_loopback_up(address: str) -> None:
    """Set ``lo`` of a new network namespace up, with one more address: netdevice(7)."""
    import fcntl
    import socket

    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    set_address, set_netmask = 0x8916, 0x891C
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(channel, get_flags, request))[1]
        fcntl.ioctl(channel, set_flags, struct.pack("16sH14s", b"lo", flags | up, b""))
        for call, value in ((set_address, address), (set_netmask, "255.255.255.255")):
            where = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(channel, call, struct.pack("16s16s", b"lo:1", where))
