"""Whiteouts: how a layer removes what the layers below have brought.

Format: https://github.com/opencontainers/image-spec/blob/main/layer.md ("Whiteouts").
"""

from __future__ import annotations

from multistage.engines.daemonless.layers.entries import untrusted
from multistage.engines.daemonless.layers.rooted import Rooted, shown

_MARK = b".wh."
_OPAQUE = b".wh..wh..opq"
_RESERVED = b".wh..wh."


class Whiteouts:
    """Obeys the whiteouts of one layer, wherever in its tar they come.

    Args:
        rooted: what the layer is unpacked into.
    """

    def __init__(self, rooted: Rooted) -> None:
        self._rooted = rooted
        self._added: set[bytes] = {b""}  # by this layer, with all folders above
        self._cleared: set[bytes] = set()  # of all that lower layers had there

    def added(self, path: bytes) -> None:
        """Keep a path, which has no links in it: this layer has brought it."""
        while path not in self._added:
            self._added.add(path)
            path = path.rpartition(b"/")[0]

    @staticmethod
    def is_reserved(path: bytes) -> bool:
        """Return whether a path is a whiteout, or may not be used because it looks like one."""
        return _MARK in path and any(part.startswith(_MARK) for part in path.split(b"/"))

    def obey(self, path: bytes) -> bool:
        """Remove what a whiteout removes; return False where the path has no such meaning.

        Raises:
            MachineError: what it removes cannot have a name.
        """
        above, _, name = path.rpartition(b"/")
        hidden = name[len(_MARK) :]
        if self.is_reserved(above) or (name.startswith(_RESERVED) and name != _OPAQUE):
            return False
        if hidden in (b"", b".", b".."):
            raise untrusted(f"{shown(path)} removes what cannot have a name")
        place = self._rooted.find(above)
        if place is None:
            return True
        if name == _OPAQUE:
            if self._is_first(place.path):
                self._rooted.empty(place, keep=self._added)
        elif self._is_first(place.below(hidden)):
            self._rooted.remove(place, hidden, keep=self._added)
        return True

    def _is_first(self, path: bytes) -> bool:
        """Say whether anything of lower layers can still be at ``path``; not a second time.

        A layer of nothing but whiteouts of one large folder would take hours otherwise.
        """
        above = path
        while above not in self._cleared:
            if not above:
                self._cleared.add(path)
                return True
            above = above.rpartition(b"/")[0]
        return False
