"""The course kit: build, measure and check the labs of this course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multistage.notebooks import Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> Any:
    # ``import multistage`` stays light: Lab brings the Docker SDK and more with it.
    if name == "Lab":
        from multistage.notebooks import Lab

        return Lab
    raise AttributeError(f"module 'multistage' has no attribute {name!r}")
