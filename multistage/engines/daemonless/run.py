"""RUN: the command with all that it sees, and what it changed."""

from __future__ import annotations

import codecs
import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.copy import digest, select
from multistage.engines.daemonless.faults import explained
from multistage.engines.daemonless.lending import lent
from multistage.engines.daemonless.mount_sources import locked_caches, ready_mounts, taking
from multistage.engines.daemonless.plan import RunStep
from multistage.engines.daemonless.removing import remove_tree
from multistage.engines.daemonless.sandbox import (
    Command,
    Identity,
    Sandbox,
    SandboxError,
    follow,
)
from multistage.engines.daemonless.surroundings import Surroundings
from multistage.engines.daemonless.tree import Delta, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_identity, home
from multistage.engines.daemonless.workspace import Workspace
from multistage.errors import LearnerError, MachineError

_NO_NETWORK = "none"
_SYSTEM = ("/dev", "/proc", "/sys")


def run_key(step: RunStep, surroundings: Surroundings) -> list[object]:
    """Return what the result of a RUN depends on, besides the files it starts from."""
    mounts: list[object] = []
    for mount in step.mounts:
        content = ""
        if mount.kind == "bind":
            taken = taking(mount)
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
        stack.enter_context(locked_caches(step, surroundings))
        mounts, variables = ready_mounts(step, surroundings, folder)
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
        if os.path.islink(f"{root}{folder}"):  # it may lead to a folder of this machine
            continue
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
