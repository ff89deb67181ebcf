"""Which port a process listens on, where it shares this machine's network: proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

_LISTEN = "0A"  # the state of a listening socket in /proc/net/tcp: linux/tcp_states.h


def listening_port(process: int) -> int | None:
    """Return the lowest port that a process, or one that descends from it, listens on."""
    inodes = {inode for pid in _descendants(process) for inode in _sockets(pid)}
    return min((port for port, inode in _listening() if inode in inodes), default=None)


def listening_ports() -> set[int]:
    """Return the ports that anybody in this network listens on."""
    return {port for port, _ in _listening()}


def _listening() -> list[tuple[int, str]]:
    """Return the ports that are listened on, each with the inode of its socket."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                found.append((int(fields[1].rpartition(":")[2], 16), fields[9]))
    return found


def _descendants(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = (
                    Path(f"/proc/{entry}/stat").read_text("utf-8", "replace").rpartition(")")[2]
                )
            except OSError:
                continue
            parents.setdefault(int(fields.split()[1]), []).append(int(entry))
    found = [process]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _sockets(pid: int) -> list[str]:
    """Return the inodes of a process's sockets."""
    found = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                found.append(target[8:-1])
    except OSError:
        pass
    return found
