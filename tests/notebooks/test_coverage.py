"""Every part of the video, and every term it names, has its place in a notebook."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.course import NOTEBOOKS, ROOT

# The headings of the video's summary, in the video's order.
PARTS = (
    "Key terms",
    "Problem & solution",
    "The analogy",
    "Problem: fat images",
    "Solution: multi-stage builds",
    "Single-stage vs multi-stage",
    "Example: build a React/Vite app, serve with nginx",
    "Example: Go binary (even smaller)",
    "Key flag: COPY --from",
    "Build & verify size",
    "Benefits",
    "End-to-end flow",
    "Key takeaways",
    "Checklist",
)
# Its key terms, as this course writes them, each defined where it is set in bold.
TERMS = (
    "multi-stage build",
    "Build stage",
    "Runtime stage",
    "`COPY --from`",
    "Artifact",
    "Final image",
)
_ROW = re.compile(
    r"^\| ([^|]+?) \| \[([^\]]+)\]\(notebooks/([\w.]+)\), \*([^*]+)\* \|$", re.MULTILINE
)


def headings(name: str) -> list[str]:
    cells = nbformat.read(ROOT / "notebooks" / name, as_version=4).cells
    lines = [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines()]
    return [line.lstrip("# ") for line in lines if re.match("#{1,3} ", line)]


def table() -> dict[str, list[tuple[str, str]]]:
    """Return the README's table: for each part of the video its notebooks and headings."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part, _title, notebook, heading in _ROW.findall((ROOT / "README.md").read_text("utf-8")):
        found.setdefault(part.replace("`", ""), []).append((notebook, heading))
    return found


def test_the_table_has_every_part_of_the_video_in_its_order() -> None:
    assert tuple(table()) == PARTS


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_video_has_its_heading_in_a_notebook(part: str) -> None:
    for notebook, heading in table()[part]:
        assert heading in headings(notebook)


@pytest.mark.parametrize("term", TERMS)
def test_a_key_term_is_defined_in_the_lesson_on_stages(term: str) -> None:
    cells = nbformat.read(ROOT / "notebooks/20_stages.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert f"**{term}**" in text


def test_the_glossary_has_every_key_term() -> None:
    text = (ROOT / "notebooks/glossary.md").read_text("utf-8").lower()
    assert not [term for term in TERMS if term.lower().strip("`") not in text]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_readme_lists_every_notebook(path: Path) -> None:
    assert f"(notebooks/{path.name})" in (ROOT / "README.md").read_text("utf-8")
