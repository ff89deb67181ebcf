"""What can be run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


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
        folder_owner: whose the working folder becomes where it is not there, and is made.
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
    folder_owner: Identity = Identity()
    own_network: bool = False
    forward: tuple[int, int] | None = None
    proxy: int | None = None
