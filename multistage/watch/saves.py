"""When were files of the build context saved, and are they whole? Editors save in many ways.

Some write in place, some empty the file first, some write another one and rename it over: then the
file is empty, or gone, for a moment. So a Dockerfile is looked at until it is there, has content
and no longer changes.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from multistage.dockerignore import ignore_files, ignore_rules
from multistage.errors import LearnerError, MachineError, UsageError
from multistage.labs import LabFolder
from multistage.watch.feedback import Save

_STEP = 25  # milliseconds without a change after which changes are handed out together
_DEBOUNCE = 200  # milliseconds after which they are handed out in any case
_TICK = 300  # milliseconds; so often the Dockerfile is looked at where no change is told
_QUIET = 0.02  # seconds that a Dockerfile must stay as it is
_PATIENCE = 1.0  # seconds that it may be empty or gone
# What editors write beside a file: vim, JupyterLab, Emacs, JetBrains, VS Code and the desktops.
_OF_EDITORS = re.compile(
    r"\.~.*|.*~|\.?.*\.sw[a-z]|4913|[.#]#?.*#|\.#.*|.*___jb_.*___|\.DS_Store|Thumbs\.db"
)
_FOLDERS_OF_EDITORS = {".ipynb_checkpoints", ".git", ".idea", ".vscode"}
Signature = tuple[int, int, int, int] | None


def saves(lab: LabFolder, stop: threading.Event) -> Iterator[Save]:
    """Yield the start of the watch, and then every save, until ``stop`` is set.

    Raises:
        UsageError: the lab's folder is gone.
        MachineError: this machine cannot watch it.
    """
    from watchfiles import Change, watch  # they bring asyncio with them

    context = Path(os.path.realpath(lab.app))  # as macOS names what changed
    if not context.is_dir():
        raise UsageError(f"There is no folder {lab.app}.", mend="Bring it back: git checkout labs")
    dockerfile = context / lab.dockerfile.name
    _settle(dockerfile, stop)
    seen = {dockerfile: _signature(dockerfile)}
    yield Save()
    try:
        for changes in watch(
            context,
            watch_filter=None,
            step=_STEP,
            debounce=_DEBOUNCE,
            rust_timeout=_TICK,
            yield_on_timeout=True,
            stop_event=stop,
        ):
            paths = {dockerfile, *_of_the_build({p for _, p in changes}, context, dockerfile)}
            if len(paths) > 1 or _signature(dockerfile) != seen[dockerfile]:
                _settle(dockerfile, stop)
            now = {path: _signature(path) for path in paths}
            added = {Path(path) for change, path in changes if change is Change.added}
            changed = sorted(p for p in paths if now[p] != seen.get(p, None if p in added else ()))
            seen.update(now)
            if changed:
                names = tuple(path.relative_to(context).as_posix() for path in changed)
                yield Save(names, context_changed=changed != [dockerfile])
    except OSError as error:
        raise MachineError(
            f"This machine cannot watch the folder: {error}.",
            where=str(lab.app),
            mend="Set WATCHFILES_FORCE_POLLING=1 and watch again.",
        ) from error


def _of_the_build(names: set[str], context: Path, dockerfile: Path) -> Iterator[Path]:
    """Yield the files that a build could see."""
    if not names:
        return
    try:
        rules = ignore_rules(context, dockerfile)
    except LearnerError:
        rules = None  # the build says what is wrong with them
    always = {dockerfile, *ignore_files(context, dockerfile)}
    for path in map(Path, names):
        if path in always:
            yield path
            continue
        if not path.is_relative_to(context) or path == context or path.is_dir():
            continue
        name = path.relative_to(context).as_posix()
        if not is_of_an_editor(name) and not (rules and rules.ignores(name)):
            yield path


def is_of_an_editor(name: str) -> bool:
    """Return whether a file of the build context is one that editors make for themselves."""
    *folders, last = name.split("/")
    return bool(_OF_EDITORS.fullmatch(last)) or bool(_FOLDERS_OF_EDITORS & set(folders))


def _settle(path: Path, stop: threading.Event) -> None:
    """Wait until a file is there, has content, and stays as it is; but not for ever."""
    deadline = time.monotonic() + _PATIENCE
    before = _signature(path)
    while time.monotonic() < deadline and not stop.wait(_QUIET):
        now = _signature(path)
        if now == before and now is not None and now[1]:
            return
        before = now


def _signature(path: Path) -> Signature:
    """Return what tells one state of a file from another, ``None`` where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
