"""How long does the daemonless engine take to build the labs, beside other builders?

Base images are there, nothing is cached, the builders build in turns. Also: a rebuild of which all
is cached, and how the time grows with the files of the context and the steps of the Dockerfile.
Needs a Docker Engine, Buildah, proot and root; leaves out and names what is not there.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from peers import LABS, TAG, Lab, Peer, bare, buildah, daemonless, docker, kinds

from multistage.engines import BuildRequest, Engine, choose
from multistage.engines.daemonless import DaemonlessEngine

FILES = (10, 1_000, 50_000)
STEPS = (5, 50, 200)


def main() -> None:
    """Run the rounds and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lab", action="append", help="only this lab")
    parser.add_argument("--without", action="append", default=[], help="leave a builder out")
    parser.add_argument("--growth", action="store_true", help="only how the time grows")
    parser.add_argument("--build-once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build_once:
        print(peak_of_one_build(options.build_once))
        return
    document: dict[str, Any] = {"labs": {}}
    if not options.growth:
        found = [p for p in peers() if not any(word in p.name for word in options.without)]
        for lab in LABS:
            if not options.lab or lab.name in options.lab:
                document["labs"][lab.name] = measure(lab, found, options.rounds)
        document["cached"] = cached(options.rounds)
        document["peak_memory"] = {lab.name: memory_of_one_build(lab.name) for lab in LABS}
    document["growth"] = growth()
    print(json.dumps(document, indent=2) if options.json else as_text(document))


def peers() -> list[Peer]:
    """Return the builders that are there."""
    found = [docker(), *(daemonless(kind) for kind in kinds())]
    if shutil.which("buildah"):
        found.append(buildah())
    return [*found, bare()]


def measure(lab: Lab, found: list[Peer], rounds: int) -> dict[str, Any]:
    """Return the seconds of every builder, and the ratios to Docker and to the others."""
    runs: dict[str, list[float]] = {peer.name: [] for peer in found}
    try:
        for peer in found:
            peer.prepare(lab)
        for number in range(rounds):
            # Another one begins in each round: whoever comes after a long one pays for its writes.
            turn = number % len(found)
            for peer in found[turn:] + found[:turn]:
                peer.fresh(lab)
                settle()
                runs[peer.name].append(timed(peer.build, lab))
                said = f"{lab.name}, round {number + 1} of {rounds}, {peer.name}"
                print(f"{said}: {runs[peer.name][-1]:.2f} s", file=sys.stderr, flush=True)
    finally:
        for peer in found:
            peer.close(lab)
    medians = {name: median(seconds) for name, seconds in runs.items()}
    ratios = {
        f"{name} / {other}": medians[name] / medians[other]
        for name in medians
        if name.startswith("daemonless")
        for other in medians
        if not other.startswith("daemonless")
    }
    return {"runs": runs, "medians": medians, "ratios": ratios}


def settle() -> None:
    """Let the disk write what the builder before has left to write."""
    subprocess.run(["sync"], check=True)


def timed(work: Callable[[Any], object], argument: object) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.monotonic()
    work(argument)
    return time.monotonic() - began


def cached(rounds: int) -> dict[str, Any]:
    """Return the seconds of rebuilds in which every step is cached, by Docker and in process."""
    engines: dict[str, Engine] = {"docker": choose("docker"), "daemonless": DaemonlessEngine()}
    document: dict[str, Any] = {}
    for lab in LABS:
        request = BuildRequest(lab.context, lab.dockerfile, TAG)
        runs: dict[str, list[float]] = {name: [] for name in engines}
        for engine in engines.values():
            engine.build(request)
        for _ in range(rounds):
            for name, engine in engines.items():
                runs[name].append(timed(engine.build, request))
        medians = {name: median(seconds) for name, seconds in runs.items()}
        ratio = medians["daemonless"] / medians["docker"]
        document[lab.name] = {"medians": medians, "ratio": ratio}
    return document


def growth() -> dict[str, Any]:
    """Return how the daemonless engine's time grows: seconds by number of files, and of steps."""
    engine = DaemonlessEngine()
    with tempfile.TemporaryDirectory() as folder:
        files = {
            count: _many_files(engine, Path(folder) / f"files-{count}", count) for count in FILES
        }
        steps = {
            count: _many_steps(engine, Path(folder) / f"steps-{count}", count) for count in STEPS
        }
    return {"files": files, "steps": steps}


def _many_files(engine: Engine, folder: Path, count: int) -> dict[str, float]:
    for number in range(count):
        place = folder / f"{number // 100}" / f"{number}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"file {number}\n" * 20, "utf-8")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /files/\n", "utf-8")
    return _built(engine, folder)


def _many_steps(engine: Engine, folder: Path, count: int) -> dict[str, float]:
    folder.mkdir()
    lines = "".join(f"RUN echo {number} > /step-{number}\n" for number in range(count))
    (folder / "Dockerfile").write_text(f"FROM nginx:alpine\n{lines}", "utf-8")
    return _built(engine, folder)


def _built(engine: Engine, folder: Path) -> dict[str, float]:
    anew = BuildRequest(folder, folder / "Dockerfile", TAG, no_cache=True)
    again = BuildRequest(folder, folder / "Dockerfile", TAG)
    return {"anew": timed(engine.build, anew), "cached": timed(engine.build, again)}


def memory_of_one_build(lab: str) -> int:
    """Return the peak of memory, in bytes, of a process that builds a lab and nothing else."""
    command = [sys.executable, __file__, "--build-once", lab]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def peak_of_one_build(name: str) -> int:
    """Build a lab; return this process' own peak of memory, without its children's."""
    lab = next(lab for lab in LABS if lab.name == name)
    DaemonlessEngine().build(BuildRequest(lab.context, lab.dockerfile, TAG, no_cache=True))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def as_text(document: dict[str, Any]) -> str:
    """Return the figures as lines."""
    lines = []
    for lab, found in document["labs"].items():
        lines.append(f"{lab}, cold build, medians:")
        lines += [f"  {seconds:6.2f} s  {name}" for name, seconds in found["medians"].items()]
        lines += [f"  {ratio:6.2f}    {name}" for name, ratio in found["ratios"].items()]
    for lab, found in document.get("cached", {}).items():
        medians = ", ".join(f"{name} {s:.3f} s" for name, s in found["medians"].items())
        lines.append(f"{lab}, all cached: {medians}, ratio {found['ratio']:.2f}")
    for lab, size in document.get("peak_memory", {}).items():
        lines.append(f"{lab}: the engine's own peak of memory {size / 1e6:.0f} MB")
    for what, found in document["growth"].items():
        for count, seconds in found.items():
            each = seconds["anew"] / count * 1000
            lines.append(
                f"{count:6} {what}: {seconds['anew']:.2f} s ({each:.2f} ms each), "
                f"all cached {seconds['cached']:.2f} s"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
