"""Reads what a build context leaves out: its ``.dockerignore``, or the Dockerfile's own."""

from __future__ import annotations

from pathlib import Path

from multistage.dockerfile.patterns import IgnoreRules, read_ignore_file
from multistage.errors import LearnerError

_MAX_LINE = 65535  # bufio.MaxScanTokenSize, the longest line that Docker reads


def ignore_files(context: Path, dockerfile: Path) -> tuple[Path, Path]:
    """Return where the rules may be, the first that is there counts."""
    return dockerfile.with_name(f"{dockerfile.name}.dockerignore"), context / ".dockerignore"


def ignore_rules(context: Path, dockerfile: Path) -> IgnoreRules:
    """Return what a Dockerfile's build context leaves out.

    Raises:
        LearnerError: the rules cannot be read, or a line is longer than Docker reads.
    """
    for file in ignore_files(context, dockerfile):
        try:
            text = file.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise LearnerError(f"It cannot be read: {error}.", where=str(file)) from error
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > _MAX_LINE:
                raise LearnerError(
                    f"This line has {len(line):,} characters; {_MAX_LINE:,} is the most.",
                    where=f"{file}:{number}", mend="Write one pattern on each line.",
                )  # fmt: skip
        try:
            return read_ignore_file(text)
        except ValueError as error:
            raise LearnerError(
                f"A pattern is malformed: {error}.", where=str(file), mend="Close every bracket."
            ) from error
    return IgnoreRules([])
