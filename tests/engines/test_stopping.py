"""A container that is stopped: every engine and sandbox ends it where ``docker stop`` does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multistage.engines import BuildRequest, Engine, RunningContainer
from multistage.engines.daemonless.sandbox import KINDS
from tests.engines.conftest import HOSTS
from tests.engines.daemonless import (
    BASE,
    any_engine,
    engine_in,
    needs_stand_ins,
    processes_with,
    wait_for,
)

pytestmark = [pytest.mark.docker, needs_stand_ins]
LOOP = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture(scope="module", params=[*(sorted(HOSTS) or ["docker"]), *KINDS])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Return each Docker Engine and each sandbox in turn, with the base image of the tests."""
    if request.param in KINDS:
        yield engine_in(tmp_path_factory.mktemp("engine"), request.param)
        return
    with pytest.MonkeyPatch.context() as patch:
        if request.param in HOSTS:
            patch.setenv("DOCKER_HOST", HOSTS[request.param])
        yield any_engine("docker", tmp_path_factory)


@contextmanager
def running(engine: Engine, folder: Path, *lines: str) -> Iterator[RunningContainer]:
    """Run an image of these lines as soon as it has said that it is ready."""
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines, ""]), "utf-8")
    image = engine.build(BuildRequest(folder, folder / "Dockerfile", "multistage/test:stops"))
    with engine.run(image, 8080) as container:
        wait_for(lambda: "ready" in container.logs(), 30)
        yield container


@pytest.mark.parametrize(
    ("lines", "exit_code"),
    [
        ([f'CMD ["sh", "-c", "trap \'exit 5\' TERM; {LOOP}"]'], 5),
        ([f"CMD trap 'exit 5' TERM; {LOOP}"], 5),
        (["STOPSIGNAL SIGQUIT", f"CMD trap '' TERM; trap 'exit 6' QUIT; {LOOP}"], 6),
        (["STOPSIGNAL 10", f"CMD trap 'exit 7' USR1; {LOOP}"], 7),
        (["STOPSIGNAL RTMIN+3", f"CMD trap 'exit 8' 37; {LOOP}"], 8),
        (["USER 65532:65532", f"CMD trap 'exit 9' TERM; {LOOP}"], 9),
    ],
    ids=["exec form", "shell form", "SIGQUIT", "number", "real time", "another user"],
)
def test_what_handles_its_stop_signal_ends(
    engine: Engine, tmp_path: Path, lines: list[str], exit_code: int
) -> None:
    with running(engine, tmp_path, *lines) as container:
        seconds = container.stop(10)
        assert seconds is not None
        assert 0 < seconds < 10
        assert container.exit_code() == exit_code
        assert container.stop(10) == 0


def test_nothing_can_ignore_the_last_resort(engine: Engine, tmp_path: Path) -> None:
    with running(engine, tmp_path, "STOPSIGNAL KILL", f"CMD trap '' TERM; {LOOP}") as container:
        assert container.stop(10) is not None
        assert container.exit_code() is not None  # 137, which proot loses


@pytest.mark.parametrize(
    "lines",
    [
        ["CMD echo ready; sleep 100; true"],
        ['CMD ["sh", "-c", "echo ready; exec sleep 100"]'],
        [f"CMD trap '' TERM; {LOOP}"],
        ["STOPSIGNAL SIGQUIT", f"CMD trap 'exit 5' TERM; {LOOP}"],
        [f"CMD sh -c \"trap 'exit 5' TERM; {LOOP}\"; true"],
    ],
    ids=["a shell", "no handler", "ignored", "another signal", "a handler in its child"],
)
def test_what_does_not_handle_its_stop_signal_runs_on_until_it_is_killed(
    engine: Engine, tmp_path: Path, lines: list[str]
) -> None:
    mark = f"multistage-mark-{time.monotonic_ns()}"
    with running(engine, tmp_path, f"ENV MARK={mark}", *lines) as container:
        started = time.monotonic()
        assert container.stop(1) is None
        assert 1 <= time.monotonic() - started < 8
        assert container.exit_code() is None
        assert processes_with(mark, "environ")
    wait_for(lambda: not processes_with(mark, "environ"))


def test_a_signal_that_is_ignored_here_is_not_ignored_in_the_container(
    engine: Engine, tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as in a shell's background
    try:
        line = f"CMD trap 'exit 6' QUIT; {LOOP}"
        with running(engine, tmp_path, "STOPSIGNAL SIGQUIT", line) as container:
            assert container.stop(10) is not None
            assert container.exit_code() == 6
    finally:
        signal.signal(signal.SIGQUIT, before)
