"""What `multistage prune` finds and removes, on real builds of the daemonless engine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from multistage.engines import BuildRequest
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.daemonless.prune import leftovers, remove
from multistage.engines.daemonless.store import locked
from multistage.errors import MachineError

DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engine"


@pytest.fixture
def engine(folder: Path) -> DaemonlessEngine:
    return DaemonlessEngine(folder=folder)


def built(engine: DaemonlessEngine, context: Path, content: str, tag: str = "app") -> str:
    context.mkdir(exist_ok=True)
    (context / "file").write_text(content, "utf-8")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n", "utf-8")
    return engine.build(BuildRequest(context, context / "Dockerfile", tag))


def made_older(folder: Path, days: float) -> None:
    """Set the times of all that is kept back, as if nothing had been used since."""
    moment = time.time() - days * DAY
    for path in folder.rglob("*"):
        os.utime(path, (moment, moment), follow_symlinks=False)


def test_what_was_just_built_stays(engine: DaemonlessEngine, folder: Path, tmp_path: Path) -> None:
    built(engine, tmp_path / "context", "new")
    assert leftovers(7, folder=folder) == ()


def test_an_image_that_lost_its_name_goes_with_its_layers(
    engine: DaemonlessEngine, folder: Path, tmp_path: Path
) -> None:
    first = built(engine, tmp_path / "context", "first")
    made_older(folder, 8)
    second = built(engine, tmp_path / "context", "second")
    found = leftovers(7, folder=folder)
    assert {leftover.kind for leftover in found} == {"image", "layer", "build step"}
    freed = remove(found, folder)
    assert freed == sum(leftover.size for leftover in found) > 0
    assert engine.labels(first) is None
    assert engine.labels(second) is not None
    with engine.save(second) as stream:  # whole
        assert stream.read()
    assert leftovers(7, folder=folder) == ()


def test_a_named_image_stays_however_old_it_is_and_can_be_built_on(
    engine: DaemonlessEngine, folder: Path, tmp_path: Path
) -> None:
    image = built(engine, tmp_path / "context", "kept")
    made_older(folder, 100)
    remove(leftovers(7, folder=folder), folder)
    assert engine.labels(image) is not None
    child = tmp_path / "child"
    child.mkdir()
    (child / "Dockerfile").write_text("FROM app\nCOPY Dockerfile /\n", "utf-8")
    assert engine.build(BuildRequest(child, child / "Dockerfile", "child"))


def test_the_build_cache_shrinks_to_what_may_stay_oldest_first(
    engine: DaemonlessEngine, folder: Path, tmp_path: Path
) -> None:
    built(engine, tmp_path / "one", "1" * 100_000, "one")
    made_older(folder, 1)
    built(engine, tmp_path / "two", "2" * 100_000, "two")
    found = [x for x in leftovers(7, keep=150_000, folder=folder) if x.kind == "build step"]
    assert len(found) == 1
    assert found[0].age > DAY / 2
    remove(tuple(found), folder)
    assert built(engine, tmp_path / "one", "1" * 100_000, "one")  # done anew


def test_nothing_is_removed_under_a_running_build(
    engine: DaemonlessEngine, folder: Path, tmp_path: Path
) -> None:
    built(engine, tmp_path / "context", "new")
    found = leftovers(0, keep=0, folder=folder)
    with locked(folder / "lock", shared=True), pytest.raises(MachineError, match="is running"):
        remove(found, folder)
    assert built(engine, tmp_path / "context", "new")
