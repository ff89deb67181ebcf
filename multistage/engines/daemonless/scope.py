"""What is in force at one place of a stage: variables, the config so far, the working folder. Pure.

Source of the rules: BuildKit's dockerfile2llb/convert.go.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multistage.dockerfile import Dockerfile, DockerfileError, Heredoc, Instruction
from multistage.dockerfile.variables import VariableError, expand

# ARGs that need no declaration:
# https://docs.docker.com/reference/dockerfile/#predefined-args
_PREDEFINED = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}
_PREDEFINED |= {name.lower() for name in _PREDEFINED}
_TABS = re.compile(r"^\t+", re.MULTILINE)


@dataclass
class Scope:
    """What is in force at one place of a stage.

    Attributes:
        variables: what instructions and commands see: ENV and ARG alike, the later one of a
            name wins.
        args: the ARGs of this stage, in the order in which they are declared.
    """

    model: Dockerfile
    config: dict[str, Any]
    build_args: Mapping[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    args: list[tuple[str, str]] = field(default_factory=list)
    command_is_set: bool = False
    author: str = ""

    def expand(self, text: str, instruction: Instruction) -> str:
        """Return a text with its variables replaced.

        Raises:
            DockerfileError: a variable is malformed; names the line.
        """
        try:
            return expand(text, self.variables, self.model.escape)
        except VariableError as error:
            raise self.error(f"A variable cannot be replaced: {error}.", instruction) from error

    def expand_heredoc(self, heredoc: Heredoc, instruction: Instruction) -> str:
        """Return a here-document's text: only its variables are replaced, quotes stay."""
        content = content_of(heredoc)
        if not heredoc.expand:
            return content
        try:
            return expand(content, self.variables, self.model.escape, raw=True)
        except VariableError as error:
            raise self.error(f"A variable cannot be replaced: {error}.", instruction) from error

    def error(self, what: str, instruction: Instruction, mend: str = "") -> DockerfileError:
        """Return an error at an instruction."""
        return DockerfileError(what, path=self.model.path, line=instruction.line, mend=mend)

    @property
    def folder(self) -> str:
        """The working folder, as the config has it."""
        return str(self.config.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        """Who commands run as, as the config has it."""
        return str(self.config.get("User") or "")

    def proxies(self) -> dict[str, str]:
        """Return the proxies among the build arguments, in both spellings."""
        given = {n: v for n, v in self.build_args.items() if n in _PREDEFINED and v}
        return {spelt: v for n, v in given.items() for spelt in (n.upper(), n.lower())}

    def absolute(self, path: str) -> str:
        """Return a path against the working folder, without ``.`` and ``..``."""
        joined = posixpath.normpath(posixpath.join("/", self.folder, path))
        return f"/{joined.lstrip('/')}"


def content_of(heredoc: Heredoc) -> str:
    """Return a here-document's text, leading tabs taken off where it asks for that."""
    if not heredoc.chomp:
        return heredoc.content
    return _TABS.sub("", heredoc.content)
