"""Runs the tests phase by phase, each with what it needs from the machine, and sums them up."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import start
from tests.machine import debian, engines
from tests.machine.debian import MachineFallsShortError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Phase:
    """One folder under tests/, and what its tests need."""

    name: str
    engine: bool = True
    all_engines: bool = False
    browser: bool = False

    @property
    def folder(self) -> Path:
        """Where its tests are."""
        return ROOT / "tests" / self.name


PHASES = (
    Phase("unit", engine=False),
    Phase("engines", all_engines=True),
    Phase("labs"),
    Phase("notebooks"),
    Phase("browser", browser=True),
)


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


def main(arguments: Sequence[str]) -> int:
    """Run the phases asked for; the last line printed is the sum over all of them."""
    parser = argparse.ArgumentParser(prog="start.py test", allow_abbrev=False)
    parser.add_argument("--phase", action="append", choices=[p.name for p in PHASES], default=[])
    options, pytest_arguments = parser.parse_known_args(arguments)
    paths = {argument for argument in pytest_arguments if _is_test(argument)}
    others = [argument for argument in pytest_arguments if argument not in paths]

    total = Tally()
    code = 0
    try:
        with engines.ended_by_signals(), contextlib.ExitStack() as stack:
            machine = Machine(stack)
            for phase in PHASES:
                if options.phase and phase.name not in options.phase:
                    continue
                inside = [path for path in paths if _is_inside(path, phase.folder)]
                if paths and not inside:
                    continue
                if not phase.folder.is_dir():
                    print(f"== {phase.name}: there is no tests/{phase.name}, skipped", flush=True)
                    if phase.name in options.phase:
                        total.failed += 1
                    continue
                total.add(_run(phase, inside or [str(phase.folder)], others, machine))
    except MachineFallsShortError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        code = start.MACHINE_FALLS_SHORT
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr, flush=True)
        code = start.INTERRUPTED
    print(total, flush=True)
    return code or (0 if total.passed and not total.failed else 1)


def _is_test(argument: str) -> bool:
    """Return whether an argument names tests: ``-k labs`` means no folder."""
    return (ROOT / argument.partition("::")[0]).exists() and _is_inside(argument, ROOT / "tests")


def _is_inside(path: str, folder: Path) -> bool:
    return (ROOT / path.partition("::")[0]).resolve().is_relative_to(folder)


def _run(phase: Phase, paths: list[str], others: list[str], machine: Machine) -> Tally:
    began = time.monotonic()
    print(f"\n== {phase.name}", flush=True)
    environment = machine.ready_for(phase)
    print(f"== {phase.name}: machine ready after {time.monotonic() - began:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *others, *paths]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        tally = read_report(report)
    if done.returncode == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    selected = bool(others)  # such as -k: a phase may then have no test of that name
    harmless = {pytest.ExitCode.OK} | ({pytest.ExitCode.NO_TESTS_COLLECTED} if selected else set())
    if done.returncode not in harmless and not tally.failed:
        tally.failed = 1  # pytest itself failed: that must not look like success
    print(f"== {phase.name}: {tally} in {time.monotonic() - began:.1f} s", flush=True)
    return tally


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


class Machine:
    """What the phases have asked for so far; stops what it started when its stack closes."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._main: Mapping[str, str] | None = None
        self._hosts: dict[str, str] = {}

    def ready_for(self, phase: Phase) -> dict[str, str]:
        """Bring about what a phase needs; return the variables that tell its tests."""
        environment: dict[str, str] = {}
        if phase.engine:
            environment.update(self._main_engine())
        if phase.all_engines and debian.is_debian_root():
            debian.install("proot")  # the sandbox of where nothing else works
            for name in engines.KINDS:
                self._engine(name)
        if phase.engine:
            environment["MULTISTAGE_TEST_ENGINES"] = json.dumps(self._hosts)
        if phase.browser:
            environment["MULTISTAGE_TEST_CHROMIUM"] = chromium()
        return environment

    def _main_engine(self) -> Mapping[str, str]:
        if self._main is None:
            docker = start.docker_state()
            if docker.answers:
                self._main = {}
            elif debian.is_debian_root():
                self._main = engines.client_environment(self._engine(engines.MAIN))
            else:
                raise MachineFallsShortError(
                    f"These tests need a Docker Engine. {docker.problem}\n{docker.mend}"
                )
        return self._main

    def _engine(self, name: str) -> str:
        if name not in self._hosts:
            began = time.monotonic()
            engine = engines.Engine(name)
            if engine.answers():  # a developer's: python -m tests.machine start
                print(f"  {name} runs already", flush=True)
            else:
                self._stack.enter_context(engine)
                print(f"  {name} started in {time.monotonic() - began:.1f} s", flush=True)
            self._hosts[name] = engine.host
        return self._hosts[name]


def chromium() -> str:
    """Return the path of a Chromium, or an empty string for Playwright's own."""
    if debian.is_debian_root():
        debian.install("chromium", "fonts-liberation")
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    print("  playwright install chromium", flush=True)
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    if subprocess.run(command, check=False).returncode != 0:
        raise MachineFallsShortError(
            "The browser test needs Chromium: install Chromium or Google Chrome."
        )
    return ""
