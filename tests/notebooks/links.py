"""The links between notebooks: previous, contents, next. ``refresh.py`` writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from tests.notebooks.course import NOTEBOOKS

_CONTENTS = "[Contents](../README.md#what-is-in-it)"
_LINE = re.compile(r"\n*^(?:\[← .*|\[Contents\].*)$", re.MULTILINE)


def title(path: Path) -> str:
    """Return a notebook's title."""
    return str(nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].lstrip("# "))


def links(path: Path) -> str:
    """Return the line of links that a notebook carries at its top and at its end."""
    names = [notebook.name for notebook in NOTEBOOKS]
    place = names.index(path.name)
    parts = [_CONTENTS]
    if place > 0:
        parts.insert(0, f"[← {title(NOTEBOOKS[place - 1])}]({names[place - 1]})")
    if place + 1 < len(names):
        parts.append(f"[{title(NOTEBOOKS[place + 1])} →]({names[place + 1]})")
    return " · ".join(parts)


def linked(notebook: Any, path: Path) -> Any:
    """Return the notebook with its links as they should be, under its title and at its end."""
    line = links(path)
    first, last = notebook.cells[0], notebook.cells[-1]
    heading, _, rest = _LINE.sub("", first.source).partition("\n")
    first.source = f"{heading}\n\n{line}\n\n{rest.lstrip()}"
    last.source = f"{_LINE.sub('', last.source).rstrip()}\n\n{line}"
    return notebook
