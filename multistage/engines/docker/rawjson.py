"""BuildKit's progress, ``docker buildx build --progress=rawjson``, read as build events.

The format is BuildKit's ``client.SolveStatus``, one JSON object after another, indented or
not: https://github.com/moby/buildkit/blob/master/client/graph.go. After the objects buildx
prints plain text: the failing lines of the Dockerfile and ``ERROR: …``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from multistage.engines.events import Event, Step, StepFinished, StepLog, StepStarted

_STEP_NAME = re.compile(r"^\[(?:(?P<stage>\S+) )? *(?P<number>\d+)/(?P<total>\d+)\] ")
_FRACTION = re.compile(r"\.(\d+)")


class ProgressReader:
    """Turns lines of rawjson progress into events; keeps the text that is not JSON.

    Attributes:
        text: what buildx printed besides JSON: warnings, the failing Dockerfile lines, the error.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self._steps: dict[str, Step] = {}
        self._begun: set[str] = set()
        self._ended: dict[str, str] = {}  # the error of each, mostly none

    def read(self, lines: Iterable[str]) -> Iterator[Event]:
        """Yield the events that ``lines`` tell of, in order."""
        for document in self._documents(lines):
            yield from self._events(document)

    def _documents(self, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        pending: list[str] = []
        for line in lines:
            stripped = line.rstrip("\r\n")
            if not pending and not stripped.startswith("{"):
                self.text.append(stripped)
                continue
            pending.append(stripped)
            # An indented object ends at a brace in the first column; a compact one on its line.
            if stripped == "}" or (len(pending) == 1 and stripped.endswith("}")):
                yield from self._parsed(pending)
                pending = []
        self.text.extend(pending)

    def _parsed(self, lines: list[str]) -> Iterator[dict[str, Any]]:
        try:
            document = json.loads("\n".join(lines))
        except ValueError:
            self.text.extend(lines)
            return
        if isinstance(document, dict):
            yield document

    def _events(self, document: dict[str, Any]) -> Iterator[Event]:
        for vertex in document.get("vertexes") or []:
            yield from self._vertex_events(vertex)
        for log in document.get("logs") or []:
            step = self._steps.get(log.get("vertex", ""))
            text = base64.b64decode(log.get("data") or "").decode("utf-8", "replace")
            if step is not None and text:
                yield StepLog(step, text)

    def _vertex_events(self, vertex: dict[str, Any]) -> Iterator[Event]:
        digest = vertex["digest"]
        step = self._steps.setdefault(digest, step_from_name(digest, vertex.get("name", "")))
        started, completed = vertex.get("started"), vertex.get("completed")
        if started and digest not in self._begun:
            self._begun.add(digest)
            yield StepStarted(step, _seconds(started))
        error = vertex.get("error", "")
        # A step without inputs is said to have ended before it begins: its failure comes second.
        if completed and self._ended.get(digest) != error:
            self._ended[digest] = error
            at = _seconds(completed)
            yield StepFinished(
                step,
                at,
                seconds=max(0.0, at - _seconds(started)) if started else 0.0,
                cached=bool(vertex.get("cached")),
                error=error,
            )


def step_from_name(identifier: str, name: str) -> Step:
    """Return the step that BuildKit names ``[stage 2/5] RUN …``."""
    match = _STEP_NAME.match(name)
    if match is None:
        return Step(identifier, name)
    return Step(identifier, name, match["stage"], int(match["number"]), int(match["total"]))


def _seconds(timestamp: str) -> float:
    """Return an RFC 3339 time with nanoseconds as seconds since the epoch."""
    # datetime.fromisoformat of Python 3.10 takes neither "Z" nor nine digits.
    whole = _FRACTION.sub("", timestamp).replace("Z", "+00:00")
    fraction = _FRACTION.search(timestamp)
    return datetime.fromisoformat(whole).timestamp() + (
        float(f"0.{fraction[1]}") if fraction else 0
    )
