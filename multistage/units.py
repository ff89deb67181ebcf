"""Writes bytes and seconds for people."""

from __future__ import annotations

from datetime import datetime

_THREE_DIGITS = 99.95  # from here on a number of three digits has no decimals
_FACTORS = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9))
_NEXT_UNIT = 999.5
_ABOUT_THE_SAME = 0.05
_MINUTE = 60


def megabytes(size: int) -> str:
    """Return bytes as Docker writes them, in decimal units: ``7.4 MB``, ``1.02 GB``, ``512 kB``."""
    if size < _FACTORS[0][1]:
        return f"{size} B"
    for unit, factor in _FACTORS:
        value = size / factor
        if value < _NEXT_UNIT or unit == "GB":
            return f"{_three_digits(value)} {unit}"
    raise AssertionError("unreachable: the last unit takes every value")


def times_smaller(before: int, after: int) -> str:
    """Return how many times ``after`` goes into ``before``: ``138 times smaller``."""
    if after <= 0 or before <= 0:
        return "nothing to compare"
    if abs(before / after - 1) < _ABOUT_THE_SAME:
        return "the same size"
    if after > before:
        return f"{_three_digits(after / before)} times larger"
    return f"{_three_digits(before / after)} times smaller"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < _THREE_DIGITS else f"{value:.0f}"


def local_time(when: str) -> str:
    """Return a time as this machine's clock has it: ``2026-01-31 10:00 (UTC+01:00)``.

    ``when``: ISO 8601; what is none, or lies outside of the calendar, is returned as it is.
    """
    try:
        local = datetime.fromisoformat(when).astimezone()
    except (ValueError, OverflowError, OSError):
        return when
    offset = local.strftime("%z")  # +0100
    return f"{local:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"


def seconds(value: float) -> str:
    """Return seconds as ``3.2 s`` or ``2 min 05 s``."""
    if round(value, 1) < _MINUTE:
        return f"{value:.1f} s"
    minutes, rest = divmod(max(int(value), _MINUTE), _MINUTE)
    return f"{minutes} min {rest:02d} s"
