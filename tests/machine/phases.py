"""Runs the tests phase by phase, each with what it needs from the machine, and sums them up."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import start
from tests.machine import debian, engines
from tests.machine.debian import MachineFallsShortError
from tests.machine.runs import ROOT, Run, Runs


@dataclass(frozen=True)
class Phase:
    """One folder under tests/, and what its tests need."""

    name: str
    lane: str  # the engine of ours to build on; the phases of one engine follow one another
    engine: bool = True
    all_engines: bool = False
    browser: bool = False

    @property
    def folder(self) -> Path:
        """Where its tests are."""
        return ROOT / "tests" / self.name


PHASES = (  # so that both lanes take about as long
    Phase("unit", engines.LABS, engine=False),
    Phase("engines", engines.MAIN, all_engines=True),
    Phase("labs", engines.LABS),
    Phase("notebooks", engines.LABS),
    Phase("browser", engines.MAIN, browser=True),
)


def main(arguments: Sequence[str]) -> int:
    """Run the phases asked for; the last line printed is the sum over all of them."""
    parser = argparse.ArgumentParser(prog="start.py test", allow_abbrev=False)
    parser.add_argument("--phase", action="append", choices=[p.name for p in PHASES], default=[])
    options, pytest_arguments = parser.parse_known_args(arguments)
    paths = {argument for argument in pytest_arguments if _is_test(argument)}
    others = [argument for argument in pytest_arguments if argument not in paths]

    runs = Runs()
    code = 0
    try:
        with engines.ended_by_signals(), contextlib.ExitStack() as stack:
            machine = Machine(stack)
            chosen = _chosen(options.phase, paths)
            runs.side_by_side(_lanes(chosen, others, machine))
    except MachineFallsShortError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        code = start.MACHINE_FALLS_SHORT
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr, flush=True)
        code = start.INTERRUPTED
    print(runs.total, flush=True)
    return code or (0 if runs.total.passed and not runs.total.failed else 1)


def _lanes(
    chosen: Iterable[tuple[Phase, list[str]]], others: Sequence[str], machine: Machine
) -> list[list[Run]]:
    """Make the machine ready for all; return what may run at once, and in which order."""
    ready = []
    for phase, tests in chosen:
        began = time.monotonic()
        environment = machine.ready_for(phase)
        print(f"== {phase.name}: ready after {time.monotonic() - began:.1f} s", flush=True)
        run = Run(phase.name, (*others, *tests), environment, selected=bool(others))
        ready.append((phase.lane, run))
    lanes: dict[str, list[Run]] = {}
    for lane, run in ready:
        lanes.setdefault(lane if machine.has_ours else "", []).append(run)
    return list(lanes.values())


def _chosen(names: Sequence[str], paths: Set[str]) -> Iterator[tuple[Phase, list[str]]]:
    """Give the phases asked for, all if none is, each with the tests that pytest is to run."""
    for phase in PHASES:
        inside = [path for path in paths if _is_inside(path, phase.folder)]
        if (not names or phase.name in names) and (inside or not paths):
            yield phase, inside or [str(phase.folder)]


def _is_test(argument: str) -> bool:
    """Return whether an argument names tests: ``-k labs`` means no folder."""
    return (ROOT / argument.partition("::")[0]).exists() and _is_inside(argument, ROOT / "tests")


def _is_inside(path: str, folder: Path) -> bool:
    return (ROOT / path.partition("::")[0]).resolve().is_relative_to(folder)


class Machine:
    """What the phases have asked for so far; stops what it started when its stack closes."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._docker: start.DockerState | None = None
        self._hosts: dict[str, str] = {}

    def ready_for(self, phase: Phase) -> dict[str, str]:
        """Bring about what a phase needs; return the variables that tell its tests."""
        environment: dict[str, str] = {}
        if phase.engine:
            environment.update(self._engine_of(phase))
        if phase.all_engines and debian.is_debian_root():
            debian.install("proot")  # the sandbox of where nothing else works
            hosts = {name: self._engine(name) for name in engines.COMPARED}
            environment["MULTISTAGE_TEST_ENGINES"] = json.dumps(hosts)
        if phase.browser:
            environment["MULTISTAGE_TEST_CHROMIUM"] = chromium()
        return environment

    @property
    def has_ours(self) -> bool:
        """Whether phases build on engines of ours, of which there are several."""
        return self._docker is not None and not self._docker.answers

    def _engine_of(self, phase: Phase) -> Mapping[str, str]:
        """Return the variables of the machine's own engine, or of ours where it has none."""
        if self._docker is None:
            self._docker = start.docker_state()
        if self._docker.answers:
            return {}
        if not debian.is_debian_root():
            raise MachineFallsShortError(
                f"These tests need a Docker Engine. {self._docker.problem}\n{self._docker.mend}"
            )
        host = self._engine(phase.lane)
        ours = {"MULTISTAGE_TEST_ENGINES": json.dumps({phase.lane: host})}
        return engines.client_environment(host) | ours

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
