"""What a sandbox that could not be made means: the Dockerfile's fault, or the machine's."""

from __future__ import annotations

import errno
import os

from multistage.engines.daemonless.sandbox import FOLDER_STEP, SandboxError
from multistage.errors import CourseError, LearnerError, MachineError


def too_long() -> LearnerError:
    """Return what is said where a Dockerfile's path is longer than the system takes."""
    return LearnerError(
        "A path in it is too long.",
        mend="Shorten it: a name may have 255 bytes, and a whole path about 4,000.",
    )


def explained(error: SandboxError) -> CourseError:
    """Return the error to raise, in the place of a sandbox's."""
    if error.step == FOLDER_STEP:
        return LearnerError(
            f"The working folder cannot be entered: {error.reason}.",
            mend="Check WORKDIR: what it names must be a folder, also after the RUNs that follow.",
        )
    if error.reason == os.strerror(errno.ENAMETOOLONG):  # the target of a mount
        return too_long()
    return MachineError(f"The sandbox cannot be made: {error}.", mend="Run multistage doctor.")
