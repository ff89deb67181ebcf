"""Finds out by trying which kinds of sandbox this machine allows."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from multistage.engines.daemonless.paths import cache_folder
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.sandbox.commands import Command, Overlay
from multistage.engines.daemonless.sandbox.kinds import KINDS, Sandbox
from multistage.engines.daemonless.sandbox.process import SandboxError, follow
from multistage.errors import MachineError, UsageError

_NO_FOLDER = "The cache folder cannot be used"
_PREFIX = "probe-"
_OLDEST = 3600  # seconds: no trial takes as long, so a killed process has left what is older


@functools.cache
def probe() -> dict[str, str]:
    """Try every kind; return why it does not work, empty where it does, by kind."""
    if sys.platform != "linux":
        return dict.fromkeys(KINDS, "It needs Linux.")
    return {kind: _try(kind)[1] for kind in KINDS}


@functools.cache
def _try(kind: str) -> tuple[Sandbox | None, str]:
    """Return a sandbox of this kind as it works here, or why it does not."""
    if sys.platform != "linux":
        return None, "It needs Linux."
    if kind in ("root", "chroot") and os.geteuid() != 0:
        return None, "It needs root, and this is an ordinary user."
    if kind == "proot":
        return _try_proot()
    if kind == "chroot":
        return _first_that_works([Sandbox(kind)])
    options = ("userxattr",) if kind == "user-namespaces" else ()
    plain = ("index=off", "metacopy=off", "redirect_dir=off") if kind == "root" else options
    return _first_that_works(
        [
            Sandbox(kind, overlay=True, options=(*plain, "volatile")),
            Sandbox(kind, overlay=True, options=plain),
            Sandbox(kind),
        ]
    )


def _try_proot() -> tuple[Sandbox | None, str]:
    program = shutil.which("proot")
    if program is None:
        return None, "There is no proot on this machine: apt-get install proot"
    sandbox = Sandbox("proot", accelerated=_is_accelerated(program))
    reason = _trial(sandbox, Command(["/bin/true"], dict(os.environ), root=Path("/")))
    return (None, reason) if reason else (sandbox, "")


def _is_accelerated(program: str) -> bool:
    """Return whether a proot was built to let the kernel pass the calls it does not translate.

    Those of Debian and Ubuntu are not: 5.1 crashed with it, see
    https://github.com/proot-me/proot/issues/106. Since 5.2 it works; ``binder/proot.sh`` has one.
    """
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return "seccomp_filter = yes" in done.stdout


def _first_that_works(sandboxes: list[Sandbox]) -> tuple[Sandbox | None, str]:
    reason = ""
    for sandbox in sandboxes:
        reason = _trial(sandbox, None)
        if not reason:
            return sandbox, ""
    return None, reason


def _trial(sandbox: Sandbox, command: Command | None) -> str:
    """Enter a sandbox and leave; return what went wrong, empty if nothing did."""
    said: list[bytes] = []
    try:
        with _folder(cache_folder()) as folder:
            process = sandbox.start(command or _nothing(sandbox, folder), folder)
            code = follow(process, said.append)
    except SandboxError as error:
        return f"The kernel refuses {error.step}: {error.reason}."
    except OSError as error:
        return f"{_NO_FOLDER}: {error}."
    if code:
        return f"It ends with exit code {code}: {b''.join(said).decode('utf-8', 'replace')}"
    return ""


def _nothing(sandbox: Sandbox, folder: Path) -> Command:
    for name in ("lower", "upper", "work"):
        (folder / name).mkdir()
    if not sandbox.overlay:
        return Command(None, root=folder / "lower")
    overlay = Overlay(
        str(folder), ("lower",), str(folder / "upper"), str(folder / "work"), sandbox.options
    )
    return Command(None, overlay=overlay)


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLDEST:
                remove_tree(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        remove_tree(folder)


def choose(kind: str | None = None) -> Sandbox:
    """Return the sandbox of a kind, or the best one of this machine.

    Raises:
        UsageError: there is no such kind.
        MachineError: it does not work here, or none does; says why.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"There is no sandbox called {kind}.", mend=f"Kinds: {', '.join(KINDS)}.")
    reasons = []
    for candidate in KINDS if kind is None else (kind,):
        sandbox, reason = _try(candidate)
        if sandbox is not None:
            return sandbox
        reasons.append(f"{candidate}: {reason}")
    raise MachineError(
        f"No sandbox for RUN works on this machine. {' '.join(reasons)}",
        mend="Check the cache folder and its rights."
        if all(_NO_FOLDER in reason for reason in reasons)
        else "Install proot (apt-get install proot), or allow user namespaces.",
    )
