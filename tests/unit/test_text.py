"""Text from images and containers cannot steer the terminal it is shown on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.errors import LearnerError
from multistage.shown import Shown
from multistage.text import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07rest", "rest"),
        ("\x1b]52;c;ZXZpbA==\x1b\\rest", "rest"),
        ("open \x1b]oops\nnext", "open \nnext"),
        ("one\r\ntwo\tthree\n", "one\ntwo\tthree\n"),
        ("over\rwritten", "overwritten"),
        ("\x9b31mred", "31mred"),
        ("right\u202eto left", "rightto left"),
        ("ünïcödé ✓ … ·", "ünïcödé ✓ … ·"),
        ("half \ud800 and \udcff", "half ? and ?"),
    ],
)
def test_control_sequences_are_left_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert not [c for c in plain(text) if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"]


def test_errors_and_notebooks_show_plain_text() -> None:
    assert str(LearnerError("\x1b[2Jgone", where="a:1", mend="\x1b[31mred")) == "gone\na:1\nred"
    assert str(Shown("\x1b[2Jgone")) == "gone"
