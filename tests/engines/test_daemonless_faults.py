"""What goes wrong around a build without a daemon: disks, damage, clocks, other builds, secrets."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from multistage.engines import Event
from multistage.engines.daemonless import DaemonlessEngine
from multistage.engines.daemonless.files import locked
from multistage.engines.events import BuildLog, StepFinished, StepLog, StepStarted
from multistage.errors import CourseError, LearnerError, MachineError
from multistage.images import read_archive
from tests.engines.daemonless import (
    base_archive,
    build,
    engine_in,
    faults,
    files_of,
    needs_stand_ins,
    output,
    processes_with,
    request,
    small_disk,
    start_build,
    wait_for,
    write,
)

pytestmark = needs_stand_ins
KINDS = ["root", "chroot", "user-namespaces", "proot"]
MEGABYTE = 1 << 20


@pytest.fixture
def engine(tmp_path: Path) -> DaemonlessEngine:
    return engine_in(tmp_path / "engine")


def steps(engine: DaemonlessEngine, context: Path, **build_args: str) -> dict[str, bool]:
    """Build; return which steps came from the cache, by their text without its place."""
    log = BuildLog()
    engine.build(request(context, build_args=build_args), log.add)
    return {e.step.name.partition("] ")[2] or e.step.name: e.cached for e in log.finished.values()}


# Full disks


BIG = "dd if=/dev/urandom of=/big bs=1M count=8 && echo whole"


@pytest.mark.parametrize(
    ("what", "dockerfile", "free"),
    [
        ("the base unpacked", "FROM alpine\n", MEGABYTE // 2),
        ("COPY", "FROM alpine\nCOPY big /big\n", 6 * MEGABYTE),
        ("packing", "FROM alpine\nCOPY big /big\n", 12 * MEGABYTE),
        ("RUN", f"FROM alpine\nRUN {BIG}\n", 6 * MEGABYTE),
        ("packing after RUN", f"FROM alpine\nRUN {BIG}\n", 14 * MEGABYTE),
    ],
)
@pytest.mark.parametrize("kind", ["root", "proot"])
def test_a_full_disk_is_said_and_nothing_is_left_half_done(
    kind: str, what: str, dockerfile: str, free: int, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", dockerfile)
    (context / "big").write_bytes(random.Random(1).randbytes(8 * MEGABYTE))
    with small_disk(tmp_path / "disk", "64m") as disk:
        engine = engine_in(disk / "engine", kind)
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - free))
        with pytest.raises(CourseError) as caught:
            build(engine, context)
        said = str(caught.value)
        if isinstance(caught.value, LearnerError):
            assert "No space left on device" in said, what
        else:
            assert "The disk is full." in said, what
        assert faults(engine) == []
        ballast.unlink()
        build(engine, context)
        assert faults(engine) == []
        wanted = {file[1] for file in files_of(engine)}
        assert "big" in wanted or what == "the base unpacked"


def test_a_disk_of_any_size_never_gives_a_wrong_image(tmp_path: Path) -> None:
    context = write(
        tmp_path / "context",
        "FROM alpine\nCOPY many /many\nRUN cp -r /many /more\nCOPY many /third\n",
    )
    (context / "many").mkdir()
    for number in range(40):
        (context / "many" / str(number)).write_bytes(random.Random(number).randbytes(50_000))
    good = engine_in(tmp_path / "good")
    build(good, context)
    wanted = files_of(good)
    moments = random.Random(2)
    with small_disk(tmp_path / "disk", "64m") as disk:
        for number in range(12):
            engine = engine_in(disk / "engine")
            with (disk / "ballast").open("wb") as file:
                free = moments.randrange(2 * MEGABYTE, 20 * MEGABYTE)
                file.write(bytes(shutil.disk_usage(disk).free - free))
            with pytest.raises(CourseError):
                for _ in range(20):  # until the disk is full
                    engine.build(request(context, no_cache=True))
            assert faults(engine) == [], number
            (disk / "ballast").unlink()
            shutil.rmtree(disk / "engine" / "images")
            engine = engine_in(disk / "engine")
            build(engine, context)
            assert files_of(engine) == wanted
            shutil.rmtree(disk / "engine")


# Damage


def blobs(engine: DaemonlessEngine) -> list[Path]:
    return sorted((engine.workshop.store.folder / "blobs" / "sha256").iterdir())


def flip(file: Path) -> None:
    """Change a file's content and not its size."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def fill_with_nonsense(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(100))


def empty(file: Path) -> None:
    file.write_bytes(b"")


SHAPES = ["[]", "{}", "null", '{"manifests": 1}', '{"manifests": [1, {}, {"digest": 2}]}',
          '{"manifests": [{"digest": "sha256:x", "annotations": []}]}', '{"delta": 1}',
          '{"delta": "../../x"}', '{"delta": "gone"}', '{"owner": 1, "owners": [], "removed": 2}',
          '{"owner": null, "owners": null, "removed": []}', '{"digest": 1, "size": "x"}',
          "[" * 100_000]  # fmt: skip


def build_until_it_works(engine: DaemonlessEngine, context: Path) -> int:
    """Build as a person does who is told what is wrong; return how often that was."""
    for attempt in range(4):
        if engine.labels("alpine:latest") is None:  # as prepare_bases does
            engine.load(base_archive())
        try:
            build(engine, context)
            with engine.save("test/faults:a") as stream:
                read_archive(stream)
            return attempt
        except MachineError as error:
            assert error.mend
    raise AssertionError("it never worked again")


def damages(engine: DaemonlessEngine) -> list[tuple[str, Callable[[], object]]]:
    """Return everything that can be damaged in an engine's folder, one at a time."""
    folder = engine.workshop.snapshots.folder
    store = engine.workshop.store.folder
    places = [*blobs(engine), store / "index.json", store / "oci-layout"]
    places += sorted(folder.glob("steps/*.json")) + sorted(folder.glob("deltas/*/*.json"))
    found: list[tuple[str, Callable[[], object]]] = []
    for place in places:
        for action in (flip, cut, fill_with_nonsense, empty, Path.unlink):
            found.append((f"{place.name} {action.__name__}", partial(action, place)))
    for delta in sorted(folder.glob("deltas/*")):
        if delta.name != "empty":
            found.append((f"{delta.name} gone", partial(shutil.rmtree, delta)))
            found.append((f"{delta.name}/fs gone", partial(shutil.rmtree, delta / "fs")))
    patterns = ("steps/*.json", "deltas/base-*/delta.json", "deltas/*/layer.json")
    for place in (store / "index.json", *(next(folder.glob(p)) for p in patterns)):
        found += [(f"{place.name} {s[:60]}", partial(place.write_text, s)) for s in SHAPES]
    return found


def a_small_stage(folder: Path) -> Path:
    return write(
        folder,
        "FROM alpine AS build\nCOPY a /a\nRUN echo b > /b && rm /etc/motd || true\n"
        "FROM alpine\nWORKDIR /w\nCOPY --from=build /a /b /w/\n",
        a="content of a",
    )


@pytest.mark.slow
def test_whatever_is_damaged_is_repaired_or_said(tmp_path: Path) -> None:
    context = a_small_stage(tmp_path / "context")
    good = engine_in(tmp_path / "good")
    build(good, context)
    wanted = files_of(good)
    names = [name for name, _ in damages(good)]
    assert len(names) > 100
    for number, name in enumerate(names):
        folder = tmp_path / "damaged"
        subprocess.run(["cp", "-a", tmp_path / "good", folder], check=True)
        engine = DaemonlessEngine("root", folder)
        damages(engine)[number][1]()
        assert build_until_it_works(engine, context) <= 1, name
        assert files_of(engine) == wanted, name
        build(engine, context)
        shutil.rmtree(folder)


def test_damage_that_nothing_asks_for_is_found_by_verify(tmp_path: Path) -> None:
    context = a_small_stage(tmp_path / "context")
    engine = engine_in(tmp_path / "engine")
    build(engine, context)
    assert faults(engine) == []
    layer = max(blobs(engine), key=lambda file: file.stat().st_size)
    flip(layer)
    assert any(layer.name in text for text in engine.workshop.store.verify())
    delta = next(engine.workshop.snapshots.folder.glob("deltas/base-*"))
    (delta / "delta.json").unlink()
    assert any(delta.name in text for text in engine.workshop.snapshots.verify())


def test_a_folder_of_another_user_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become someone else")
    folder = tmp_path / "multistage-course" / "daemonless"
    folder.mkdir(parents=True)
    for place in (folder, *folder.parents[:4]):
        place.chmod(0o755)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from multistage.errors import MachineError\n"
        "from multistage.engines.daemonless import DaemonlessEngine\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try: DaemonlessEngine('proot', Path({str(folder)!r}))\n"
        "except MachineError as error: print(error); sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stdout
    assert "rights" in done.stdout


def test_a_folder_that_is_read_only_is_said(tmp_path: Path) -> None:
    context = write(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    with small_disk(tmp_path / "disk", "16m") as disk:
        engine = DaemonlessEngine("root", disk / "engine")
        build(engine, context)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(MachineError, match="Read-only file system") as caught:
            build(engine, context)
        assert caught.value.mend
        with pytest.raises(MachineError, match="Read-only file system"):
            DaemonlessEngine("root", disk / "other")


def test_a_file_that_cannot_be_read_is_the_learner_s(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", "FROM scratch\nCOPY . /\n", a="a")
    (context / "loop").symlink_to("loop")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY loop/x /\n", "utf-8")
    with pytest.raises(LearnerError) as caught:
        build(engine, context)
    assert caught.value.where.endswith("Dockerfile:2")


@pytest.mark.parametrize(
    "text",
    [
        "COPY [[ /x",
        "COPY --exclude=[ . /x",
        "COPY --parents a/[ /x",
        r'COPY ["a\u0000b", "/x"]',
        r'COPY ["a", "/x\u0000"]',
        r'COPY ["a", "\u0000/"]',
        r'COPY ["\ud800", "/x"]',
        f"COPY {'x' * 300} /x",
        f"COPY a /{'x' * 300}",
        f"COPY a /new/{'x' * 300}/",
        f"WORKDIR /{'x' * 300}",
        f"WORKDIR {'/x' * 20}{('/' + 'x' * 200) * 20}",
    ],
)
@pytest.mark.parametrize("kind", ["root", "proot"])
def test_a_path_that_cannot_be_is_the_learner_s(kind: str, text: str, tmp_path: Path) -> None:
    context = write(tmp_path / "context", f"FROM alpine\n{text}\n", a="a")
    with pytest.raises(LearnerError) as caught:
        build(engine_in(tmp_path / "engine", kind), context)
    assert caught.value.where.endswith("Dockerfile:2")
    assert caught.value.mend
    assert str(tmp_path / "engine") not in str(caught.value)


def test_a_command_with_nul_in_its_name_is_not_there(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", 'FROM alpine\nCMD ["a\\u0000b"]\n')
    build(engine, context)
    finished = engine.run_command("test/faults:a", [])
    assert finished.exit_code == 127
    assert "executable file not found" in finished.output


def test_a_fault_of_whoever_uses_the_engine_is_not_the_disk_s(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", 'FROM alpine\nCMD ["sleep", "9"]\n')
    image = build(engine, context)
    for fault in (OSError(errno.ENOSPC, "full"), OSError(errno.EACCES, "no", "/elsewhere")):
        with pytest.raises(OSError, match=r"full|elsewhere"), engine.save(image):
            raise fault
        with pytest.raises(OSError, match=r"full|elsewhere"), engine.run(image, 80):
            raise fault
    with pytest.raises(FileNotFoundError):
        engine.export(image, tmp_path / "no-such-folder" / "image.tar")
    own = str(tmp_path / "engine" / "images" / "blob")
    with pytest.raises(MachineError, match=own), engine.save(image):
        raise OSError(errno.EIO, "damaged", own)
    with pytest.raises(MachineError) as caught:
        engine.load(tmp_path / "no-such.tar")
    assert caught.value.where == str(tmp_path / "no-such.tar")


# Clocks and the cache


def test_a_clock_that_goes_backwards_changes_nothing(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(
        tmp_path / "context", "FROM alpine\nCOPY a /a\nRUN cp /a /b && touch -d @9 /c\n", a="one"
    )
    future = time.time() + 10**7
    os.utime(context / "a", (future, future))
    build(engine, context)
    folder = engine.workshop.snapshots.folder.parent.parent
    for path in folder.rglob("*.json"):
        os.utime(path, (future, future))
    (context / "a").write_text("two", "utf-8")
    os.utime(context / "a", (9, 9))
    assert not steps(engine, context)["COPY a /a"]
    assert output(engine, "cat", "/a", "/b") == "twotwo"
    (context / "a").write_text("six", "utf-8")
    os.utime(context / "a", (9, 9))  # the same size and time as before
    build(engine, context)
    assert output(engine, "cat", "/a", "/b") == "sixsix"
    assert steps(engine, context)["COPY a /a"]
    assert faults(engine) == []


def test_the_cache_goes_by_content(engine: DaemonlessEngine, tmp_path: Path) -> None:
    context = write(tmp_path / "context", "FROM alpine\nCOPY . /app\n", a="a", b="b")
    copied = "COPY . /app"
    assert not steps(engine, context)[copied]
    os.utime(context / "a", (5, 5))
    assert steps(engine, context)[copied]
    (context / "a").chmod(0o755)
    assert not steps(engine, context)[copied]
    (context / "a").write_text("c", "utf-8")
    assert not steps(engine, context)[copied]
    (context / ".dockerignore").write_text("b\n", "utf-8")
    assert not steps(engine, context)[copied]
    assert steps(engine, context)[copied]
    (context / "b").write_text("ignored", "utf-8")
    assert steps(engine, context)[copied]
    (context / "link").symlink_to("a")
    assert not steps(engine, context)[copied]
    (context / "link").unlink()
    (context / "link").symlink_to("b")
    assert not steps(engine, context)[copied]
    (context / "link").rename(context / "other")
    assert not steps(engine, context)[copied]


@pytest.mark.parametrize("kind", KINDS)
def test_an_identical_artifact_keeps_what_copies_it(kind: str, tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "engine", kind)
    text = (
        "FROM alpine AS build\nRUN echo {} > /tmp/log && echo made > /made && touch -d @9 /made\n"
        "FROM alpine\nCOPY --from=build /made /made\nRUN cat /made > /seen\n"
    )
    context = write(tmp_path / "context", text.format("one"))
    build(engine, context)
    (context / "Dockerfile").write_text(text.format("two"), "utf-8")
    found = steps(engine, context)
    assert found["COPY --from=build /made /made"]
    assert found["RUN cat /made > /seen"]
    assert not found["RUN echo two > /tmp/log && echo made > /made && touch -d @9 /made"]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("ENV A=1", "ENV A=2", False),
        ("ENV A=1", "ENV A=1 B=1", False),
        ("USER 1", "USER 2", False),
        ("WORKDIR /x", "WORKDIR /y", False),
        ("ARG A=1", "ARG A=2", False),
        ('SHELL ["/bin/sh", "-c"]', 'SHELL ["/bin/sh", "-ec"]', False),
        ("LABEL a=1", "LABEL a=2", True),
        ("EXPOSE 80", "EXPOSE 81", True),
        ("# a comment", "# another", True),
        ("CMD a", "CMD b", True),
    ],
)
def test_what_a_run_depends_on(
    engine: DaemonlessEngine, before: str, after: str, kept: bool, tmp_path: Path
) -> None:
    text = "FROM alpine\n{}\nRUN id -u > /tmp/id\n"
    context = write(tmp_path / "context", text.format(before))
    build(engine, context)
    assert steps(engine, context)["RUN id -u > /tmp/id"]
    (context / "Dockerfile").write_text(text.format(after), "utf-8")
    assert steps(engine, context)["RUN id -u > /tmp/id"] is kept


def test_the_value_of_an_arg_counts_where_it_is_declared(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", "FROM alpine\nRUN echo before\nARG A\nRUN echo $A > /a\n")
    steps(engine, context, A="1")
    found = steps(engine, context, A="2")
    assert found["RUN echo before"]
    assert not found["RUN echo $A > /a"]
    assert output(engine, "cat", "/a").strip() == "2"


def test_a_secret_s_id_counts_and_its_content_does_not(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    run = "RUN --mount=type=secret,id={} cat /run/secrets/{} > /dev/null; date > /made"
    context = write(tmp_path / "context", f"FROM alpine\n{run.format('a', '*')}\n")

    def cached() -> bool:
        secrets = tuple(f"id={name},src={tmp_path / 'secret'}" for name in "ab")
        log = BuildLog()
        engine.build(request(context, secrets=secrets), log.add)
        return next(e.cached for e in log.finished.values() if "RUN" in e.step.name)

    (tmp_path / "secret").write_text("first", "utf-8")
    assert not cached()
    (tmp_path / "secret").write_text("second", "utf-8")
    assert cached()
    (context / "Dockerfile").write_text(f"FROM alpine\n{run.format('b', '*')}\n", "utf-8")
    assert not cached()


# Several builds, several stages


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    said = [process.communicate(timeout=120)[0] for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, text
    return said


@pytest.mark.parametrize("options", [(), ("no_cache",)])
@pytest.mark.parametrize("kind", KINDS)
def test_eight_builds_of_the_same_at_once(
    kind: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    engine = engine_in(tmp_path / "engine", kind)
    context = a_small_stage(tmp_path / "context")
    tags = [f"test/faults:n{number}" for number in range(8)]
    base = base_archive()
    finish(
        [
            start_build(tmp_path / "engine", context, *options, kind=kind, tag=tag, base=base)
            for tag in tags
        ]
    )
    found = [files_of(engine, tag) for tag in tags]
    assert all(files == found[0] for files in found)
    assert faults(engine) == []
    if not options:
        records = list(engine.workshop.snapshots.folder.glob("steps/*.json"))
        deltas = list(engine.workshop.snapshots.folder.glob("deltas/*"))
        assert len(deltas) == len(records) + 2  # the base, and the empty one


def test_eight_different_builds_at_once(tmp_path: Path) -> None:
    processes = []
    for number in range(8):
        context = write(
            tmp_path / f"context-{number}",
            f"FROM alpine\nCOPY a /a\nRUN echo {number} >> /a\n",
            a=str(number % 3),
        )
        tag = f"test/faults:n{number}"
        processes.append(start_build(tmp_path / "engine", context, tag=tag, base=base_archive()))
    finish(processes)
    engine = DaemonlessEngine("root", tmp_path / "engine")
    assert faults(engine) == []
    for number in range(8):
        said = output(engine, "cat", "/a", image=f"test/faults:n{number}")
        assert said.strip() == f"{number % 3}{number}"


def test_whoever_prunes_waits_for_the_builds(engine: DaemonlessEngine, tmp_path: Path) -> None:
    context = write(tmp_path / "context", "FROM alpine\nRUN sleep 1\n")
    process = start_build(tmp_path / "engine", context)
    lock = tmp_path / "engine" / "lock"
    wait_for(lambda: bool(processes_with("sleep 1")), 30)
    with pytest.raises(BlockingIOError), locked(lock, wait=False):
        pass
    with locked(lock):
        assert engine.labels("test/faults:a") is not None
        waiting = start_build(tmp_path / "engine", context)
        time.sleep(1)
        assert waiting.poll() is None
    finish([process, waiting])


def test_stages_run_side_by_side(engine: DaemonlessEngine, tmp_path: Path) -> None:
    context = write(
        tmp_path / "context",
        "FROM alpine AS one\nRUN sleep 1; echo 1 > /one\n"
        "FROM alpine AS two\nRUN sleep 1; echo 2 > /two\n"
        "FROM alpine\nRUN sleep 1; echo 3 > /three\n"
        "COPY --from=one /one /\nCOPY --from=two /two /\n",
    )
    log = BuildLog()
    build(engine, context, log.add)
    runs = [key for key, event in log.started.items() if "sleep" in event.step.name]
    assert len(runs) == 3
    last_start = max(log.started[key].at for key in runs)
    first_end = min(log.finished[key].at for key in runs)
    assert last_start < first_end
    copies = [key for key, event in log.started.items() if "COPY" in event.step.name]
    assert all(log.started[key].at >= first_end for key in copies)  # they wait before they start


def test_many_stages_that_wait_for_each_other(engine: DaemonlessEngine, tmp_path: Path) -> None:
    text = "FROM alpine AS s0\nRUN echo 0 > /f\n"
    for number in range(1, 12):
        text += f"FROM alpine AS s{number}\nCOPY --from=s{number - 1} /f /f\n"
        text += f"RUN echo {number} >> /f\n"
    context = write(tmp_path / "context", text)
    build(engine, context)
    assert output(engine, "cat", "/f").split() == [str(number) for number in range(12)]


# A RUN that fails


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_run_says_where_and_ends_the_others(kind: str, tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "engine", kind)
    mark = f"7{random.randrange(10**6, 10**7)}"
    context = write(
        tmp_path / "context",
        f"FROM alpine AS other\nRUN sleep {mark}\n\n"
        "FROM alpine\nRUN sleep 0.3; for n in $(seq 50); do echo line $n; done; echo bad >&2; "
        "exit 7\nCOPY --from=other /etc /there\n",
    )
    events: list[Event] = []
    began = time.monotonic()
    with pytest.raises(LearnerError) as caught:
        build(engine, context, events.append)
    assert time.monotonic() - began < 10
    error = caught.value
    assert error.where == f"{context / 'Dockerfile'}:5"
    assert "[stage-1 2/3] RUN sleep 0.3" in error.what
    assert "exit code: 7" in error.what
    assert error.what.endswith("bad")
    assert "line 1\n" not in error.what
    assert processes_with(mark) == []
    started = [event.step.id for event in events if isinstance(event, StepStarted)]
    finished = {event.step.id: event for event in events if isinstance(event, StepFinished)}
    assert sorted(started) == sorted(finished)
    assert sum(bool(event.error) for event in finished.values()) == 2
    assert faults(engine) == []


# Secrets


SECRET = "sesame-4d7f1c"


def holding(folder: Path, text: str) -> list[str]:
    """Return the files that hold a text; a build may be removing others."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            with contextlib.suppress(OSError):
                if file.is_file() and text.encode() in file.read_bytes():
                    found.append(str(file.relative_to(folder)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_nowhere_after_the_build_and_shown_to_nobody_else(
    kind: str, tmp_path: Path
) -> None:
    engine = engine_in(tmp_path / "engine", kind)
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    mark = f"0.{random.randrange(10**8, 10**9)}"
    context = write(
        tmp_path / "context",
        "FROM alpine\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B "
        f"test $(cat /run/secrets/a) = $B && sleep 1 && sleep {mark} && wc -c /run/secrets/a\n"
        "RUN echo second > /second; ls /run/secrets 2>/dev/null || true\n",
    )
    secrets = tuple(f"id={name},src={tmp_path / 'secret'}" for name in "ab")
    events: list[Event] = []
    thread = threading.Thread(
        target=lambda: engine.build(request(context, secrets=secrets), events.append)
    )
    thread.start()
    seen: set[str] = set()
    while thread.is_alive():
        seen |= set(processes_with(SECRET))
        seen |= {p for p in processes_with(SECRET, "environ") if "launcher.py" in command_of(p)}
        seen |= {p for p in holding(tmp_path / "engine", SECRET) if "/sessions/" not in p}
    thread.join()
    assert seen == set()
    assert any(isinstance(event, StepLog) and f"{len(SECRET)} " in event.text for event in events)
    assert SECRET not in repr(events)
    assert holding(tmp_path / "engine", SECRET) == []
    assert not any("run/secrets/" in str(file[1]) for file in files_of(engine))


def command_of(process: str) -> str:
    try:
        return (Path("/proc") / process.partition(":")[0] / "cmdline").read_text("utf-8")
    except OSError:
        return ""


def test_a_missing_secret_is_said_without_its_content(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    context = write(
        tmp_path / "context", "FROM alpine\nRUN --mount=type=secret,id=a,required=true true\n"
    )
    with pytest.raises(LearnerError, match="The secret a is required") as caught:
        build(engine, context)
    assert caught.value.where.endswith("Dockerfile:2")
    with pytest.raises(LearnerError, match="cannot be read"):
        engine.build(request(context, secrets=(f"id=a,src={tmp_path / 'none'}",)))


def test_the_index_is_that_of_an_oci_layout(engine: DaemonlessEngine, tmp_path: Path) -> None:
    build(engine, write(tmp_path / "context", "FROM scratch\nLABEL a=b\n"))
    index = json.loads((engine.workshop.store.folder / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert {entry["mediaType"] for entry in index["manifests"]} == {
        "application/vnd.oci.image.manifest.v1+json"
    }
