"""The learner's progress: what was measured and checked, in one readable file of their folder.

The file is ``progress.json`` at the top of the checkout. Entries are added, never taken out;
``multistage reset`` does not touch it. What cannot be read is set aside under another name.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistage import labs
from multistage.builds import Announce, Build, build
from multistage.engines import Engine
from multistage.files import free_name, locked, replace
from multistage.labs import LabFolder
from multistage.recorded import Damaged, Record, Sizes, empty, measure, measured_json, parsed

if TYPE_CHECKING:
    from multistage.checks import CheckReport

_PLACE = "MULTISTAGE_PROGRESS"  # another file in its place
# That a file was set aside happens once, and whoever reads first need not be one who can say it.
_untold: list[str] = []


def place() -> Path:
    """Return where the record is kept."""
    return Path(os.environ.get(_PLACE) or labs.ROOT / "progress.json")


def take_note() -> str:
    """Return what the learner has not been told yet of files that were set aside, and forget it."""
    taken, _untold[:] = _untold[:], []
    return "\n".join(taken)


def read() -> Record:
    """Return the record; a damaged file is set aside, which :func:`take_note` tells.

    Where it can be neither read nor set aside, ``note`` says so.
    """
    file = place()
    try:
        return parsed(_content(file))
    except OSError as error:
        return Record(note=f"{file} cannot be read: {error.strerror}.")
    except Damaged as damage:
        try:
            with locked(file):
                return parsed(_load(file))
        except OSError:
            return Record(note=f"{file} {damage}. It could not be set aside.")


def text_of(dockerfile: Path) -> str:
    """Return a Dockerfile's text as the record keeps it, empty where it cannot be read."""
    try:
        if not dockerfile.is_file():
            return ""  # a pipe would be waited for
        return dockerfile.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def add_measured(lab: LabFolder, dockerfile: Path, text: str, build: Build) -> None:
    """Keep the sizes of a lab's before image, or of the learner's; of no other Dockerfile.

    That nothing can be written is left to :func:`add_checked` to tell: once is enough.
    """
    which = next((w for w, own in _own(lab).items() if _same(own, dockerfile)), None)
    if which is None:
        return

    def change(document: dict[str, Any]) -> None:
        sizes = document["measured"].setdefault(lab.name, {})
        sizes[which] = measured_json(measure(build))
        if which == "after":
            sizes["dockerfile"] = text.split("\n")

    _change(change)


def add_before(engine: Engine, lab: LabFolder, dockerfile: Path, announce: Announce) -> None:
    """Measure the before image of the learner's own Dockerfile, and keep its sizes.

    Where sizes by this engine are on record, nothing is done.

    Raises:
        CourseError: see :func:`multistage.builds.build`.
    """
    if not _same(lab.dockerfile, dockerfile):
        return
    known = read().measured.get(lab.name, Sizes()).before
    if known is not None and known.engine == engine.name:
        return
    file = lab.before_dockerfile
    before = build(engine, lab.app, tag=lab.tag("before"), dockerfile=file, announce=announce)
    add_measured(lab, file, text_of(file), before)


def add_checked(
    lab: LabFolder, dockerfile: Path, text: str, build: Build | None, report: CheckReport
) -> str:
    """Add a run of the checks on the learner's own Dockerfile; a repeat adds nothing.

    Returns:
        A note for the learner, :func:`take_note`'s included; empty where all went well.
    """
    if not _same(lab.dockerfile, dockerfile):
        return take_note()
    keys = ("id", "title", "required", "passed", "message")
    entry: dict[str, Any] = {
        "lab": lab.name,
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "passed": report.passed,
        "checks": [{key: getattr(check, key) for key in keys} for check in report.checks],
        "before": None,
        "after": None if build is None else measured_json(measure(build)),
        "dockerfile": text.split("\n"),
    }

    def change(document: dict[str, Any]) -> None:
        sizes = document["measured"].setdefault(lab.name, {})
        entry["before"] = sizes.get("before")
        if build is not None:
            sizes |= {"after": entry["after"], "dockerfile": entry["dockerfile"]}
        earlier = [e for e in document["entries"] if e["lab"] == lab.name]
        if not earlier or _without_times(earlier[-1]) != _without_times(entry):
            document["entries"].append(entry)

    fault = _change(change)
    return "\n".join(filter(None, (take_note(), fault)))


def _without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what makes two runs differ: messages tell seconds."""
    checks = [{**check, "message": ""} for check in entry["checks"]]
    return {**entry, "when": "", "checks": checks}


def _own(lab: LabFolder) -> dict[str, Path]:
    return {"before": lab.before_dockerfile, "after": lab.dockerfile}


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _change(change: Callable[[dict[str, Any]], None]) -> str:
    """Change the file while nobody else does; return why it could not be written."""
    file = place()
    try:
        with locked(file):
            document = _load(file)
            change(document)
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            replace(file, text.encode("utf-8", "backslashreplace"))  # half a surrogate pair
    except OSError as error:
        why = error.strerror or error
        return f"This result is shown but not recorded: {file} cannot be written ({why})."
    return ""


def _load(file: Path) -> dict[str, Any]:
    """Return the file's document; where it is damaged it is set aside, and a new one returned."""
    try:
        document: dict[str, Any] = _content(file)
        parsed(document)
        return document
    except Damaged as damage:
        kept = free_name(file, damage.word)
        file.rename(kept)
        _untold.append(f"{file} {damage}. It was set aside as {kept.name}, and a new one is begun.")
        return empty()


def _content(file: Path) -> Any:
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(file))
    try:
        return json.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        return empty()
    except (ValueError, RecursionError) as error:
        raise Damaged(f"is not the JSON that was written there ({error})") from error
