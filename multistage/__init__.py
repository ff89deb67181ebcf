"""The course kit: build, measure and check the labs of this course."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multistage.figures import (
        anatomy,
        app_share,
        compare_bases,
        flow,
        intruder,
        layer_stack,
        programs,
        pull_times,
        shares,
        single_and_multi,
    )
    from multistage.lessons import Example, predict, video
    from multistage.notebooks import Lab, doctor
    from multistage.quizzes import quiz
    from multistage.takeaways import checklist

_MODULES = {
    "takeaways": ("checklist",),
    "figures": (
        "anatomy", "app_share", "compare_bases", "flow", "intruder", "layer_stack", "programs",
        "pull_times", "shares", "single_and_multi",
    ),
    "lessons": ("Example", "predict", "video"),
    "notebooks": ("Lab", "doctor"),
    "quizzes": ("quiz",),
}  # fmt: skip

__all__ = [
    "Example",
    "Lab",
    "anatomy",
    "app_share",
    "checklist",
    "compare_bases",
    "doctor",
    "flow",
    "intruder",
    "layer_stack",
    "predict",
    "programs",
    "pull_times",
    "quiz",
    "shares",
    "single_and_multi",
    "video",
]


def __getattr__(name: str) -> Any:
    # ``import multistage`` stays light: a lab brings the Docker SDK and more with it.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"multistage.{module}"), name)
    raise AttributeError(f"module 'multistage' has no attribute {name!r}")
