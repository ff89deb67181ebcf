"""How long does the size meter take on an image of 1 GB, beside reading ``docker save`` at all?

Both read the same stream of the same engine, in turns. The peak of memory is that of a process
of its own that does nothing but measure. Needs a Docker Engine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from multistage.builds import build, read_image
from multistage.engines import Engine, choose

TAG = "multistage/benchmark:meter"
# Real files: compilers and libraries, in one layer of the base and one of its own.
DOCKERFILE = "FROM golang:1.27\nRUN cp -r /usr/lib /copy && cp -r /usr/local/go/src /copy/src\n"
BLOCK = 1 << 20


def main() -> None:
    """Run the rounds and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure-once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    engine = choose("docker")
    if options.measure_once:
        measure(engine)
        print(peak_memory())
        return
    size = prepare(engine)
    read, measured = [], []
    for _ in range(options.rounds):
        read.append(timed(read_to_nowhere, engine))
        measured.append(timed(measure, engine))
    ratios = [m / r for m, r in zip(measured, read, strict=True)]
    document = {
        "unpacked_size": size,
        "engine": engine.describe(),
        "read_seconds": {"runs": read, "median": median(read)},
        "meter_seconds": {"runs": measured, "median": median(measured)},
        "ratio": {"runs": ratios, "median": median(ratios)},
        "meter_peak_memory": memory_of_one_measurement(),
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(f"image: {size / 1e9:.2f} GB unpacked, on {engine.describe()}")
    print(f"docker save, read to nowhere: {median(read):.2f} s")
    print(f"the meter:                    {median(measured):.2f} s")
    print(f"ratio: {median(ratios):.2f} (median of {options.rounds}: {rounded(ratios)})")
    print(f"the meter's peak memory: {document['meter_peak_memory'] / 1e6:.0f} MB")


def prepare(engine: Engine) -> int:
    """Build the image; return its unpacked size in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(DOCKERFILE, "utf-8")
        return build(engine, Path(folder), tag=TAG).unpacked_size


def timed(work: Callable[[Engine], None], engine: Engine) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.monotonic()
    work(engine)
    return time.monotonic() - began


def read_to_nowhere(engine: Engine) -> None:
    """Read the stream, and do nothing with it."""
    with engine.save(TAG) as stream:
        while stream.read(BLOCK):
            pass


def measure(engine: Engine) -> None:
    """Measure the image from the same stream."""
    read_image(engine, TAG)


def memory_of_one_measurement() -> int:
    """Return the peak of memory, in bytes, of a process that measures the image."""
    command = [sys.executable, __file__, "--measure-once"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak_memory() -> int:
    """Return this process' peak of memory in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rounded(values: list[float]) -> str:
    """Return values with two decimals."""
    return ", ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
