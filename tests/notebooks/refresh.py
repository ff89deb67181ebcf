"""Runs all notebooks with the solutions in place and stores them with their outputs.

``python -m tests.notebooks.refresh [NOTEBOOK …] [--to FOLDER]``, on a machine with an engine.
What is stored is what nbval compares later runs with, and what people see who read the notebooks
on the web.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from start import outputs_digest
from tests.notebooks.course import NOTEBOOKS, ROOT, copy_course, environment
from tests.notebooks.links import linked

_WIDGET = "application/vnd.jupyter.widget-view+json"
_CELL_SECONDS = 900


def main() -> None:
    """Execute the notebooks asked for, or all, and write them back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", help="parts of their names (default: all)")
    parser.add_argument("--to", type=Path, default=ROOT / "notebooks", help="where to write them")
    options = parser.parse_args()
    names = options.notebooks
    with tempfile.TemporaryDirectory() as folder:
        course = copy_course(Path(folder), solved=True)
        os.environ.update(environment(course))
        for path in NOTEBOOKS:
            if names and not any(name in path.name for name in names):
                continue
            print(path.name, flush=True)
            notebook = nbformat.read(path, as_version=4)
            NotebookClient(
                notebook,
                timeout=_CELL_SECONDS,
                resources={"metadata": {"path": str(course / "notebooks")}},
                store_widget_state=False,
            ).execute()
            nbformat.write(linked(stripped(notebook), path), options.to / path.name)
            mark_as_stored(options.to / path.name)


def stripped(notebook: Any) -> Any:
    """Return the notebook without what changes from run to run and teaches nothing."""
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    count = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            # Without its state, which JupyterLab does not restore, a widget is an error message.
            output.get("data", {}).pop(_WIDGET, None)
    return notebook


def mark_as_stored(path: Path) -> None:
    """Note in the notebook that its outputs are the stored ones, so that start.py removes them."""
    notebook = json.loads(path.read_text("utf-8"))
    notebook["metadata"]["stored_outputs"] = outputs_digest(notebook)
    path.write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
