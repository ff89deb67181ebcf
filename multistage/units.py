"""Writes bytes and seconds for people."""

from __future__ import annotations


def megabytes(size: int) -> str:
    """Return bytes as Docker writes them, in decimal units: ``7.4 MB``, ``1.02 GB``, ``512 kB``."""
    if size < 1_000:
        return f"{size} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        value = size / factor
        if value < 999.5 or unit == "GB":
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    raise AssertionError("unreachable: the last unit takes every value")


def times_smaller(before: int, after: int) -> str:
    """Return how many times ``after`` goes into ``before``: ``138 times smaller``."""
    if after <= 0 or before <= 0:
        return "nothing to compare"
    ratio = before / after
    if 0.95 < ratio < 1.05:
        return "the same size"
    if ratio < 1:
        return f"{1 / ratio:.3g} times larger"
    return f"{ratio:.3g} times smaller" if ratio < 100 else f"{ratio:.0f} times smaller"


def seconds(value: float) -> str:
    """Return seconds as ``3.2 s`` or ``2 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"
