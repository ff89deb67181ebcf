"""What a sandbox that could not be made means: the Dockerfile's fault, or the machine's."""

from __future__ import annotations

from multistage.engines.daemonless.sandbox import FOLDER_STEP, SandboxError
from multistage.errors import CourseError, LearnerError, MachineError


def explained(error: SandboxError) -> CourseError:
    """Return the error to raise, in the place of a sandbox's."""
    if error.step == FOLDER_STEP:
        return LearnerError(
            f"The working folder cannot be entered: {error.reason}.",
            mend="Check WORKDIR: what it names must be a folder, also after the RUNs that follow.",
        )
    return MachineError(f"The sandbox cannot be made: {error}.", mend="Run multistage doctor.")
