"""What all RUNs of a build share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multistage.engines.daemonless.processes import Processes
from multistage.engines.daemonless.sandbox import Sandbox
from multistage.engines.daemonless.snapshots import Snapshots
from multistage.engines.daemonless.tree import Tree


@dataclass(frozen=True)
class Surroundings:
    """What all RUNs of a build share.

    Attributes:
        origin: gives the files of a stage, an image or, for ``None``, the build context.
        secrets: contents by ID.
    """

    sandbox: Sandbox
    snapshots: Snapshots
    session: Path
    origin: Callable[[int | str | None], Tree]
    secrets: Mapping[str, bytes]
    processes: Processes
