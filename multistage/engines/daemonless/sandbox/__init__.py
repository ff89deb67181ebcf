"""Sandboxes: where a RUN's command runs, so that it sees the image's files and not this machine's.

Four kinds, best first. Which of them a machine allows is found out by trying, once. The command
is started by ``launcher.py``, a process of its own with the standard library alone; its neighbours
``kernel``, ``filesystem``, ``devices``, ``forwarding`` and ``seccomp`` are that process's too.
"""

from __future__ import annotations

from multistage.engines.daemonless.sandbox.commands import Command, Identity, Mount, Overlay
from multistage.engines.daemonless.sandbox.kinds import KINDS, Sandbox
from multistage.engines.daemonless.sandbox.probe import choose, probe
from multistage.engines.daemonless.sandbox.process import (
    FOLDER_STEP,
    Process,
    SandboxError,
    follow,
)

__all__ = [
    "FOLDER_STEP",
    "KINDS",
    "Command",
    "Identity",
    "Mount",
    "Overlay",
    "Process",
    "Sandbox",
    "SandboxError",
    "choose",
    "follow",
    "probe",
]
