"""The report is one file that loads nothing, and shows what is on record, whatever it says."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from multistage import engines, labs, plots
from multistage.cli import main
from multistage.labs import LabFolder, read_lab
from multistage.recorded import Checked, CheckLine, Measured, Record, Sizes, measure
from multistage.report import NAME, gather, to_html
from multistage.units import local_time
from tests.unit.made import SINGLE_STAGE, TWO_STAGES, made_build, write_lab

BEFORE = made_build({"base": 600_000_000, "app": 7_000_000}, stages=1)
AFTER = made_build({"app": 7_000_000}, stand_ins=("golang:1.27",))
MEASURED = measure(BEFORE)
HOSTILE = "<script>alert(1)</script></pre><img src=x onerror=alert(2)>\"'&{{ 7*7 }}\x1b[2J\u202e"
CHECKS = (
    CheckLine("budget", "The image is small", True, True, "It is 7 MB."),
    CheckLine("exec-form", "CMD is a list", False, False, "It is a string."),
)
Captured = pytest.CaptureFixture[str]


@dataclass
class Page(HTMLParser):
    """A document as a browser takes it apart: elements with their attributes, and all text."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def opened(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    return read_lab(write_lab(tmp_path, "go") / "lab.toml")


@pytest.fixture
def course(lab: LabFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a course with one lab, on a machine without an engine."""
    monkeypatch.setenv("MULTISTAGE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(labs, "labs", lambda: (lab,))
    monkeypatch.setattr(engines, "PROBES", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    name: str = "go",
    *,
    passed: bool = True,
    when: str = "2026-01-31T10:00:00+01:00",
    before: Measured | None = MEASURED,
    dockerfile: str = TWO_STAGES,
) -> Checked:
    return Checked(name, when, passed, CHECKS, before, measure(AFTER), dockerfile)


def page_of(lab: LabFolder, *entries: Checked, **sizes: Sizes) -> Page:
    return opened(to_html(gather((lab,), Record(entries, sizes))))


def test_a_pass_is_shown_with_checks_figure_engine_bases_and_dockerfile(lab: LabFolder) -> None:
    page = page_of(lab, run())
    for shown in (
        "Passed", local_time("2026-01-31T10:00:00+01:00"), "The image is small", "607 MB",
        AFTER.builder, "stand-ins for golang:1.27", TWO_STAGES, date.today().isoformat(),
    ):  # fmt: skip
        assert shown in page.text
    assert page.all("img")[0]["alt"] == plots.compare_alt_text(lab.title, BEFORE, AFTER)
    assert page.text.count("done:") == 3


def test_what_was_not_built_says_so(lab: LabFolder) -> None:
    page = page_of(lab)
    assert "Not built yet. Build and check it with: multistage check go" in page.text
    assert page.text.count("not yet:") == 3
    assert not page.all("img")


def test_what_was_built_and_not_checked_says_so(lab: LabFolder) -> None:
    sizes = Sizes(measure(BEFORE), measure(AFTER), TWO_STAGES)
    page = page_of(lab, go=sizes)
    assert "not checked yet" in page.text
    assert len(page.all("img")) == 1
    assert TWO_STAGES in page.text


def test_without_a_before_there_is_no_figure_and_how_to_get_one(lab: LabFolder) -> None:
    page = page_of(lab, run(before=None))
    assert "multistage build go --before" in page.text
    assert not page.all("img")


def test_a_before_that_was_measured_later_is_shown(lab: LabFolder) -> None:
    page = page_of(lab, run(before=None), go=Sizes(MEASURED))
    assert len(page.all("img")) == 1
    assert "done: Confirmed final image is dramatically smaller" in page.text


def test_an_image_that_does_not_work_is_not_called_smaller(lab: LabFolder) -> None:
    ended = CheckLine("starts", "The container starts", True, False, "It ended.")
    page = page_of(lab, replace(run(passed=False), checks=(ended,)))
    assert (
        "607 MB → 7 MB unpacked, but the container does not do what it should"
        in page.all("img")[0]["alt"]
    )
    assert "not yet: Confirmed final image is dramatically smaller" in page.text
    assert "times smaller." not in page.text + page.all("img")[0]["alt"]


def test_what_passed_stays_after_a_later_failure(lab: LabFolder) -> None:
    later = run(passed=False, when="2026-02-01T10:00:00+01:00", dockerfile=SINGLE_STAGE)
    page = page_of(lab, run(), later)
    assert TWO_STAGES in page.text
    when = local_time("2026-02-01T10:00:00+01:00")
    assert f"A later run, on {when}, did not pass" in page.text


def test_checks_have_the_marks_and_words_of_the_terminals_list(lab: LabFolder) -> None:
    wrong = CheckLine("starts", "The container starts", True, False, "It ended.")
    page = page_of(lab, replace(run(), checks=(*CHECKS, wrong)))
    said = [" ".join(line.split()) for line in page.text.splitlines() if line[:1] in "✓✗○"]
    for line in (
        "✓ The image is small. It is 7 MB.",
        "○ CMD is a list (a stretch). It is a string.",
        "✗ The container starts. It ended.",
    ):
        assert line in said
    signs = [a["aria-label"] for a in page.all("span") if a.get("role") == "img"]
    assert signs == ["passed:", "not yet:", "failed:"]


def test_a_failure_is_no_pass(lab: LabFolder) -> None:
    page = page_of(lab, run(passed=False))
    assert "Not passed" in page.text
    assert "✓ Passed" not in page.text


def test_text_from_elsewhere_is_text(lab: LabFolder) -> None:
    kept = replace(measure(AFTER), builder=HOSTILE, stand_ins=(HOSTILE,), date=HOSTILE)
    check = CheckLine(HOSTILE, HOSTILE, True, False, HOSTILE)
    entry = Checked(
        HOSTILE, "2026-01-31", True, (check,), kept, kept, f"FROM a AS {HOSTILE}\nFROM b\n{HOSTILE}"
    )
    page = page_of(lab, entry)
    assert page.text.count("<script>alert(1)</script></pre>") >= 8
    usual = page_of(lab, run(lab.name))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in usual.elements}
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert "\x1b" not in page.text + json.dumps(page.elements, ensure_ascii=False)
    assert "\u202e" not in page.text + json.dumps(page.elements, ensure_ascii=False)
    assert "49" not in page.text


def test_nothing_is_loaded_and_nothing_could_be(lab: LabFolder) -> None:
    html = to_html(gather((lab,), Record((run(), run("other")))))
    page = opened(html)
    addresses = [a[name] for _, a in page.elements for name in ("src", "href") if name in a]
    assert len(addresses) == 3
    assert all(address.startswith("data:") for address in addresses)
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:",
        "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_ids_of_two_figures_cannot_clash(lab: LabFolder) -> None:
    page = page_of(lab, run(), run("other"))
    assert len(page.all("img")) == 2
    assert not [a for _, a in page.elements if "id" in a]


def test_a_figure_is_whole_also_where_a_name_looks_like_a_formula(lab: LabFolder) -> None:
    page = page_of(lab, run("$\\frac{-->$<&"))
    data = page.all("img")[0]["src"].partition("base64,")[2]
    assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_half_a_character_from_a_damaged_record_is_drawn_as_a_question_mark(
    lab: LabFolder,
) -> None:
    half = replace(measure(AFTER), builder="\ud800b", stand_ins=("\ud800s",), date="\ud800d")
    page = page_of(lab, replace(run("\ud800x"), before=half, after=half))
    (image,) = page.all("img")
    assert image["alt"].startswith("?x: ")
    ElementTree.fromstring(base64.b64decode(image["src"].partition("base64,")[2]))


def test_the_headings_are_an_outline(lab: LabFolder) -> None:
    page = page_of(lab, run())
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2, 3, 3, 3]
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))


def test_the_report_is_written_without_an_engine(course: Path, capsys: Captured) -> None:
    assert main(["report"]) == 0
    assert capsys.readouterr().out == f"Written: {NAME}\n"
    assert "Not built yet" in (course / NAME).read_text("utf-8")


def test_an_earlier_report_is_replaced_and_no_other_file(course: Path, capsys: Captured) -> None:
    assert main(["report", "--to", "mine.html"]) == 0
    (course / "other.html").write_text("<p>my notes", "utf-8")
    (course / "folder").mkdir()
    assert main(["report", "--to", "mine.html"]) == 0
    for name in ("other.html", "folder", "nowhere/report.html"):
        capsys.readouterr()
        assert main(["report", "--to", name]) == 2
        captured = capsys.readouterr()
        assert name in captured.err
        assert "--to" in captured.err
    assert (course / "other.html").read_text("utf-8") == "<p>my notes"


def test_as_json_it_is_the_same_in_one_object_and_no_file(course: Path, capsys: Captured) -> None:
    assert main(["report", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [lab["state"] for lab in document["labs"]] == ["not built"]
    assert [box["done"] for box in document["checklist"]] == [False] * 3
    assert document["file"] is None
    assert not (course / NAME).exists()
    assert main(["report", "--json", "--to", "mine.html"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "mine.html"
    assert (course / "mine.html").is_file()


def test_the_json_of_a_pass_holds_all_that_the_page_shows(lab: LabFolder) -> None:
    document = json.loads(json.dumps(gather((lab,), Record((run(),))).to_json()))
    (found,) = document["labs"]
    assert found["dockerfile"] == TWO_STAGES
    assert found["before"]["kinds"]["base"]["unpacked_size"] == 600_000_000
    assert [check["id"] for check in found["checks"]] == ["budget", "exec-form"]


def test_a_damaged_record_is_told_and_the_report_is_written(course: Path, capsys: Captured) -> None:
    (course / "progress.json").write_text("{", "utf-8")
    assert main(["report"]) == 0
    assert "set aside as progress.damaged-1.json" in capsys.readouterr().err
    assert (course / NAME).is_file()
