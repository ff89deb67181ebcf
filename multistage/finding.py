"""What before and after say to one another, in a phrase."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from multistage.builds import Build
from multistage.units import megabytes, times_smaller

_OF_THE_CONTAINER = ("builds", "starts", "assets", "stops")


class Judged(Protocol):
    """What one check found, now or on record."""

    @property
    def id(self) -> str:
        """The check's name."""

    @property
    def required(self) -> bool:
        """Whether the lab asks for it."""

    @property
    def passed(self) -> bool:
        """Whether it is right."""


def works(checks: Iterable[Judged]) -> bool:
    """Return whether the container does what is required: starts, answers and stops."""
    return all(c.passed for c in checks if c.required and is_of_the_container(c.id))


def is_of_the_container(check: str) -> bool:
    """Return whether the check of this name asks the running container."""
    return check in _OF_THE_CONTAINER or check.startswith("answers-")


def finding(before: Build, after: Build, *, works: bool = True) -> str:
    """Return how many times smaller the after image is; of one that does not work, the sizes."""
    said = verdict(before, after, works=works)
    if works or not after.is_multistage:
        return said
    sizes = f"{megabytes(before.unpacked_size)} → {megabytes(after.unpacked_size)} unpacked"
    return f"{sizes}, but {said}"


def verdict(before: Build, after: Build, *, works: bool = True) -> str:
    """Return how many times smaller the after image is, or why that is not said.

    An image that does not work is no smaller way to the same thing.
    """
    if not after.is_multistage:
        return "not converted yet"
    if not works:
        return "the container does not do what it should yet"
    return times_smaller(before.unpacked_size, after.unpacked_size)
