"""A build that another thread cancels leaves no process and no mount, and the next one works."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multistage.engines import BuildRequest, Cancellation, Engine
from multistage.engines.cancelling import cancellable
from multistage.engines.daemonless.sandbox.kinds import KINDS
from multistage.engines.docker import DockerEngine
from multistage.errors import BuildCancelledError
from tests.engines.conftest import BASE
from tests.engines.daemonless import (
    engine_in,
    faults,
    mounts_below,
    needs_stand_ins,
    processes_with,
    wait_for,
    write,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
_SOON = 5.0  # seconds


def request(context: Path, cancelled: Cancellation | None = None) -> BuildRequest:
    return BuildRequest(
        context,
        context / "Dockerfile",
        "test/cancel:a",
        no_cache=True,
        cancelled=cancelled or Cancellation(),
    )


@contextmanager
def cancelling(cancelled: Cancellation, when: Callable[[], bool]) -> Iterator[None]:
    """Cancel as soon as something has come to pass; the block must end soon after."""
    at = []

    def cancel() -> None:
        wait_for(when, 60)
        at.append(time.monotonic())
        cancelled.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert time.monotonic() - at[0] < _SOON


def sleeping(engine: Engine, context: Path, base: str, mark: str) -> None:
    """Cancel a build whose RUN sleeps; assert that it has ended, and that the next one works."""
    write(context, f"FROM {base} AS build\nRUN sleep {mark}\nFROM {base}\nCOPY --from=build / /\n")
    cancelled = Cancellation()
    with (
        pytest.raises(BuildCancelledError),
        cancelling(cancelled, lambda: bool(processes_with(f"sleep {mark}"))),
    ):
        engine.build(request(context, cancelled))
    wait_for(lambda: not processes_with(f"sleep {mark}") and not processes_with(str(context)))
    write(context, f"FROM {base}\nRUN echo works\n")
    assert engine.build(request(context))


@pytest.mark.docker
def test_a_cancelled_build_on_docker(engine: DockerEngine, context: Path) -> None:
    sleeping(engine, context, BASE, "72345")


@pytest.mark.docker
def test_a_build_that_is_cancelled_before_it_begins_on_docker(
    engine: DockerEngine, context: Path
) -> None:
    write(context, f"FROM {BASE}\nRUN sleep 72346\n")
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(BuildCancelledError):
        engine.build(request(context, cancelled))
    wait_for(lambda: not processes_with("sleep 72346"))


@pytest.mark.docker
def test_a_cancelled_build_of_the_classic_builder_ends_at_its_next_message(
    engine: DockerEngine, context: Path
) -> None:
    engine._buildx = False
    mark = "72381"
    write(context, f"FROM {BASE}\nRUN for n in $(seq {mark}); do echo $n; sleep 0.2; done\n")
    cancelled = Cancellation()
    with (
        pytest.raises(BuildCancelledError),
        cancelling(cancelled, lambda: bool(processes_with(f"seq {mark}"))),
    ):
        engine.build(request(context, cancelled))
    wait_for(lambda: not processes_with(f"seq {mark}"), 30)


@needs_stand_ins
@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_build_without_a_daemon(tmp_path: Path, kind: str) -> None:
    engine = engine_in(tmp_path / "engine", kind)
    mark = f"7235{list(KINDS).index(kind)}"
    sleeping(engine, tmp_path / "context", "alpine", mark)
    assert not mounts_below(tmp_path)
    assert not faults(engine)
    assert not [t for t in threading.enumerate() if t.name.startswith(("stage", "pack"))]


@needs_stand_ins
def test_a_build_that_is_cancelled_before_it_begins_without_a_daemon(tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "engine")
    context = write(tmp_path / "context", "FROM alpine\nRUN sleep 72360\n")
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(BuildCancelledError):
        engine.build(request(context, cancelled))
    assert not processes_with("sleep 72360")
    assert not faults(engine)


def waiting(engine: Engine, context: Path, base: str, mark: str) -> None:
    """Cancel while a container runs; assert that it ends although nobody leaves the block."""
    write(context, f'FROM {base}\nCMD ["sleep", "{mark}"]\n')
    image = engine.build(request(context))
    cancelled = Cancellation()
    with pytest.raises(BuildCancelledError), cancellable(engine, cancelled).run(image, 80) as run:
        wait_for(lambda: bool(processes_with(f"sleep {mark}")))
        cancelled.cancel()
        wait_for(lambda: not processes_with(f"sleep {mark}"))
        run.exit_code()


@pytest.mark.docker
def test_cancelling_ends_a_container_on_docker(engine: DockerEngine, context: Path) -> None:
    waiting(engine, context, BASE, "72371")


@needs_stand_ins
def test_cancelling_ends_a_container_without_a_daemon(tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "engine")
    before = threading.active_count()
    waiting(engine, tmp_path / "context", "alpine", "72372")
    assert not mounts_below(tmp_path)
    wait_for(lambda: threading.active_count() <= before)  # also those that serve its proxy
