"""The errors a learner may meet: each says what happened, where, and what to do."""

from __future__ import annotations

from multistage.text import plain


class CourseError(Exception):
    """An error that is shown without a traceback.

    Attributes:
        what: one sentence, what went wrong.
        where: ``file:line``, a file, or an empty string where no place applies.
        mend: one sentence, what to do about it.
        said: the engine's own message, where ``what`` has it in other words.
        exit_code: the exit code of the ``multistage`` command for this error.
    """

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", mend: str = "", said: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend
        self.said = said

    def __str__(self) -> str:
        return "\n".join(plain(line) for line in (self.what, self.where, self.mend) if line)

    def _render_traceback_(self) -> list[str]:
        """Return the lines IPython shows instead of a traceback."""
        return str(self).splitlines()


class LearnerError(CourseError):
    """The learner's work falls short: their Dockerfile does not build, or a check fails."""

    exit_code = 1


class UsageError(CourseError):
    """The command or function was asked for something that does not exist."""

    exit_code = 2


class MachineError(CourseError):
    """The machine falls short: no engine, no network, no disk space."""

    exit_code = 3


class BuildCancelledError(CourseError):
    """What was being done is no longer wanted: its result is not there, and nobody is at fault."""

    exit_code = 130


class NotPossibleHereError(MachineError):
    """A check needs what this machine does not allow: it is left out, not failed."""
