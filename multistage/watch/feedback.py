"""What a round of watch mode says, in the order in which it says it."""

from __future__ import annotations

from dataclasses import dataclass

from multistage.builds import Build
from multistage.checks import CheckReport
from multistage.dockerfile import Dockerfile
from multistage.errors import CourseError
from multistage.finding import finding
from multistage.progress import BuildProgress
from multistage.units import megabytes


@dataclass(frozen=True, slots=True)
class Save:
    """Files were saved: their names in the build context, none for the start of the watch."""

    names: tuple[str, ...] = ()
    context_changed: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that keeps the Dockerfile from being built. ``line`` is 0 where it has none."""

    line: int
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """The Dockerfile was read. ``dockerfile`` is ``None`` where it cannot be."""

    dockerfile: Dockerfile | None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Its stages, and what each takes from which. ``progress``: where they stand in the build."""

    dockerfile: Dockerfile
    progress: BuildProgress


@dataclass(frozen=True, slots=True)
class Remark:
    """What a linter says about a line."""

    line: int
    rule: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Lint:
    """What a linter says; ``note`` says why it says nothing."""

    linter: str
    remarks: tuple[Remark, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Building:
    """The build began."""

    progress: BuildProgress


@dataclass(frozen=True, slots=True)
class Built:
    """The image is built and measured. ``previous`` is that of the build before."""

    build: Build
    previous: Build | None

    @property
    def change(self) -> str:
        """What the save did to the size, in words; empty for the first build of a watch."""
        if self.previous is None:
            return ""
        more = self.build.unpacked_size - self.previous.unpacked_size
        if not more:
            return "as large as the build before"
        return f"{megabytes(abs(more))} {'more' if more > 0 else 'less'} than the build before"


@dataclass(frozen=True, slots=True)
class Checked:
    """The lab's checks ran. ``note`` is on the learner's record, empty where all went well."""

    report: CheckReport
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """Before and after. ``change`` is what the save did to the size, in words.

    ``works``: whether the container does what is required.
    """

    before: Build
    after: Build
    change: str
    works: bool = True

    @property
    def finding(self) -> str:
        """How many times smaller after is, where it works."""
        return finding(self.before, self.after, works=self.works)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The round ended because files were saved again."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The round ended because something in it failed."""

    error: CourseError


@dataclass(frozen=True, slots=True)
class Waiting:
    """The round is over; the next save begins another."""


Feedback = (
    Save
    | Model
    | Graph
    | Lint
    | Building
    | Built
    | Checked
    | Compared
    | Cancelled
    | Failed
    | Waiting
)
