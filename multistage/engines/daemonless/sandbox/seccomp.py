"""System call filters, written as the small programs that the kernel runs: seccomp(2).

Two are needed. proot 5.1 does not know the newer calls that take a path and lets them reach the
host's files: they are answered "no such call", and programs fall back to the older ones. And in
a user namespace with a single user, changing a file's owner is not possible: it is answered
"done", as ``fakeroot`` does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# linux/filter.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Calls by name: the numbers on x86_64 and on aarch64 (linux/unistd.h), None where it has none.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "statx": (332, 291),
    "openat2": (437, 437),
    "faccessat2": (439, 439),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "execveat": (322, 281),
    "fchmodat2": (452, 452),
    "io_uring_setup": (425, 425),
    "name_to_handle_at": (303, 264),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setgroups": (116, 159),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
}

# What proot 5.1.0 does not translate: its src/syscall/sysnums.list ends before these.
UNKNOWN_TO_PROOT = (
    "statx",
    "openat2",
    "faccessat2",
    "clone3",
    "close_range",
    "execveat",
    "fchmodat2",
    "io_uring_setup",
    "name_to_handle_at",
    "open_tree",
    "mount_setattr",
)
# What only works with several users: https://github.com/hpc/charliecloud, "root emulation".
OF_OTHER_USERS = (
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "setgroups",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
)


# proot 5.1.0 emulates brk(2), and shares the emulated heap between a process and what it starts
# with vfork(2): compilers crash (https://github.com/proot-me/proot/pull/119). It asks for the heap
# with an mmap of this length, and the descriptor -1 in 64 bits, where glibc passes 32. Refused, it
# tells the program that there is no brk, and malloc uses mmap instead.
_HEAP_LENGTH = 0x1001000
_MMAP = {"x86_64": 9, "aarch64": 222}
_LENGTH, _DESCRIPTOR_HIGH = 16 + 8 * 1, 16 + 8 * 4 + 4  # offsets in struct seccomp_data


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def answer(names: tuple[str, ...], error: int) -> None:
    """Answer these calls with ``error`` (0: done) from now on, in every program that follows.

    The process must have given up new privileges, or have the right to administer the machine.
    """
    _load(program(names, error, os.uname().machine))


def refuse_proots_heap() -> None:
    """Let no program have a heap that proot would share. Not for musl: see ``heap_program``."""
    _load(heap_program(os.uname().machine))


def _load(code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    filled = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filled), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def program(names: tuple[str, ...], error: int, machine: str) -> bytes:
    """Return the filter program: one 8-byte instruction after another.

    Calls of another architecture are let through: proot cancels a call by giving it the number
    -1, which libseccomp would take for one.
    """
    column = list(_AUDIT_ARCH).index(machine)
    numbers = [n for n in (_NUMBERS[name][column] for name in names) if n is not None]
    count = len(numbers)
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 0, count + 1, _AUDIT_ARCH[machine]),  # another one: to "allow"
        (_LOAD, 0, 0, _NUMBER),
        *((_JUMP_EQUAL, count - place, 0, n) for place, n in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | error),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def heap_program(machine: str) -> bytes:
    """Return the filter program that refuses proot's own mmap for a heap.

    musl passes -1 in 64 bits too: its programs could not have 16 MiB in one piece.
    """
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 0, 7, _AUDIT_ARCH[machine]),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_EQUAL, 0, 5, _MMAP[machine]),
        (_LOAD, 0, 0, _LENGTH),
        (_JUMP_EQUAL, 0, 3, _HEAP_LENGTH),
        (_LOAD, 0, 0, _DESCRIPTOR_HIGH),
        (_JUMP_EQUAL, 0, 1, 0xFFFFFFFF),
        (_RETURN, 0, 0, _ERRNO | errno.ENOMEM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


NO_SUCH_CALL = errno.ENOSYS
DONE = 0
