"""Builds with the engine's classic builder, where ``docker buildx`` is missing or too old."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, BuildError

from multistage.dockerfile import DockerfileError, parse_instructions
from multistage.engines import BuildRequest
from multistage.engines.events import Report, Step, StepFinished, StepLog, StepStarted
from multistage.errors import LearnerError, MachineError

COST = (
    "Without docker buildx 0.13 or newer the classic builder is used: it builds every stage up "
    "to the target, one after another, and knows no RUN --mount."
)
_STEP = re.compile(r"^Step (?P<number>\d+)/(?P<total>\d+) : (?P<instruction>.*)", re.DOTALL)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # with which it paints standard error
_PARSE_ERROR = re.compile(r"parse error (?:on )?line (?P<line>\d+): (?P<text>.*)")


def build(client: docker.DockerClient, request: BuildRequest, report: Report) -> None:
    """Build ``request`` under its tag.

    Raises:
        LearnerError: the build failed; names the step.
        BuildCancelledError: the build is no longer wanted, which is seen at its next message.
    """
    if request.secrets:
        raise MachineError(
            "The classic builder knows no secrets.",
            mend="Install docker buildx 0.13 or newer, or leave --secret out.",
        )
    _refuse_heredocs(request.dockerfile)
    try:
        messages = client.api.build(
            path=str(request.context),
            dockerfile=str(request.dockerfile.resolve()),
            tag=request.tag,
            target=request.target,
            buildargs=dict(request.build_args),
            nocache=request.no_cache,
            rm=True,
            forcerm=True,
            decode=True,
        )
        with closing(messages):  # without a reader the engine ends the build
            for event in read_events(messages, request.dockerfile):
                request.cancelled.check()
                report(event)
    except (APIError, BuildError) as error:
        text = getattr(error, "explanation", None) or str(error)
        match = _PARSE_ERROR.search(text)
        line = f":{match['line']}" if match else ""
        raise LearnerError(
            f"The Dockerfile cannot be read: {match['text'] if match else text}",
            where=f"{request.dockerfile}{line}",
            mend="Mend that line and build again.",
        ) from error


def read_events(
    messages: Iterator[dict[str, Any]], dockerfile: Path
) -> Iterator[StepStarted | StepLog | StepFinished]:
    """Turn the classic builder's messages into events.

    Raises:
        LearnerError: a message says that the build failed.
    """
    step, began, cached, said = None, 0.0, False, ""
    for message in messages:
        painted = message.get("stream", "")
        text = _COLOURS.sub("", painted)
        if match := _STEP.match(text):
            if step is not None:
                yield StepFinished(step, time.time(), time.time() - began, cached)
            name = f"[{match['number']}/{match['total']}] {match['instruction'].strip()}"
            step = Step(name, name, None, int(match["number"]), int(match["total"]))
            began, cached, said = time.time(), False, ""
            yield StepStarted(step, began)
        elif "error" in message:
            if step is not None:
                now = time.time()
                yield StepFinished(step, now, now - began, error=message["error"])
            tail = "".join(f"\n    {line}" for line in said.splitlines()[-15:])
            place = step.name if step else "its start"
            raise LearnerError(
                f"The build stopped at {place}: {message['error']}{tail}",
                where=_where(dockerfile, step),
                mend="Mend that step and build again.",
            )
        elif "Using cache" in text:
            cached = True
        elif step is not None and painted.strip():
            if not text.startswith(" ---> "):  # the builder's own
                said += text
            yield StepLog(step, text)
    if step is not None:
        yield StepFinished(step, time.time(), time.time() - began, cached)


def _refuse_heredocs(dockerfile: Path) -> None:
    """Stop where the classic builder would take a here-document for nothing, or for more lines.

    Raises:
        LearnerError: the Dockerfile has one; names its line.
    """
    try:
        instructions = parse_instructions(dockerfile.read_bytes(), str(dockerfile)).instructions
    except DockerfileError:
        return  # the engine says in its own words what is wrong
    for instruction in instructions:
        if instruction.heredocs:
            raise LearnerError(
                "The classic builder knows no here-documents (<<).",
                where=f"{dockerfile}:{instruction.line}",
                mend="Install docker buildx 0.13 or newer, or join the commands with &&.",
            )


def _where(dockerfile: Path, step: Step | None) -> str:
    """Return file and line of a step: the classic builder numbers all instructions."""
    instructions = parse_instructions(dockerfile.read_bytes(), str(dockerfile)).instructions
    if step is None or step.number is None or step.number > len(instructions):
        return str(dockerfile)
    return f"{dockerfile}:{instructions[step.number - 1].line}"
