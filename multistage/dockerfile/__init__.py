"""The Dockerfile model: text to instructions to stages and the edges between them.

Pure, and of the standard library alone. The syntax is that of the Dockerfile reference
(https://docs.docker.com/reference/dockerfile/), read as BuildKit reads it.
"""

from __future__ import annotations

from multistage.dockerfile.errors import DockerfileError
from multistage.dockerfile.parser import Heredoc, Instruction, ParsedFile, parse_instructions
from multistage.dockerfile.resolve import model
from multistage.dockerfile.stages import Dockerfile, Edge, ExternalImage, Stage

__all__ = [
    "Dockerfile",
    "DockerfileError",
    "Edge",
    "ExternalImage",
    "Heredoc",
    "Instruction",
    "ParsedFile",
    "Stage",
    "parse",
    "parse_instructions",
]


def parse(
    text: str | bytes,
    path: str = "Dockerfile",
    build_args: dict[str, str] | None = None,
    platform: str = "linux/amd64",
) -> Dockerfile:
    """Return the model of a Dockerfile.

    Args:
        text: its content; bytes must be UTF-8, with or without a byte order mark.
        path: its name, for error messages.
        build_args: values given to its ARGs, as with ``docker build --build-arg``.
        platform: what it is built on and for.

    Raises:
        DockerfileError: it is not a Dockerfile; names the line and the mend.
    """
    return model(parse_instructions(text, path), build_args or {}, platform)
