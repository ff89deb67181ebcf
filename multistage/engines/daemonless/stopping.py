"""Sends a signal to a container's main process, and has it act as the first of a container.

The first process of a PID namespace ignores every signal that it has no handler for:
pid_namespaces(7). Where a sandbox has no such namespace that is done here, before sending.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from multistage.engines.daemonless.sandbox import Sandbox

_ALWAYS = (signal.SIGKILL, signal.SIGSTOP)  # no process can ignore them


def send(sandbox: Sandbox, launcher: int, number: int) -> None:
    """Send a signal to what a launcher started, unless the first process would ignore it.

    What differs in chroot and proot: whether there is a handler is looked up a moment before the
    signal is sent; signals that the container's processes send to the main one are not held back;
    and proot notices up to half a second late that the main one has ended and left others running.
    """
    main = _main_process(sandbox, launcher)
    if main is None or not (sandbox.own_processes or _would_act(main, number)):
        return
    with suppress(ProcessLookupError):
        os.kill(main, number)


def main_has_ended(sandbox: Sandbox, launcher: int) -> bool:
    """Return whether proot's command has ended, and what it left running is yet to be ended."""
    if sandbox.kind != "proot":
        return False
    proot = _first_child(launcher)
    return proot is not None and _first_child(proot) is None


def _main_process(sandbox: Sandbox, launcher: int) -> int | None:
    """Return the container's main process, ``None`` where it has ended or not begun."""
    main = _first_child(launcher)
    return _first_child(main) if main and sandbox.kind == "proot" else main


def _first_child(process: int) -> int | None:
    """Return a process's eldest child. The others are a forwarder, and orphans it took in."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _would_act(process: int, number: int) -> bool:
    """Return whether a process has a handler for a signal, or waits for it with sigwait(3)."""
    if number in _ALWAYS:
        return True
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8", "replace").splitlines()
    except OSError:  # it has ended
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt:", "SigBlk:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
