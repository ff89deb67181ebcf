"""Names of users and groups to numbers, by an image's own ``/etc/passwd`` and ``/etc/group``."""

from __future__ import annotations

import re

from multistage.engines.daemonless.sandbox import Identity
from multistage.engines.daemonless.tree import Owner, Tree

_MAX_ID = 2**32 - 2
_NUMBER = re.compile("[0-9]{1,10}")


class UnknownUserError(Exception):
    """An image has no user or group of that name."""


def find_identity(text: str, tree: Tree) -> Identity:
    """Return whom ``user``, ``user:group``, or their numbers, mean in an image.

    Raises:
        UnknownUserError: the image has no such user or group.
    """
    user, _, group = text.partition(":")
    entry = _passwd(user or "0", tree)
    if group:
        number = _group(group, tree)
        return Identity(entry[0], number, (number,))
    others = _groups_of(entry[2], tree) if entry[2] else []
    # A container's process has its own group among the supplementary ones too.
    return Identity(entry[0], entry[1], tuple(dict.fromkeys((entry[1], *others))))


def find_owner(text: str, tree: Tree) -> Owner:
    """Return whose files are that ``--chown=user:group`` names, or that a WORKDIR makes.

    Unlike a command's user, a number alone is the group's number too:
    https://docs.docker.com/reference/dockerfile/#copy---chown---chmod

    Raises:
        UnknownUserError: the image has no such user or group.
    """
    user, _, group = text.partition(":")
    if _NUMBER.fullmatch(user) and not group:
        if int(user) > _MAX_ID:
            raise UnknownUserError(f"{user} is no user's number")
        return int(user), int(user)
    found = find_identity(text, tree)
    return found.user, found.group


def home(user: int, tree: Tree) -> str:
    """Return a user's home folder, ``/`` where the image has none for it."""
    for fields in _lines(tree, "etc/passwd", 7):
        if fields[2] == str(user):
            return fields[5] or "/"
    return "/"


def _passwd(user: str, tree: Tree) -> tuple[int, int, str]:
    for fields in _lines(tree, "etc/passwd", 4):
        if (
            user in (fields[0], fields[2])
            and _NUMBER.fullmatch(fields[2])
            and _NUMBER.fullmatch(fields[3])
        ):
            return int(fields[2]), int(fields[3]), fields[0]
    if user == "root":
        return 0, 0, ""
    if not (_NUMBER.fullmatch(user) and int(user) <= _MAX_ID):
        raise UnknownUserError(f"unable to find user {user}: no matching entries in passwd file")
    return int(user), 0, ""


def _group(group: str, tree: Tree) -> int:
    for fields in _lines(tree, "etc/group", 3):
        if group in (fields[0], fields[2]) and _NUMBER.fullmatch(fields[2]):
            return int(fields[2])
    if group == "root":
        return 0
    if not (_NUMBER.fullmatch(group) and int(group) <= _MAX_ID):
        raise UnknownUserError(f"unable to find group {group}: no matching entries in group file")
    return int(group)


def _groups_of(name: str, tree: Tree) -> list[int]:
    return [
        int(fields[2])
        for fields in _lines(tree, "etc/group", 4)
        if name in fields[3].split(",") and _NUMBER.fullmatch(fields[2])
    ]


def _lines(tree: Tree, path: str, least: int) -> list[list[str]]:
    data = tree.read(path) or b""
    rows = (line.split(":") for line in data.decode("utf-8", "replace").splitlines())
    return [row for row in rows if len(row) >= least]
