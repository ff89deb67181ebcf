"""The course kit: build, measure and check the labs of this course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multistage.notebooks import Lab, doctor

__all__ = ["Lab", "doctor"]


def __getattr__(name: str) -> Any:
    # ``import multistage`` stays light: a lab brings the Docker SDK and more with it.
    if name in __all__:
        from multistage import notebooks

        return getattr(notebooks, name)
    raise AttributeError(f"module 'multistage' has no attribute {name!r}")
