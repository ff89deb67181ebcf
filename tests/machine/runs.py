"""Runs pytest for the phases: side by side, or one after another, each with a count of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 30


@dataclass
class Tally:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Tally) -> None:
        """Count another phase's tests too."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def read_report(report: Path) -> Tally:
    """Return the counts of a JUnit report, none where pytest ended before it wrote one."""
    tally = Tally()
    if not report.exists():
        return tally
    try:
        root = ET.parse(report).getroot()
    except ET.ParseError:  # pytest was killed while it wrote
        return tally
    for suite in root.iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        passed = int(suite.get("tests", 0)) - failed - skipped
        tally.add(Tally(max(passed, 0), failed, skipped))
    return tally


@dataclass(frozen=True)
class Run:
    """One phase, ready to be run."""

    name: str
    arguments: tuple[str, ...]  # pytest's
    environment: Mapping[str, str]
    selected: bool = False  # by -k, for example: it may then have no test of that name


class Runs:
    """The phases that run now; ``total`` counts those that have ended."""

    def __init__(self) -> None:
        self.total = Tally()
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._over = False

    def side_by_side(self, lanes: Sequence[Sequence[Run]]) -> None:
        """Run the lanes at once, and the phases of a lane one after another.

        Raises:
            KeyboardInterrupt: of this process, or of a pytest. All of them have ended then.
        """
        with ThreadPoolExecutor(max_workers=max(1, len(lanes))) as pool:
            try:
                waiting = [pool.submit(self._lane, lane, len(lanes) > 1) for lane in lanes]
                for lane in as_completed(waiting):
                    lane.result()
            except BaseException:
                self._end()
                raise

    def _lane(self, lane: Sequence[Run], named: bool) -> None:
        for run in lane:
            began = time.monotonic()
            print(f"\n== {run.name}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                report = Path(folder) / "report.xml"
                code = self._pytest(run, report, f"{run.name}| " if named else "")
                tally = read_report(report)
            if self._over:
                return
            if code == pytest.ExitCode.INTERRUPTED:
                raise KeyboardInterrupt
            none_of_that_name = run.selected and code == pytest.ExitCode.NO_TESTS_COLLECTED
            if code != pytest.ExitCode.OK and not none_of_that_name and not tally.failed:
                tally.failed = 1  # pytest itself failed: that must not look like success
            with self._lock:
                self.total.add(tally)
            print(f"== {run.name}: {tally} in {time.monotonic() - began:.1f} s", flush=True)

    def _pytest(self, run: Run, report: Path, prefix: str) -> int:
        """Return pytest's exit code; each line it prints begins with the prefix."""
        with self._lock:
            if self._over:
                return pytest.ExitCode.INTERRUPTED
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", f"--junitxml={report}", *run.arguments],
                cwd=ROOT,
                env={**os.environ, **run.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if prefix else None,
                stderr=subprocess.STDOUT if prefix else None,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl+C is for us: _end hands it on, once
            )
            self._processes.add(process)
        with process:
            for line in process.stdout or ():
                print(f"{prefix}{line}", end="", flush=True)
        self._processes.discard(process)
        return process.returncode

    def _end(self) -> None:
        """End what runs: each pytest ends in order what its tests have started."""
        with self._lock:
            self._over = True
            running = list(self._processes)
        for process in running:
            process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)
        deadline = time.monotonic() + _END_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
