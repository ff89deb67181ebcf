"""RUN: what its command sees, the command itself, and what it changed."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.copy import digest, materialize, select
from multistage.engines.daemonless.faults import explained
from multistage.engines.daemonless.lending import lent
from multistage.engines.daemonless.mounts import RunMount
from multistage.engines.daemonless.plan import SCRIPT_FOLDER, CopyStep, RunStep
from multistage.engines.daemonless.processes import Processes
from multistage.engines.daemonless.sandbox import (
    Command,
    Identity,
    Mount,
    Sandbox,
    SandboxError,
    follow,
)
from multistage.engines.daemonless.snapshots import Snapshots, remove_tree
from multistage.engines.daemonless.store import locked
from multistage.engines.daemonless.tree import Delta, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_identity, home
from multistage.engines.daemonless.workspace import Workspace
from multistage.errors import LearnerError, MachineError

_NO_NETWORK = "none"
_SYSTEM = ("/dev", "/proc", "/sys")
_HOSTS = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"


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


def run_key(step: RunStep, surroundings: Surroundings) -> list[object]:
    """Return what the result of a RUN depends on, besides the files it starts from."""
    mounts: list[object] = []
    for mount in step.mounts:
        content = ""
        if mount.kind == "bind":
            taken = _taking(mount)
            content = digest(taken, select(taken, surroundings.origin(mount.origin)))
        origin = mount.origin if isinstance(mount.origin, str) else ""
        known = asdict(replace(mount, origin=origin))  # of a secret its name, never its content
        mounts.append([known, content])
    return [
        "RUN", step.argv, sorted(step.environment.items()), step.folder, step.user,
        step.network == _NO_NETWORK, mounts, step.script,
    ]  # fmt: skip


def run(
    step: RunStep,
    deltas: list[Delta],
    workspace: Workspace,
    surroundings: Surroundings,
    tell: Callable[[str], None],
    *,
    last: bool,
) -> Delta | None:
    """Run a command on the files of ``deltas``; return what it changed, ``None`` for nothing.

    Raises:
        LearnerError: the command failed, or cannot be run as it says.
        MachineError: the sandbox cannot give what it asks for.
    """
    sandbox, tree = surroundings.sandbox, Tree(deltas)
    if step.network == _NO_NETWORK and not sandbox.own_network:
        raise MachineError(
            f"RUN --network=none cannot be done in the {sandbox.kind} sandbox.",
            mend="Leave --network out, or build on a machine with Docker.",
        )
    identity = _identity(step, tree)
    folder = Path(tempfile.mkdtemp(prefix="mounts-", dir=surroundings.session))
    with contextlib.ExitStack() as stack:
        stack.callback(remove_tree, folder)
        mounts, variables = _mounts(step, surroundings, folder, stack, tree)
        place = workspace.enter(deltas)
        root = place.get("root")
        if isinstance(root, Path):
            _make_system_folders(root)
        stubs: list[str] = []
        if sandbox.kind == "chroot":
            mounts = stack.enter_context(lent(Path(str(place["root"])), mounts, stubs))
        command = Command(
            argv=step.argv,
            environment={
                **_without_proc(sandbox, step, tree),
                **_environment(step, identity, tree, variables),
            },
            folder=step.folder,
            mounts=tuple(mounts),
            identity=identity,
            folder_owner=identity,
            own_network=step.network == _NO_NETWORK,
            **place,  # type: ignore[arg-type]
        )
        code, made = _run(command, surroundings, tell)
        # Docker too leaves the folders of its own mounts in an image that has none of them.
        stubs += [stub for stub in made if stub not in _SYSTEM]
    if code:
        raise LearnerError(
            f'process "{" ".join(step.argv)}" did not complete successfully: exit code: {code}',
        )
    if isinstance(root, Path):
        _empty_system_folders(root, tree)
    changes = workspace.leave(stubs, last=last)
    if changes.scratch is None and not changes.removed:
        return None
    assert changes.scratch is not None
    owner = None if sandbox.keeps_owners else (identity.user, identity.group)
    delta = surroundings.snapshots.commit(changes.scratch, removed=changes.removed, owner=owner)
    workspace.committed(delta)
    return delta


def _make_system_folders(root: Path) -> None:
    """Make the folders that Docker mounts something on, and leaves in the image."""
    for folder in _SYSTEM:
        if not os.path.lexists(f"{root}{folder}"):
            os.mkdir(f"{root}{folder}", 0o755)


def _empty_system_folders(root: Path, tree: Tree) -> None:
    """Remove what a command put into /dev, /proc and /sys where nothing is mounted on them."""
    for folder in _SYSTEM:
        for path, folders, files in os.walk(f"{root}{folder}", topdown=False):
            for name in (*folders, *files):
                place = f"{path}/{name}"
                if tree.lookup(place[len(str(root)) :].strip("/")) is not None:
                    continue
                if os.path.isdir(place) and not os.path.islink(place):
                    os.rmdir(place)
                else:
                    os.unlink(place)


def _run(
    command: Command, surroundings: Surroundings, tell: Callable[[str], None]
) -> tuple[int, list[str]]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        surroundings.processes.check()
        process = surroundings.sandbox.start(command, surroundings.session)
        with surroundings.processes.counted(process):
            code = follow(process, lambda data: tell(decoder.decode(data)))
        return code, process.stubs
    except SandboxError as error:
        raise explained(error) from error


def _identity(step: RunStep, tree: Tree) -> Identity:
    try:
        return find_identity(step.user, tree)
    except UnknownUserError as error:
        raise LearnerError(
            f"USER {step.user}: {error}.",
            mend="Make the user with RUN before, or use a number, as in USER 65532:65532.",
        ) from error


def _without_proc(sandbox: Sandbox, step: RunStep, tree: Tree) -> dict[str, str]:
    """Return what programs else learn from /proc, which a bare chroot has not.

    Go looks at ``/proc/self/exe`` for its own place: https://pkg.go.dev/os#Executable
    """
    if sandbox.kind != "chroot":
        return {}
    for folder in step.environment.get("PATH", image_config.DEFAULT_PATH).split(":"):
        place = tree.resolve(f"{folder}/go")
        if tree.lookup(place) is not None:
            return {"GOROOT": f"/{os.path.dirname(os.path.dirname(place))}"}
    return {}


def _environment(
    step: RunStep, identity: Identity, tree: Tree, variables: Mapping[str, str]
) -> dict[str, str]:
    return {
        "PATH": image_config.DEFAULT_PATH,
        "HOME": home(identity.user, tree),
        **step.environment,
        **variables,
    }


def _mounts(
    step: RunStep,
    surroundings: Surroundings,
    folder: Path,
    stack: contextlib.ExitStack,
    tree: Tree,
) -> tuple[list[Mount], dict[str, str]]:
    """Return the mounts of a RUN, made ready, and the variables that hold secrets."""
    (folder / "hosts").write_text(_HOSTS, "utf-8")
    mounts = [Mount("/etc/hosts", str(folder / "hosts"), read_only=True)]
    if os.path.exists("/etc/resolv.conf"):
        mounts.append(Mount("/etc/resolv.conf", "/etc/resolv.conf", read_only=True))
    variables: dict[str, str] = {}
    for number, mount in enumerate(step.mounts):
        place = folder / str(number)
        if mount.kind == "tmpfs":
            mounts.append(_tmpfs(mount, place, surroundings.sandbox))
        elif mount.kind == "secret":
            owners = surroundings.sandbox.keeps_owners
            _secret(mount, place, surroundings.secrets, mounts, variables, keeps_owners=owners)
        elif mount.kind == "cache":
            source = stack.enter_context(_cache(mount, surroundings, tree))
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


@contextlib.contextmanager
def _cache(mount: RunMount, surroundings: Surroundings, tree: Tree) -> Iterator[Path]:
    """Give the folder of a cache mount. It is locked where it must not be shared."""
    del tree
    caches = surroundings.snapshots.folder.parent / "caches"
    name = hashlib.sha256(
        json.dumps([mount.id, str(mount.origin), mount.source]).encode()
    ).hexdigest()[:24]
    folder = caches / f"{surroundings.sandbox.kind}-{name}"
    # Without mounts the folder is moved into the image for the time of the RUN: one at a time.
    shared = mount.sharing == "shared" and surroundings.sandbox.kind != "chroot"
    with locked(caches / f"{folder.name}.lock", shared=shared):
        if not folder.exists():
            _make_cache(mount, folder, surroundings)
        os.utime(folder)
        yield folder


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
    materialize(_taking(mount), origin, place, keeps_owners=keeps_owners)


def _taking(mount: RunMount) -> CopyStep:
    return CopyStep("COPY", mount.origin, (mount.source,), "/")
