"""A RUN that puts links in place of folders, or tampers with devices, does not reach this machine.

On Binder the machine's files are the learner's own, and a base image may be anybody's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest

from multistage.engines.daemonless import DaemonlessEngine
from multistage.errors import CourseError, LearnerError, MachineError
from tests.engines.daemonless import build, engine_in, faults, needs_stand_ins, output, write

pytestmark = needs_stand_ins
KINDS = ["root", "chroot", "user-namespaces", "proot"]
ATTACKS = {
    "a link for /dev": "RUN mv /dev /d2 && ln -s {victim} /dev",
    "a link for /sys": "RUN rmdir /sys && ln -s {victim} /sys",
    "a link for /dev, and another RUN": "RUN mv /dev /d2 && ln -s {victim} /dev\nRUN true",
    "a link above a tmpfs": (
        "RUN --mount=type=tmpfs,target=/s/keep mv /s /s2 && ln -s {victim} /s"
    ),
    "a link above a cache": (
        "RUN --mount=type=cache,id=q,target=/c/sub mv /c /c2 && ln -s {victim} /c"
    ),
    "a link for a cache": (
        "RUN --mount=type=cache,id=q,target=/c rm -r /c && ln -s {victim} /c\n"
        "RUN --mount=type=cache,id=q,target=/c rm -rf /c/*"
    ),
    "a link above a bound file": (
        "RUN --mount=type=bind,source=Dockerfile,target=/s/keep mv /s /s2 && ln -s {victim} /s"
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DaemonlessEngine:
    return engine_in(tmp_path_factory.mktemp("engine"), str(request.param))


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_link_that_leads_out_of_the_image_costs_this_machine_no_file(
    engine: DaemonlessEngine, attack: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "sub" / "b.txt").write_text("b", "utf-8")
    (victim / "thesis.txt").write_text("of years", "utf-8")
    (victim / "keep").touch()
    victim.chmod(0o777)
    before = content(victim)
    text = f"FROM alpine\n{attack.format(victim=victim)}\n"
    with contextlib.suppress(CourseError):  # some kinds refuse it, as Docker does
        build(engine, write(tmp_path / "context", text))
    assert content(victim) == before
    assert faults(engine) == []
    build(
        engine,
        write(tmp_path / "next", "FROM alpine\nRUN --mount=type=cache,id=q,target=/c ls /c\n"),
    )


@pytest.mark.parametrize("tampering", ["chmod 600 /dev/full", "echo '# x' >> /etc/resolv.conf"])
def test_devices_and_resolver_of_this_machine_cannot_be_changed(
    engine: DaemonlessEngine, tampering: str, tmp_path: Path
) -> None:
    mode, resolver = Path("/dev/full").stat().st_mode, Path("/etc/resolv.conf").read_bytes()
    text = f"FROM alpine\nRUN {tampering} || true\n"
    try:
        build(engine, write(tmp_path / "context", text))
        engine.run_command("test/faults:a", ["sh", "-c", tampering])
        assert Path("/dev/full").stat().st_mode == mode
        assert Path("/etc/resolv.conf").read_bytes() == resolver
    finally:
        if Path("/dev/full").stat().st_mode != mode:
            Path("/dev/full").chmod(stat.S_IMODE(mode))
        if Path("/etc/resolv.conf").read_bytes() != resolver:
            Path("/etc/resolv.conf").write_bytes(resolver)


def test_a_command_that_moves_a_mounts_folder_away_is_refused_without_mounts(
    tmp_path: Path,
) -> None:
    text = "FROM alpine\nRUN --mount=type=cache,id=q,target=/c/sub mv /c /c2 && ln -s /tmp /c\n"
    with pytest.raises(LearnerError, match="where something is mounted"):
        build(engine_in(tmp_path / "engine", "chroot"), write(tmp_path / "context", text))


def test_every_user_may_read_the_resolver_and_the_hosts_whatever_the_umask(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    text = "FROM alpine\nUSER 1000\nRUN cat /etc/resolv.conf /etc/hosts > /tmp/seen\n"
    umask = os.umask(0o077)
    try:
        build(engine, write(tmp_path / "context", text))
    finally:
        os.umask(umask)
    assert "localhost" in output(engine, "cat", "/tmp/seen")


# Locks of cache mounts

TWICE = (
    "--mount=type=cache,id=x,sharing=locked,target=/a "
    "--mount=type=cache,id=x,sharing=locked,target=/b"
)


@pytest.mark.timeout(60)
def test_one_locked_cache_at_two_places_does_not_wait_for_itself(
    engine: DaemonlessEngine, tmp_path: Path
) -> None:
    text = f"FROM alpine\nRUN {TWICE} echo seen > /a/x && cat /b/x > /y\n"
    if engine.workshop.sandbox.kind == "chroot":
        with pytest.raises(MachineError, match="at two places"):
            build(engine, write(tmp_path / "context", text))
    else:
        build(engine, write(tmp_path / "context", text))
        assert output(engine, "cat", "/y") == "seen"
    assert faults(engine) == []
