"""What this engine does not do, refused before anything runs, with the line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from multistage.dockerfile import Dockerfile, DockerfileError, Instruction, Stage

_GIT = re.compile(r"^(git@|git://|ssh://|https?://[^#]+\.git(#|$))")
_SAME = {"linux/arm64/v8": "linux/arm64", "linux/amd64/v1": "linux/amd64"}


def refuse_unsupported(model: Dockerfile, target: str | None, platform: str) -> None:
    """Refuse what the target needs and this engine cannot do.

    Raises:
        DockerfileError: names the line, and what to do instead.
    """
    for stage in model.needed(target):
        for line, what, mend in _refused(stage, platform):
            raise DockerfileError(what, path=model.path, line=line, mend=mend)


def _refused(stage: Stage, platform: str) -> Iterator[tuple[int, str, str]]:
    wanted = stage.platform
    if wanted and _SAME.get(wanted, wanted) != _SAME.get(platform, platform):
        yield (
            stage.line,
            f"This engine builds for {platform} only, not for {wanted}.",
            "Leave --platform out, or build with Docker.",
        )
    for instruction in stage.instructions:
        yield from _refused_instruction(instruction)


def _refused_instruction(instruction: Instruction) -> Iterator[tuple[int, str, str]]:
    if instruction.keyword == "ADD":
        for value in instruction.values[:-1]:
            if _GIT.match(value):
                yield (
                    instruction.line,
                    f"This engine cannot ADD a Git repository: {value}.",
                    "Clone it into the build context first, or build with Docker.",
                )
    if instruction.keyword != "RUN":
        return
    if instruction.flag("security") not in (None, "sandbox"):
        yield (
            instruction.line,
            "This engine has no RUN --security=insecure.",
            "Leave --security out, or build with Docker.",
        )
    if instruction.flag("network") not in (None, "", "default", "none", "host"):
        yield (
            instruction.line,
            f"RUN knows no network {instruction.flag('network')}.",
            "Write --network=none, or leave it out.",
        )
    if instruction.all_flags("device"):
        yield instruction.line, "This engine has no RUN --device.", "Build with Docker."
    for mount in instruction.all_flags("mount"):
        if "type=ssh" in mount.split(","):
            yield (
                instruction.line,
                "This engine has no RUN --mount=type=ssh.",
                "Clone into the build context first, or build with Docker.",
            )
