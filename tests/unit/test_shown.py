"""What results give a notebook: text everywhere, and HTML that shows the same."""

from __future__ import annotations

import re

from multistage.plots import flow
from multistage.shown import Shown, drawn
from tests.unit.made import made_build

EVIL = "<script>alert('x')</script>\x1b[31m"


def html_of(shown: Shown) -> str:
    return str(shown._repr_mimebundle_()["text/html"])


def test_text_is_broken_between_words_and_never_html() -> None:
    page = html_of(Shown(f"stand-ins for nginx:alpine {EVIL}"))
    assert "word-break:normal" in page
    assert "stand-ins for nginx:alpine &lt;script&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page


def test_html_of_its_own_is_shown_as_it_is() -> None:
    assert html_of(Shown("video", "<iframe></iframe>")) == "<iframe></iframe>"


def test_a_build_shows_in_html_what_it_shows_as_text() -> None:
    build = made_build({"app": 1})
    assert re.sub("<[^>]*>", "", build._repr_html_()) == repr(build)


def test_a_figure_is_framed_and_told_in_words() -> None:
    page = html_of(drawn(flow()))
    assert 'alt="Five boxes in a row' in page
    assert "border:1px solid" in page
