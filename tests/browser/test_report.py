"""The report in a browser: it loads nothing, runs nothing, and fits light, dark and a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from multistage.labs import ROOT, labs
from multistage.recorded import Checked, CheckLine, Record, measure
from multistage.report import gather, write
from tests.unit.made import TWO_STAGES, made_build

OUTPUT = ROOT / "tests" / "output"
HOSTILE = (
    "<script>document.title = 'run'</script></pre><img src=x onerror=\"document.title='run'\">"
    '<img src="https://example.com/x.png"><style>*{color:red}</style>'
)
# Written into the document as hostile text would be if it were not escaped.
_INJECT = """
document.body.insertAdjacentHTML('beforeend', `<img src="https://example.com/a.png">
  <img src="x" onerror="document.title='run'"><iframe src="https://example.com/"></iframe>`);
const script = document.createElement('script');
script.textContent = "document.title = 'run'";
document.body.append(script);
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report with two passes, one of which says hostile things wherever it can."""
    before = measure(made_build({"base": 600_000_000, "app": 7_000_000}, stages=1))
    after = measure(made_build({"app": 7_000_000}))
    entries = [
        Checked(lab.name, "2026-01-31T10:00:00+01:00", True, checks, before, after, text)
        for lab, checks, text in zip(
            labs(),
            (
                (CheckLine("budget", "The image is small", True, True, "It is 7 MB."),),
                (CheckLine(HOSTILE, HOSTILE, True, False, HOSTILE),),
            ),
            (TWO_STAGES, f"{TWO_STAGES}# {HOSTILE}\n"),
            strict=False,
        )
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(gather(labs(), Record(tuple(entries))), path)
    return path


def opened(browser: Browser, file: Path, width: int = 1000, dark: bool = False) -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page.goto(file.as_uri())
    return page


def test_the_report_asks_for_nothing_and_runs_nothing(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    page.wait_for_timeout(500)
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    assert page.title().startswith("Multi-stage builds")
    assert page.locator("script, iframe").count() == 0
    assert page.locator("pre").last.inner_text().count("<script>") == 1
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 300)")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(34, 39, 46)"


def test_what_would_slip_through_is_stopped_by_the_policy(browser: Browser, file: Path) -> None:
    page = opened(browser, file)
    loaded: list[str] = []

    def answer(route: Route) -> None:  # as if the network were there
        loaded.append(route.request.url)
        route.fulfill(body="")

    page.route("https://**", answer)
    page.evaluate(_INJECT)
    page.wait_for_timeout(500)
    assert loaded == []
    assert page.title() != "run"


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (1000, True), (400, False)])
def test_it_fits_and_can_be_read(width: int, dark: bool, browser: Browser, file: Path) -> None:
    page = opened(browser, file, width, dark)
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / f"report-{width}{'-dark' if dark else ''}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
    assert page.evaluate("getComputedStyle(document.images[0]).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


def test_a_screen_reader_gets_headings_figures_and_checks(browser: Browser, file: Path) -> None:
    page = opened(browser, file)
    headings = page.get_by_role("heading").all_inner_texts()
    assert len(set(headings)) == len(headings)
    assert page.get_by_role("heading", level=2).count() == 1 + len(labs())
    assert page.get_by_role("img", name="Before: 607 MB unpacked").count() == 2
    assert page.get_by_role("rowheader", name="after").count() == 2


def test_on_paper_nothing_is_cut_off(browser: Browser, file: Path) -> None:
    page = opened(browser, file, 700)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(
        "[...document.querySelectorAll('pre, figure')].every(e => e.scrollWidth <= e.clientWidth)"
    )
