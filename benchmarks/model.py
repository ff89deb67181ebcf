"""How long does the Dockerfile model take, beside BuildKit's own parser from PyPI?

The Dockerfile has 200 stages and 2,000 lines. The parser (``dockerfile``, a test dependency)
stops at instructions; the model goes on to stages and edges.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import dockerfile

from multistage.dockerfile import parse

STAGES = 200
LINES = 2_000


def text() -> str:
    """Return the Dockerfile: each stage copies from the one before, with flags and variables."""
    lines = ["ARG VERSION=3.22", "FROM alpine:${VERSION} AS s0"]
    for stage in range(1, STAGES):
        lines += [
            "ENV A=1 B=${A:-2}",
            "WORKDIR /src",
            "COPY --chown=1:1 . .",
            "# a comment",
            "RUN --mount=type=cache,target=/cache make && \\",
            "    make install",
            "ARG VERSION",
            'LABEL name="value with blanks" version=${VERSION}',
            f"FROM alpine:${{VERSION}} AS s{stage}",
            f"COPY --from=s{stage - 1} /src /src",
        ]
    lines += ["RUN true"] * (LINES - len(lines))
    return "\n".join(lines) + "\n"


def timed(work: Callable[[str], object], argument: str) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.perf_counter()
    work(argument)
    return time.perf_counter() - began


def main() -> None:
    """Run the rounds and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = text()
    assert len(parse(source).stages) == STAGES
    assert source.count("\n") == LINES
    model, peer = [], []
    for _ in range(options.rounds):
        model.append(timed(parse, source))
        peer.append(timed(dockerfile.parse_string, source))
    ratios = [m / p for m, p in zip(model, peer, strict=True)]
    document = {
        "stages": STAGES,
        "lines": LINES,
        "model_seconds": {"runs": model, "median": median(model)},
        "buildkit_parser_seconds": {"runs": peer, "median": median(peer)},
        "ratio": {"runs": ratios, "median": median(ratios)},
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(f"{STAGES} stages, {LINES:,} lines, median of {options.rounds}:")
    print(f"the model (instructions, stages, edges): {median(model) * 1000:.1f} ms")
    print(f"BuildKit's parser (instructions):        {median(peer) * 1000:.1f} ms")
    print(f"ratio: {median(ratios):.2f}")


if __name__ == "__main__":
    main()
