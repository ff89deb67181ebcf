"""What the lessons show of a finished build: figures, and tables as text."""

from __future__ import annotations

from collections.abc import Mapping

from multistage import plots
from multistage.builds import Build, read_image
from multistage.engines import choose
from multistage.images import File, final_tree, parts_of, surface
from multistage.shown import Shown, drawn

_STAND_INS_LACK = (
    "Stand-in base images have no package lists and no set-uid programs. Real ones have both."
)


def tree_of(build: Build) -> dict[str, File]:
    """Return the files that a container of this build's image would see, by path."""
    return final_tree(read_image(choose(build.engine), build.image_id, keep_files=True))


def shares(build: Build) -> Shown:
    """Return what an image is made of: toolchain, package manager, dependencies, source, app."""
    name = build.image.rpartition(":")[2].capitalize()
    return drawn(plots.shares(name, build, parts_of(tree_of(build))))


def pull_times(images: Mapping[str, Build]) -> Shown:
    """Return how long images travel at 5, 50 and 500 Mbit/s; the last is held to the first."""
    return drawn(plots.pull_times(images))


def layer_stack(build: Build) -> Shown:
    """Return an image's layers, the lowest at the bottom."""
    return drawn(plots.layer_stack(build))


def compare_bases(images: Mapping[str, Build], title: str = "The same app") -> Shown:
    """Return the same app on several runtime bases, the largest at the top."""
    return drawn(plots.bases(title, images))


def intruder(images: Mapping[str, Build]) -> Shown:
    """Return what an intruder would find in each image: programs, shells, package managers."""
    lines = []
    stand_ins = {name for build in images.values() for name in build.stand_ins}
    for name, build in images.items():
        found = surface(tree_of(build))
        lines.append(f"{name}:")
        lines.append(f"    programs: {found.programs:,}, set-uid among them: {found.set_uid}")
        lines.append(f"    shells: {', '.join(found.shells) or 'none'}")
        lines.append(f"    package managers: {', '.join(found.package_managers) or 'none'}")
        lines.append(f"    packages that it lists as installed: {found.packages:,}")
    if stand_ins:
        lines.append(_STAND_INS_LACK)
    return Shown("\n".join(lines))


def app_share(build: Build) -> float:
    """Return how many per cent of an image's bytes are the app."""
    parts = parts_of(tree_of(build))
    return round(100 * parts["app"] / (sum(parts.values()) or 1), 1)


def programs(build: Build) -> int:
    """Return how many programs are in an image."""
    return surface(tree_of(build)).programs


def single_and_multi() -> Shown:
    """Return a single-stage build beside a multi-stage one."""
    return drawn(plots.single_and_multi())


def anatomy() -> Shown:
    """Return the parts of ``COPY --from``."""
    return drawn(plots.anatomy())


def flow() -> Shown:
    """Return the way from a folder of sources to a running container."""
    return drawn(plots.flow())
