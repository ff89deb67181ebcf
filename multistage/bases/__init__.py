"""Stand-in base images, for where the registry cannot be reached.

A stand-in is assembled from Debian's packages and from the toolchains' PyPI and npm packages,
by the recipes in ``bases/``. Nothing is unpacked with special rights and no package script
runs, so root and an ordinary user get the same image.
"""

from __future__ import annotations

from multistage.bases.build import Announce, StandIn, is_built, stand_in
from multistage.bases.image import RECIPE_LABEL, SOURCES_LABEL
from multistage.bases.recipe import (
    LABEL,
    Recipe,
    find_recipe,
    is_stand_in,
    normal_reference,
    recipes,
)

__all__ = [
    "LABEL",
    "RECIPE_LABEL",
    "SOURCES_LABEL",
    "Announce",
    "Recipe",
    "StandIn",
    "find_recipe",
    "is_built",
    "is_stand_in",
    "normal_reference",
    "recipes",
    "stand_in",
]
