"""What the mounts of a RUN show: made ready before its command starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from multistage.engines.daemonless.copy import materialize
from multistage.engines.daemonless.files import locked
from multistage.engines.daemonless.mounts import RunMount
from multistage.engines.daemonless.plan import SCRIPT_FOLDER, CopyStep, RunStep
from multistage.engines.daemonless.sandbox import Mount, Sandbox
from multistage.engines.daemonless.surroundings import Surroundings
from multistage.errors import LearnerError

_HOSTS = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def ready_mounts(
    step: RunStep,
    surroundings: Surroundings,
    folder: Path,
) -> tuple[list[Mount], dict[str, str]]:
    """Return the mounts of a RUN, made ready, and the variables that hold secrets."""
    mounts = [Mount("/etc/hosts", str(_readable(folder / "hosts", _HOSTS)), read_only=True)]
    mounts += resolver(folder)
    variables: dict[str, str] = {}
    for number, mount in enumerate(step.mounts):
        place = folder / str(number)
        if mount.kind == "tmpfs":
            mounts.append(_tmpfs(mount, place, surroundings.sandbox))
        elif mount.kind == "secret":
            owners = surroundings.sandbox.keeps_owners
            _secret(mount, place, surroundings.secrets, mounts, variables, keeps_owners=owners)
        elif mount.kind == "cache":
            source = _cache_folder(mount, surroundings)
            if source.is_symlink():  # a command without mounts can put one in its place
                source.unlink()
            if not source.exists():
                _make_cache(mount, source, surroundings)
            os.utime(source)
            mounts.append(Mount(mount.target, str(source), read_only=mount.read_only))
        else:
            source = _bound(mount, place, surroundings)
            mounts.append(Mount(mount.target, str(source), read_only=mount.read_only))
    if step.script is not None:
        name, content = step.script
        (folder / "pipes").mkdir()
        (folder / "pipes" / name).write_text(content, "utf-8")
        (folder / "pipes" / name).chmod(0o755)
        mounts.append(Mount(SCRIPT_FOLDER, str(folder / "pipes"), read_only=True))
    return mounts, variables


def resolver(folder: Path) -> list[Mount]:
    """Return the mount of a copy of this machine's resolver file, in ``folder``.

    Where nothing can be mounted read-only, a command could else write to this machine's.
    """
    own = Path("/etc/resolv.conf")
    if not own.exists():
        return []
    copy = _readable(folder / "resolv.conf", own.read_text("utf-8", errors="replace"))
    return [Mount(str(own), str(copy), read_only=True)]


def _readable(file: Path, text: str) -> Path:
    file.write_text(text, "utf-8")
    file.chmod(0o644)  # for every user of the image, whatever the umask
    return file


def _tmpfs(mount: RunMount, place: Path, sandbox: Sandbox) -> Mount:
    if sandbox.own_network:  # these two kinds can mount
        return Mount(mount.target, kind="tmpfs", size=mount.size)
    place.mkdir(mode=0o777)
    return Mount(mount.target, str(place))


def _secret(
    mount: RunMount,
    place: Path,
    secrets: Mapping[str, bytes],
    mounts: list[Mount],
    variables: dict[str, str],
    *,
    keeps_owners: bool,
) -> None:
    content = secrets.get(mount.id)
    if content is None:
        if mount.required:
            raise LearnerError(
                f"The secret {mount.id} is required and not given.",
                mend=f"Build with --secret id={mount.id},src=<file>",
            )
        return
    if mount.variable:
        variables[mount.variable] = content.decode("utf-8", "replace")
    if mount.target:
        handle = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mount.mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if keeps_owners:
            os.chown(place, mount.user, mount.group)
        mounts.append(Mount(mount.target, str(place), read_only=True))


def _cache_folder(mount: RunMount, surroundings: Surroundings) -> Path:
    known = json.dumps([mount.id, str(mount.origin), mount.source])
    name = hashlib.sha256(known.encode()).hexdigest()[:24]
    return surroundings.snapshots.folder.parent / "caches" / f"{surroundings.sandbox.kind}-{name}"


@contextlib.contextmanager
def locked_caches(step: RunStep, surroundings: Surroundings) -> Iterator[None]:
    """Hold the folders of all cache mounts of a RUN, alone where one must not be shared.

    Each is locked once, and all RUNs lock in the same order: so none waits for another for ever.
    """
    alone: dict[Path, bool] = {}
    for mount in step.mounts:
        if mount.kind == "cache":
            folder = _cache_folder(mount, surroundings)
            # Without mounts the folder is moved into the image for the time of the RUN.
            moved = surroundings.sandbox.kind == "chroot"
            alone[folder] = alone.get(folder, False) or moved or mount.sharing != "shared"
    with contextlib.ExitStack() as stack:
        for folder in sorted(alone):
            file = folder.with_name(f"{folder.name}.lock")
            check = surroundings.processes.check
            stack.enter_context(locked(file, shared=not alone[folder], check=check))
        yield


def _make_cache(mount: RunMount, folder: Path, surroundings: Surroundings) -> None:
    """Make a cache mount's folder, whole or not at all."""
    aside = Path(tempfile.mkdtemp(prefix="cache-", dir=surroundings.session))
    if mount.origin is not None:
        _materialize(mount, aside, surroundings)
    aside.chmod(mount.mode)
    if surroundings.sandbox.keeps_owners:
        os.chown(aside, mount.user, mount.group)
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another build was first
            raise


def _bound(mount: RunMount, place: Path, surroundings: Surroundings) -> Path:
    """Return what a bind mount shows: a copy, so that nothing of the origin can be changed."""
    origin = surroundings.origin(mount.origin)
    entry = origin.lookup(origin.resolve(mount.source))
    if entry is None:
        raise LearnerError(
            f"{mount.source} is not there to be mounted.", mend="Check the mount's source."
        )
    place.mkdir()
    _materialize(mount, place, surroundings)
    return place / os.path.basename(mount.source) if entry.is_file else place


def _materialize(mount: RunMount, place: Path, surroundings: Surroundings) -> None:
    origin, keeps_owners = surroundings.origin(mount.origin), surroundings.sandbox.keeps_owners
    materialize(taking(mount), origin, place, keeps_owners=keeps_owners)


def taking(mount: RunMount) -> CopyStep:
    """Return the COPY that takes what a bind mount shows."""
    return CopyStep("COPY", mount.origin, (mount.source,), "/")
