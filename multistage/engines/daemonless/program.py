"""Which program a container starts, looked for as Docker's runtime does: Go's exec.LookPath.

https://pkg.go.dev/os/exec#LookPath. What it says of a program that cannot be started is told in
its words, which people look up.
"""

from __future__ import annotations

import os
import stat

from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.sandbox import Identity
from multistage.engines.daemonless.store import StoredImage
from multistage.engines.daemonless.tree import Entry, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_identity
from multistage.errors import LearnerError

_ELF, _SCRIPT = b"\x7fELF", b"#!"
_MEND = "Check ENTRYPOINT and CMD: the program must be in the final image."


def own_command(image: StoredImage) -> list[str]:
    """Return what an image itself starts.

    Raises:
        LearnerError: it names nothing.
    """
    config = image_config.from_image(image.config)
    argv = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    if not argv:
        raise LearnerError(
            "The image cannot be run: no command specified.",
            mend="The last stage must say what to start: ENTRYPOINT or CMD.",
        )
    return argv


def own_identity(user: str, tree: Tree) -> Identity:
    """Return whom an image's USER means.

    Raises:
        LearnerError: the image has no such user or group.
    """
    try:
        return find_identity(user, tree)
    except UnknownUserError as error:
        raise LearnerError(
            f"The container cannot start: {error}", mend="Give USER a number: 65532:65532"
        ) from error


def find_program(
    program: str, path: str, folder: str, identity: Identity, tree: Tree
) -> Entry | None:
    """Return the program that a command names.

    Args:
        program: as the command names it.
        path: the variable PATH.
        folder: the working folder.
        identity: who starts it.
        tree: the image's files.

    Raises:
        LearnerError: it is not there, or may not be started by this user; as Docker words it.
    """
    places = [program]
    if "/" not in program:
        places = [f"{entry or '.'}/{program}" for entry in path.split(":")] if program else []
    fault = "executable file not found in $PATH"
    for place in places:
        found = _fault(place, folder, identity, tree)
        if not found:
            return tree.lookup(tree.resolve(os.path.join(folder, place)))
        fault = found if "/" in program else fault
    raise LearnerError(f'The container cannot start: exec: "{program}": {fault}', mend=_MEND)


def refuse_foreign(program: str, entry: Entry) -> None:
    """Refuse what the kernel would not run: execve(2), ENOEXEC. proot hands it to a shell.

    Raises:
        LearnerError: as Docker words it.
    """
    with open(entry.real, "rb") as file:
        head = file.read(4)
    if head != _ELF and head[:2] != _SCRIPT:
        raise LearnerError(
            f"The container cannot start: exec {program}: exec format error", mend=_MEND
        )


def _fault(place: str, folder: str, identity: Identity, tree: Tree) -> str:
    """Return what keeps a user from starting the program at ``place``, or an empty string."""
    try:
        path = tree.resolve(os.path.join(folder, place))
    except OSError:
        return f"stat {place}: too many levels of symbolic links"
    parts = path.split("/")
    for count in range(1, len(parts)):
        above = tree.lookup("/".join(parts[:count]))
        if above is None:
            break
        if not above.is_folder:
            return f"stat {place}: not a directory"
        if not _may_execute(above, identity):
            return f"stat {place}: permission denied"
    found = tree.lookup(path)
    if found is None:
        return f"stat {place}: no such file or directory"
    if found.is_folder:
        return "is a directory"
    return "" if _may_execute(found, identity) else "permission denied"


def _may_execute(entry: Entry, identity: Identity) -> bool:
    """Return whether a user may run a file, or reach what is in a folder: access(2)."""
    mode = stat.S_IMODE(entry.status.st_mode)
    user, group = entry.owner
    if identity.user == 0:
        return entry.is_folder or bool(mode & 0o111)
    if identity.user == user:
        return bool(mode & 0o100)
    if group in (identity.group, *identity.groups):
        return bool(mode & 0o010)
    return bool(mode & 0o001)
