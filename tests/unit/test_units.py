"""Bytes, ratios and seconds as people read them, at the edges where units change."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.units import local_time, megabytes, seconds, times_smaller

FACTORS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (7_449_000, "7.45 MB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (99_949_999, "99.9 MB"),
        (99_999_999, "100 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1 GB"),
        (1_020_000_000, "1.02 GB"),
        (1_234_000_000_000, "1234 GB"),
    ],
)
def test_a_size_changes_its_unit_where_docker_does(size: int, text: str) -> None:
    assert megabytes(size) == text


@given(st.integers(0, 10**12 - 1))
def test_a_written_size_is_within_half_a_per_cent(size: int) -> None:
    number, unit = megabytes(size).split(" ")
    assert re.fullmatch(r"\d{1,4}|\d{1,2}\.\d{1,2}", number)
    assert abs(float(number) * FACTORS[unit] - size) <= 0.005 * size


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_the_larger_size_never_reads_smaller(one: int, other: int) -> None:
    def read(size: int) -> float:
        number, unit = megabytes(size).split(" ")
        return round(float(number) * FACTORS[unit])

    smaller, larger = sorted((one, other))
    assert read(smaller) <= read(larger)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0, 5, "nothing to compare"),
        (5, 0, "nothing to compare"),
        (-1, 5, "nothing to compare"),
        (100, 100, "the same size"),
        (1049, 1000, "the same size"),
        (1050, 1000, "1.05 times smaller"),
        (951, 1000, "the same size"),
        (950, 1000, "1.05 times larger"),
        (1000, 2000, "2 times larger"),
        (918, 7, "131 times smaller"),
        (995, 10, "99.5 times smaller"),
        (99_999, 1_000, "100 times smaller"),
        (5_000_000, 1, "5000000 times smaller"),
    ],
)
def test_a_ratio_says_which_way_it_goes(before: int, after: int, text: str) -> None:
    assert times_smaller(before, after) == text


@given(st.integers(1, 10**9), st.integers(1, 10**12))
def test_a_smaller_after_is_never_called_larger(after: int, more: int) -> None:
    text = times_smaller(after + more, after)
    assert text == "the same size" or re.fullmatch(r"\d+(\.\d+)? times smaller", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (3.25, "3.2 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (125.9, "2 min 05 s"),
        (3599.9, "59 min 59 s"),
        (7200, "120 min 00 s"),
    ],
)
def test_seconds_become_minutes_at_sixty(value: float, text: str) -> None:
    assert seconds(value) == text


@given(st.floats(60, 10**6))
def test_minutes_and_seconds_add_up(value: float) -> None:
    match = re.fullmatch(r"(\d+) min ([0-5]\d) s", seconds(value))
    assert match is not None
    assert int(match[1]) * 60 + int(match[2]) == int(value)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the process cannot be set")
@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC0", "2026-01-31 23:30 (UTC+00:00)"),
        ("IST-5:30", "2026-02-01 05:00 (UTC+05:30)"),
        ("EST5", "2026-01-31 18:30 (UTC-05:00)"),
    ],
)
def test_a_time_is_said_as_the_clock_here_has_it(
    zone: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert local_time("2026-01-31T23:30:12+00:00") == said
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("when", ["yesterday", "", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_of_the_calendar_is_left_as_it_is(when: str) -> None:
    assert local_time(when) == when
