"""The values of the learner's record, and their JSON. Pure: no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from multistage.builds import Build, BuiltLayer, BuiltStage
from multistage.finding import works
from multistage.text import plain

SCHEMA = 1
_ABOUT = "What was measured and checked in the labs. multistage report makes a page of it."
_KINDS = ("base", "dependencies", "app", "config")
_LARGEST = 1 << 60  # bytes
_MOST_STAGES = 1000
_T = TypeVar("_T")


class Damaged(ValueError):
    """The file is not what this version writes; ``word`` names the copy that is set aside."""

    def __init__(self, what: str, word: str = "damaged") -> None:
        super().__init__(what)
        self.word = word


@dataclass(frozen=True, slots=True)
class Measured:
    """An image's sizes in bytes, and on what they rest. ``kinds``: unpacked and compressed."""

    engine: str
    builder: str
    stand_ins: tuple[str, ...]
    date: str
    stages: int
    unpacked_size: int
    compressed_size: int
    kinds: Mapping[str, tuple[int, int]]

    def to_build(self) -> Build:
        """Return it as a build with one layer for each kind: what figures are drawn from."""
        layers = tuple(
            BuiltLayer("", "", None, None, kind, unpacked, compressed)
            for kind, (unpacked, compressed) in self.kinds.items()
        )
        return Build(
            image="", image_id="", engine=self.engine, builder=plain(self.builder),
            stand_ins=tuple(map(plain, self.stand_ins)), seconds=0.0,
            unpacked_size=self.unpacked_size, compressed_size=self.compressed_size, layers=layers,
            stages=tuple(BuiltStage("", "", True, 0.0) for _ in range(self.stages)),
            date=plain(self.date), is_multistage=self.stages > 1,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CheckLine:
    """What one check found."""

    id: str
    title: str
    required: bool
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One run of a lab's checks: when (ISO 8601), on which Dockerfile, with which sizes."""

    lab: str
    when: str
    passed: bool
    checks: tuple[CheckLine, ...]
    before: Measured | None
    after: Measured | None
    dockerfile: str

    @property
    def day(self) -> str:
        """The day of the run: ``2026-01-31``."""
        return self.when[:10]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was measured last in a lab, checked or not."""

    before: Measured | None = None
    after: Measured | None = None
    dockerfile: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """All that is on record, the oldest entry first; ``note`` is for the learner."""

    entries: tuple[Checked, ...] = ()
    measured: Mapping[str, Sizes] = field(default_factory=dict)
    note: str = ""

    def latest(self, lab: str) -> Checked | None:
        """Return the last run of a lab's checks."""
        return next((e for e in reversed(self.entries) if e.lab == lab), None)

    def latest_of(self, lab: str, dockerfile: str) -> Checked | None:
        """Return the last run of a lab's checks on a Dockerfile with this text."""
        runs = (e for e in reversed(self.entries) if e.lab == lab and e.dockerfile == dockerfile)
        return next(runs, None)

    def works(self, lab: str, dockerfile: str) -> bool:
        """Return whether this Dockerfile's container does its work, as far as is on record."""
        run = self.latest_of(lab, dockerfile)
        return run is None or works(run.checks)

    def before(self, run: Checked) -> Measured | None:
        """Return the before image of a run; where none was measured yet then, the last one."""
        return run.before or self.measured.get(run.lab, Sizes()).before

    def latest_passed(self, lab: str) -> Checked | None:
        """Return the last run in which all required checks passed."""
        return next((e for e in reversed(self.entries) if e.lab == lab and e.passed), None)


def empty() -> dict[str, Any]:
    """Return the document of a record in which nothing is."""
    return {"schema": SCHEMA, "about": _ABOUT, "measured": {}, "entries": []}


def measure(build: Build) -> Measured:
    """Return what the record keeps of a build."""
    unpacked, compressed = build.sizes_by_kind(), build.sizes_by_kind(compressed=True)
    return Measured(
        engine=build.engine,
        builder=build.builder,
        stand_ins=build.stand_ins,
        date=build.date,
        stages=len(build.stages),
        unpacked_size=build.unpacked_size,
        compressed_size=build.compressed_size,
        kinds={kind: (unpacked[kind], compressed[kind]) for kind in _KINDS},
    )


def measured_json(measured: Measured) -> dict[str, Any]:
    """Return the object that stands for it in the file."""
    kinds = {
        kind: {"unpacked_size": unpacked, "compressed_size": compressed}
        for kind, (unpacked, compressed) in measured.kinds.items()
    }
    return {**asdict(measured), "stand_ins": list(measured.stand_ins), "kinds": kinds}


def parsed(document: Any) -> Record:
    """Return the record that a document holds.

    Raises:
        Damaged: it is not what this version writes.
    """
    schema = _take(document, "schema", int)
    if schema > SCHEMA:
        raise Damaged(f"was written by a newer version of the course (schema {schema})", "newer")
    if schema != SCHEMA:
        raise Damaged(f"is damaged: there is no schema {schema}")
    measured = {
        name: Sizes(
            before=_measured(sizes.get("before")),
            after=_measured(sizes.get("after")),
            dockerfile=_lines(sizes) if "dockerfile" in sizes else "",
        )
        for name in _take(document, "measured", dict)
        for sizes in [_take(document["measured"], name, dict)]
    }
    return Record(tuple(_checked(entry) for entry in _take(document, "entries", list)), measured)


def _checked(entry: Any) -> Checked:
    when = _take(entry, "when", str)
    try:
        datetime.fromisoformat(when)
    except ValueError as error:
        raise Damaged(f"has a time that is none ({error})") from error
    return Checked(
        lab=_take(entry, "lab", str),
        when=when,
        passed=_take(entry, "passed", bool),
        checks=tuple(
            CheckLine(
                id=_take(check, "id", str),
                title=_take(check, "title", str),
                required=_take(check, "required", bool),
                passed=_take(check, "passed", bool),
                message=_take(check, "message", str),
            )
            for check in _take(entry, "checks", list)
        ),
        before=_measured(entry.get("before")),
        after=_measured(entry.get("after")),
        dockerfile=_lines(entry),
    )


def _measured(data: Any) -> Measured | None:
    if data is None:
        return None
    kinds = _take(data, "kinds", dict)
    return Measured(
        engine=_take(data, "engine", str),
        builder=_take(data, "builder", str),
        stand_ins=tuple(map(_text, _take(data, "stand_ins", list))),
        date=_take(data, "date", str),
        stages=_number(data, "stages", _MOST_STAGES),
        unpacked_size=_number(data, "unpacked_size"),
        compressed_size=_number(data, "compressed_size"),
        kinds={
            kind: (_number(sizes, "unpacked_size"), _number(sizes, "compressed_size"))
            for kind in _KINDS
            for sizes in [_take(kinds, kind, dict)]
        },
    )


def _take(data: Any, key: str, kind: type[_T]) -> _T:
    """Return ``data[key]``, which has to be of this kind."""
    if not isinstance(data, dict) or type(data.get(key)) is not kind:
        raise Damaged(f"is damaged: {key!r} is missing, or is no {kind.__name__}")
    value: _T = data[key]
    return value


def _number(data: Any, key: str, most: int = _LARGEST) -> int:
    value = _take(data, key, int)
    if not 0 <= value <= most:
        raise Damaged(f"is damaged: {key!r} cannot be {value if value < 0 else 'so large'}")
    return value


def _text(value: Any) -> str:
    return _take({"text": value}, "text", str)


def _lines(data: Any) -> str:
    return "\n".join(map(_text, _take(data, "dockerfile", list)))
