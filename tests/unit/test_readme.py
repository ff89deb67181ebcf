"""The README's tables say what the labs and notebooks say of themselves."""

import re

from multistage.labs import labs
from tests.unit.made import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_every_notebook_is_in_the_table_with_its_minutes() -> None:
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        minutes = re.search(r"\*\*About (\d+) minutes\.\*\*", notebook.read_text("utf-8"))
        row = next(line for line in README.splitlines() if f"notebooks/{notebook.name}" in line)
        assert minutes is not None
        assert f"| {minutes[1]} |" in row


def test_every_lab_is_in_the_table_with_its_notebook_and_solutions() -> None:
    for lab in labs():
        row = next(line for line in README.splitlines() if f"labs/{lab.name}/" in line)
        assert f"| {lab.notebook[:2]} |" in row
        for variant in (ROOT / "solutions" / lab.name).iterdir():
            assert f"solutions/{lab.name}/{variant.name}/README.md" in row
