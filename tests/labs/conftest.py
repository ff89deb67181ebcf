"""Labs built for real: each once for all tests, on the engine that ``choose`` finds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from multistage.builds import Build, build
from multistage.engines import Engine, choose
from multistage.labs import ROOT, LabFolder, labs

LABS = {lab.name: lab for lab in labs()}
SOLUTIONS = sorted(
    (file.parent.parent.name, file.parent.name) for file in ROOT.glob("solutions/*/*/Dockerfile")
)
Built = Callable[[LabFolder, Path], Build]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return the engine of this machine."""
    return choose()


@pytest.fixture(scope="session")
def built(engine: Engine) -> Built:
    """Return a function that builds a Dockerfile over a lab's app, once for each of them."""

    @cache
    def once(lab: LabFolder, dockerfile: Path) -> Build:
        tag = f"multistage/test-{lab.name}:{dockerfile.parent.name}"
        return build(engine, lab.app, tag=tag, dockerfile=dockerfile)

    return once
