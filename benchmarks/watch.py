"""How long from a save to watch mode's first feedback and to the end of its loop?

A change in the runtime stage of the Go lab, saved in place; all else is cached. On the same machine
in turns: watch mode on each engine, and a plain ``docker build`` of the same change, which neither
measures nor checks nor compares. Needs a Docker Engine; leaves out what is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from multistage.engines import choose, probe
from multistage.errors import CourseError
from multistage.labs import ROOT, LabFolder, find_lab
from multistage.watch.feedback import Building, Compared, Failed, Feedback, Waiting
from multistage.watch.lint import linters
from multistage.watch.loop import Watch
from multistage.watch.rounds import Rounds
from multistage.watch.saves import saves

LAB, PEER = "go-scratch", "docker build"
SOLUTION = (ROOT / "solutions" / LAB / "scratch" / "Dockerfile").read_text("utf-8")
SECONDS = 600  # the first round, of which nothing is cached
FIRST, LOOP = "first feedback", "whole loop"


class Watched:
    """A watch of a copy of the lab, on one engine; all of it is cached after its first round."""

    def __init__(self, folder: Path, engine_name: str) -> None:
        self._lab = copy_of_the_lab(folder)
        self._said: queue.Queue[tuple[float, Feedback]] = queue.Queue()
        engine = choose(engine_name)
        self.name, self.description = engine_name, engine.describe()
        rounds = Rounds(self._lab, engine, linters(engine))
        self.watch = Watch(partial(saves, self._lab), rounds.round, self._show).start()
        self._round()

    def _show(self, feedback: Feedback) -> None:
        self._said.put((time.monotonic(), feedback))

    def _round(self) -> dict[type[Feedback], float]:
        """Return when what was said in one round."""
        when: dict[type[Feedback], float] = {}
        while Waiting not in when:
            at, feedback = self._said.get(timeout=SECONDS)
            when[type(feedback)] = at
            if isinstance(feedback, Failed):
                raise feedback.error
        return when

    def measure(self, number: int) -> dict[str, float]:
        """Save a change; return the seconds until the first feedback, and to the end."""
        began = time.monotonic()
        self._lab.dockerfile.write_text(changed(number), "utf-8")
        when = self._round()
        # The build begins when model, graph and lint are shown.
        return {FIRST: when[Building] - began, LOOP: when[Compared] - began}


def main() -> None:
    """Run the rounds and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="multistage-watch-") as folder:
        os.environ["MULTISTAGE_PROGRESS"] = str(Path(folder) / "progress.json")  # not a learner's
        found = measure(Path(folder), options.rounds)
    print(json.dumps(found, indent=2) if options.json else as_text(found))


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Return the runs, medians and ratios."""
    watched: list[Watched] = []
    runs: dict[str, list[float]] = {}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    try:
        for state in probe():
            if state.available:
                watched.append(Watched(folder / state.name, state.name))
        peer = copy_of_the_lab(folder / "peer") if has_docker() else None
        for number in range(rounds):
            for each in watched:
                for what, seconds in each.measure(number).items():
                    runs.setdefault(f"{each.name}: {what}", []).append(seconds)
            if peer is not None:
                runs.setdefault(PEER, []).append(plain_build(peer, number))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        for each in watched:
            each.watch.stop()
    medians = {name: median(seconds) for name, seconds in runs.items()}
    ratios = {
        f"{name} / {PEER}": seconds / medians[PEER]
        for name, seconds in medians.items()
        if PEER in medians and name.endswith(LOOP)
    }
    engines = {each.name: each.description for each in watched}
    return {"engines": engines, "load": load, "runs": runs, "medians": medians, "ratios": ratios}


def copy_of_the_lab(folder: Path) -> LabFolder:
    """Return the lab in a folder of its own, its solution in place."""
    lab = find_lab(LAB)
    shutil.copytree(lab.folder, folder)
    lab = replace(lab, folder=folder)
    lab.dockerfile.write_text(SOLUTION, "utf-8")
    return lab


def changed(number: int) -> str:
    """Return the solution with a change in its runtime stage that no build has seen before."""
    return SOLUTION.replace("EXPOSE", f"ENV CHANGE={number}-{time.time_ns()}\nEXPOSE")


def has_docker() -> bool:
    """Return whether a Docker Engine answers."""
    try:
        return choose("docker").name == "docker"
    except CourseError:
        return False


def plain_build(lab: LabFolder, number: int) -> float:
    """Return the seconds that ``docker build`` takes for such a change."""
    lab.dockerfile.write_text(changed(number), "utf-8")
    words = ["docker", "build", "--tag", "multistage/benchmark:watch", str(lab.app)]
    began = time.monotonic()
    subprocess.run(words, check=True, capture_output=True)
    return time.monotonic() - began


def as_text(found: dict[str, Any]) -> str:
    """Return the figures as lines."""
    lines = [f"{name}: {description}" for name, description in found["engines"].items()]
    rounds = max((len(runs) for runs in found["runs"].values()), default=0)
    lines.append(f"A change in the runtime stage of {LAB}, medians of {rounds}:")
    for name, seconds in found["medians"].items():
        runs = found["runs"][name]
        lines.append(f"  {seconds:6.3f} s  {name} ({min(runs):.3f} to {max(runs):.3f})")
    lines += [f"  {ratio:6.2f}    {name}" for name, ratio in found["ratios"].items()]
    if found["load"] is not None:
        lines.append(f"The machine's load when it began: {found['load']:.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
