"""A build that is killed at any moment leaves nothing running, and nothing half done."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multistage.bases.build import cache_folder
from tests.engines.daemonless import (
    base_archive,
    build,
    engine_in,
    faults,
    mounts_below,
    needs_stand_ins,
    output,
    processes_with,
    skip_without,
    start_build,
    wait_for,
    write,
)

pytestmark = needs_stand_ins
KILLS = int(os.environ.get("MULTISTAGE_KILLS", "100"))
FEWER_KILLS = 15 * KILLS // 100
FILES = 300


def a_build(folder: Path, mark: str) -> Path:
    """Return a context whose build does everything that can be cut short."""
    context = write(
        folder,
        f"""FROM alpine AS build
COPY many /many
RUN sleep {mark} & set -e; cat /many/* > /all; cp -r /many /more; sleep 0.05; kill $!
FROM alpine
COPY --from=build /all /all
COPY many /many
RUN rm /many/1; mkdir /made; for n in $(seq 100); do echo $n > /made/$n; done
""",
    )
    (context / "many").mkdir()
    for number in range(FILES):
        (context / "many" / str(number)).write_text(f"{number}\n" * 300, "utf-8")
    return context


def killed_after(
    seconds: float, engine: Path, context: Path, kind: str, mark: str
) -> tuple[int, list[str]]:
    """Kill a build after so many seconds; return its exit code, and what outlives it by 2 s."""
    process = start_build(engine, context, kind=kind, base=base_archive(), mark=f"launcher-{mark}")
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 2
    while left := [*processes_with(mark), *processes_with(f"launcher-{mark}", "environ")]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return process.returncode, [*left, *mounts_below(engine)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "kills"),
    [("root", KILLS), ("chroot", FEWER_KILLS), ("user-namespaces", FEWER_KILLS),
     ("proot", FEWER_KILLS)],
)  # fmt: skip
def test_a_killed_build_leaves_nothing_and_the_next_one_works(
    kind: str, kills: int, tmp_path: Path
) -> None:
    skip_without(kind)
    mark = f"7{random.randrange(10**6, 10**7)}"  # seconds: no other process sleeps that long
    context = a_build(tmp_path / "context", mark)
    began = time.monotonic()
    whole = start_build(tmp_path / "whole", context, kind=kind, base=base_archive())
    said, _ = whole.communicate(timeout=60)
    duration = time.monotonic() - began
    assert whole.returncode == 0, said
    moments = random.Random(4)
    in_time = 0
    for number in range(kills):
        folder = tmp_path / str(number)
        moment = moments.uniform(0.1, 1) * duration
        code, left = killed_after(moment, folder, context, kind, mark)
        assert left == [], f"killed after {moment:.3f} s of {duration:.3f} s"
        in_time += code == -signal.SIGKILL
        engine = engine_in(folder, kind)
        build(engine, context)
        assert faults(engine) == [], f"killed after {moment:.3f} s of {duration:.3f} s"
        if number % 10 == 0:
            assert output(engine, "sh", "-c", "ls /many /made | wc -l").strip() == "402"
        shutil.rmtree(folder)
    assert in_time >= kills * 2 // 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("kind", ["root", "chroot", "user-namespaces", "proot"])
def test_an_interrupted_build_leaves_nothing(
    kind: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    cache = tmp_path / "multistage-course" / "daemonless"
    engine_in(cache, kind)
    (cache.parent / "bases").symlink_to(cache_folder())  # the stand-ins that are there
    mark = f"7{random.randrange(10**6, 10**7)}"
    context = write(
        tmp_path / "context",
        f"FROM alpine AS other\nRUN sleep {mark}\n"
        f"FROM alpine\nRUN sleep {mark} & sleep {mark}\nCOPY --from=other /etc /there\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "multistage", "build", str(context), "--engine", "daemonless"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "MULTISTAGE_SANDBOX": kind},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(processes_with(f"sleep {mark}")) >= 3, 30)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in said
    wait_for(lambda: not processes_with(mark), 2)
    assert mounts_below(cache) == []
    assert faults(engine_in(cache, kind)) == []


def test_a_build_that_waits_for_another_one_s_step_can_be_interrupted(tmp_path: Path) -> None:
    engine_in(tmp_path / "engine")
    mark = f"7{random.randrange(10**6, 10**7)}"
    context = write(tmp_path / "context", f"FROM alpine\nRUN sleep {mark}\n")
    first = start_build(tmp_path / "engine", context)
    try:
        wait_for(lambda: bool(processes_with(f"sleep {mark}")), 30)
        second = start_build(tmp_path / "engine", context, tag="test/faults:b")
        time.sleep(1)
        assert second.poll() is None
        second.send_signal(signal.SIGINT)
        said, _ = second.communicate(timeout=5)
        assert "KeyboardInterrupt" in said
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=10)
