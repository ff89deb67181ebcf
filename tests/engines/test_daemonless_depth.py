"""Folders may go deeper than Python nests calls: no step, and nothing after it, minds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from multistage.images import final_tree, read_archive
from tests.engines.daemonless import BASE, build, engine_in, faults, needs_stand_ins, write

DEPTH = sys.getrecursionlimit() + 200
DOCKERFILE = f"""\
FROM {BASE} AS build
RUN i=0; while [ $i -lt {DEPTH} ]; do mkdir d; cd d; i=$((i+1)); done; echo deep > file
RUN mv /d /moved

FROM {BASE}
COPY --from=build /moved /copied
RUN --mount=type=bind,from=build,source=/moved,target=/m find /m -type f | wc -c > /length
WORKDIR {"/w" * DEPTH}
"""

pytestmark = [pytest.mark.docker, needs_stand_ins]


# Not proot: it looks at every folder of a path anew, and takes minutes for this one.
@pytest.mark.parametrize("kind", ["root", "user-namespaces", "chroot"])
def test_a_build_may_go_deep(kind: str, deep_folder: Path) -> None:
    engine = engine_in(deep_folder / "engine", kind)
    context = write(deep_folder / "context", DOCKERFILE)
    image = build(engine, context)
    with engine.save(image) as stream:
        files = final_tree(read_archive(stream, image, keep_files=True, from_engine=True))
    assert f"copied{'/d' * (DEPTH - 1)}/file" in files
    assert "length" in files
    assert faults(engine) == []
    build(engine, context)  # what was there before does not stand in the way
