"""Builds through BuildKit: runs ``docker buildx build`` and reads its progress."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from multistage.advice import is_machine_fault
from multistage.engines import BuildRequest, Cancellation
from multistage.engines.docker.rawjson import ProgressReader
from multistage.engines.events import BuildLog, Report, StepFinished
from multistage.errors import CourseError, LearnerError, MachineError

_GRACE = 10  # seconds that an interrupted build has to end by itself
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL
_LOCATION = re.compile(r"^(?P<file>[^\s:]*Dockerfile[^\s:]*):(?P<line>\d+)$")
_PARSE_ERROR = re.compile(r"dockerfile parse error (?:on )?line (?P<line>\d+): (?P<text>.*)")
# BuildKit's two ways of saying that COPY's source is not there; the second when a folder is.
_MISSING = re.compile(
    r'"(?P<path>/[^"]*)":? not found|lstat /\S*?buildkit-mount\d+(?P<walked>/\S*): no such file'
)
_SUGGESTION = re.compile(r"\(did you mean (?P<name>[^?]+)\?\)")


def build(request: BuildRequest, report: Report) -> list[str]:
    """Build ``request``, load the image into the engine under its tag, and return its digests.

    The image's ID is one of them: the manifest's, first, or the configuration's.

    Raises:
        LearnerError: the build failed; names the Dockerfile's line.
        MachineError: the engine, the network or the disk is at fault.
        BuildCancelledError: the build is no longer wanted.
    """
    reader, log = ProgressReader(), BuildLog()
    with tempfile.TemporaryDirectory(prefix="multistage-") as folder:
        built = Path(folder) / "metadata.json"
        words = command(request, built)
        with _running(words) as process, _ended_by(request.cancelled, process):
            assert process.stderr is not None  # asked for in _running
            for event in reader.read(process.stderr):
                log.add(event)
                report(event)
            exit_code = process.wait()
        request.cancelled.check()
        if exit_code != 0:
            raise build_error(request, reader.text, log)
        # Not --iidfile: it has the configuration's alone, by which containerd finds no image.
        metadata = json.loads(built.read_text("utf-8"))
        names = ("containerimage.digest", "containerimage.config.digest")
        return [str(metadata[name]) for name in names if name in metadata]


def command(request: BuildRequest, built: Path) -> list[str]:
    """Return the command line that builds ``request`` and writes what it built to ``built``."""
    words = ["docker", "buildx", "build", "--progress=rawjson", "--load"]
    # An attestation beside the image would be one more "layer" in the archive.
    words += ["--provenance=false", "--tag", request.tag]
    # Whole paths: a folder's name may begin with a dash.
    words += ["--file", str(request.dockerfile.absolute())]
    words += ["--metadata-file", str(built)]
    if request.target is not None:
        words += ["--target", request.target]
    if request.no_cache:
        words.append("--no-cache")
    for name, value in request.build_args.items():
        words += ["--build-arg", f"{name}={value}"]
    for secret in request.secrets:
        words += ["--secret", secret]
    return [*words, str(request.context.absolute())]


@contextmanager
def _running(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command with its standard error as text; end it and its children on the way out."""
    # In a session of its own, Ctrl-C reaches this process alone, which then ends the build.
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)
        if process.stderr is not None:
            process.stderr.close()


@contextmanager
def _ended_by(cancelled: Cancellation, process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a process end in the block when it is cancelled; its reader sees the end."""
    killer = threading.Timer(_GRACE, _signal, [process, _KILL])
    killer.daemon = True

    def end() -> None:
        _signal(process, signal.SIGINT)
        killer.start()

    try:
        with cancelled.calling(end):
            yield
    finally:
        killer.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    _signal(process, signal.SIGINT)
    # Unread progress would fill the pipe and keep the process from ending.
    drain = threading.Thread(target=_drain, args=(process.stderr,), daemon=True)
    drain.start()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        _signal(process, _KILL)
        process.wait()
    drain.join(1)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    if sys.platform == "win32":
        process.terminate()
        return
    with suppress(ProcessLookupError):  # it ended in this very moment
        os.killpg(process.pid, number)


def _drain(stream: IO[str] | None) -> None:
    for _ in stream or ():
        pass


def build_error(request: BuildRequest, text: list[str], log: BuildLog) -> CourseError:
    """Return the error for a failed build from what buildx printed and its events said."""
    message = next((line for line in reversed(text) if line.startswith("ERROR: ")), "")
    message = message.removeprefix("ERROR: ").removeprefix("failed to solve: ")
    failed = log.failed()
    if not message:
        message = failed.error if failed else "\n".join(text[-5:])
    if is_machine_fault(message):
        return MachineError(f"The build stopped: {message}", mend="Mend that and build again.")
    return LearnerError(
        _what(message, failed, log),
        where=_where(request, text, message),
        mend=_mend(message, failed),
        said=message,
    )


def _where(request: BuildRequest, text: list[str], message: str) -> str:
    name = str(request.dockerfile)
    for line in text:
        if match := _LOCATION.match(line.strip()):
            return f"{name}:{match['line']}"
    match = _PARSE_ERROR.search(message)
    return f"{name}:{match['line']}" if match else name


def _what(message: str, failed: StepFinished | None, log: BuildLog) -> str:
    if (parse_error := _PARSE_ERROR.search(message)) is not None:
        return f"The Dockerfile cannot be read: {parse_error['text']}"
    if (missing := _MISSING.search(message)) is not None:
        return f"The build stopped: {_missing_path(missing, failed)} was not found."
    if failed is None:
        return f"The build stopped: {message}"
    output = "".join(log.output.get(failed.step.id, [])).rstrip().splitlines()[-15:]
    tail = "".join(f"\n    {line}" for line in output)
    return f"The build stopped at {failed.step.name}: {failed.error}{tail}"


def _missing_path(missing: re.Match[str], failed: StepFinished | None) -> str:
    """Return the path as the instruction has it: BuildKit may name the folder that it lacks."""
    walked = missing["walked"]
    words = failed.step.name.split() if failed and walked else []
    return missing["path"] or next((w for w in words if w.startswith(f"{walked}/")), walked)


def _mend(message: str, failed: StepFinished | None) -> str:
    if suggestion := _SUGGESTION.search(message):
        return f"Did you mean {suggestion['name']}?"
    if _MISSING.search(message):
        if failed and "--from" in failed.step.name:
            return "Check the path: it must exist in that stage, from the stage's root on."
        return (
            "Check the path: it must exist in the build context, and not be named in "
            ".dockerignore. To take it from a stage, write COPY --from=<stage>."
        )
    if "did not complete successfully" in message or "executor failed running" in message:
        return "Read the last lines above: they are what the command said before it failed."
    return "Mend that line and build again."
