"""What nbval lets pass, and what every notebook of the course promises its reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from multistage.labs import LabFolder, labs
from multistage.quizzes import questions
from start import outputs_digest
from tests.notebooks.course import NOTEBOOKS, ROOT
from tests.notebooks.links import links

_LINES = 8
_WORDS_A_MINUTE, _MINUTES = 200, 25
_VIDEO = "https://www.youtube.com/watch?v=ajetvJmBvFo"
# nbval passes all of these silently: a magic or a command that fails, an expected exception that
# does not come, a comparison with an output that is not there.
_SILENT_TAGS = {"raises-exception", "nbval-check-output", "nbval-raises-exception", "nbval-skip"}
_SILENT_COMMENTS = ("NBVAL_", "PYTEST_VALIDATE_")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]


def test_a_notebook_is_valid(path: Path) -> None:
    nbformat.validate(read(path))


def test_code_cells_are_short_and_without_magics(path: Path) -> None:
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        assert 1 <= len(lines) <= _LINES
        assert not [line for line in lines if line.lstrip().startswith(("%", "!", "?"))]
        assert not cell.source.rstrip().endswith((";", "?"))
        compile(cell.source, path.name, "exec")


def test_nothing_passes_nbval_silently(path: Path) -> None:
    for cell in code_cells(path):
        assert not _SILENT_TAGS & set(cell.metadata.get("tags", []))
        assert not any(comment in cell.source for comment in _SILENT_COMMENTS)


def test_a_notebook_says_that_its_outputs_are_the_stored_ones(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["metadata"]["stored_outputs"] == outputs_digest(notebook)


def test_a_notebook_is_stored_executed_in_order_without_errors(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_no_widget_is_stored_without_its_content(path: Path) -> None:
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    data = [o.get("data", {}) for cell in code_cells(path) for o in cell.outputs]
    assert not [bundle for bundle in data if "application/vnd.jupyter.widget-view+json" in bundle]
    assert all("text/plain" in bundle for bundle in data if bundle)


def test_every_picture_says_in_words_what_it_shows(path: Path) -> None:
    data = [o.get("data", {}) for cell in code_cells(path) for o in cell.outputs]
    pages = [*prose(path), *(bundle.get("text/html", "") for bundle in data)]
    for tag in re.findall(r"<img [^>]*>", "\n".join(pages)):
        assert re.search(r'alt="[^"]{20,}"', tag)
    assert all("text/html" in bundle for bundle in data if "image/png" in bundle)


def test_a_notebook_opens_with_what_is_to_come(path: Path) -> None:
    opening = prose(path)[0]
    assert opening.startswith("# ")
    for promise in ("minutes", "video", "**What you will do.**", "**What you will learn**"):
        assert promise in opening
    assert "**What you will need.**" in opening


def test_a_notebook_ends_with_what_to_remember_and_where_to_go(path: Path) -> None:
    ending = prose(path)[-1]
    assert "## Remember" in ending
    assert "**Next:**" in ending


def test_every_code_cell_has_a_sentence_near_it(path: Path) -> None:
    kinds = [cell.cell_type for cell in read(path).cells]
    run = 0
    for kind in kinds:
        run = run + 1 if kind == "code" else 0
        assert run <= 4, "five cells in a row without a word between them"


def test_links_lead_somewhere(path: Path) -> None:
    for match in _LINK.finditer("\n".join(prose(path))):
        target = (match[1] or match[2]).partition("#")[0]
        if not target.startswith(("http://127.0.0.1", "https://")):
            assert (path.parent / target).resolve().is_relative_to(ROOT)
            assert (path.parent / target).exists(), target


def test_no_machine_shows_in_a_notebook(path: Path) -> None:
    text = path.read_text("utf-8")
    for trace in ("/home/", "/Users/", "/tmp/tmp", str(ROOT)):
        assert trace not in text


def test_the_video_is_named_and_linked_from_the_first(path: Path) -> None:
    text = "\n".join(prose(path))
    assert "video" in text
    if path == NOTEBOOKS[0]:
        assert _VIDEO in text


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.name)
def test_a_lab_knows_its_notebook(path: Path, lab: LabFolder) -> None:
    if f'Lab("{lab.name}")' in "".join(cell.source for cell in code_cells(path)):
        assert (path.parent / lab.notebook).is_file()


def test_a_notebook_links_to_the_one_before_the_contents_and_the_next(path: Path) -> None:
    line = links(path)
    assert prose(path)[0].splitlines()[2] == line
    assert prose(path)[-1].splitlines()[-1] == line


def test_every_quiz_shown_exists(path: Path) -> None:
    shown = re.findall(r'quiz\("([^"]+)"', "\n".join(cell.source for cell in code_cells(path)))
    assert not set(shown) - set(questions())


def test_a_notebook_takes_no_longer_to_read_than_it_says(path: Path) -> None:
    words = len(re.findall(r"\w+", re.sub(r"\(http\S+\)|<img[^>]*>", "", "\n".join(prose(path)))))
    promised = re.search(r"\*\*About (\d+) minutes", prose(path)[0])
    assert promised
    assert words / _WORDS_A_MINUTE <= min(int(promised[1]), _MINUTES)
