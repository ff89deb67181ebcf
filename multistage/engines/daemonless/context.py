"""The build context: the learner's folder, without what ``.dockerignore`` leaves out."""

from __future__ import annotations

import os
from pathlib import Path

from multistage.dockerfile.patterns import IgnoreRules
from multistage.dockerignore import ignore_rules
from multistage.engines.daemonless.tree import ROOT_OWNER, Entry, FolderDelta, Tree


class ContextTree(Tree):
    """The files of a build context."""

    def __init__(self, folder: Path, rules: IgnoreRules) -> None:
        super().__init__([FolderDelta("context", folder, owner=ROOT_OWNER)])
        self._rules = rules

    def lookup(self, path: str) -> Entry | None:
        """Return what is at ``path``, ``None`` where it is not there or left out."""
        entry = super().lookup(path)
        if entry is None or not path or not self._rules or not self._rules.ignores(path):
            return entry
        # A folder that is left out is there for what an exception brings back.
        if entry.is_folder and self._rules.may_include_below(path) and self.names(path):
            return entry
        return None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted, without what is left out."""
        names = super().names(folder)
        if not self._rules:
            return names
        prefix = f"{folder}/" if folder else ""
        return [name for name in names if self.lookup(prefix + name) is not None]


def read_context(folder: Path, dockerfile: Path) -> ContextTree:
    """Return the build context of a Dockerfile.

    Raises:
        LearnerError: its ``.dockerignore`` cannot be read.
    """
    return ContextTree(Path(os.path.realpath(folder)), ignore_rules(folder, dockerfile))
