"""A build context's .dockerignore is read, or told to be unreadable with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from multistage.dockerfile.patterns import read_ignore_file
from multistage.dockerignore import ignore_rules
from multistage.errors import LearnerError


@pytest.mark.timeout(20)
def test_a_line_longer_than_docker_reads_is_refused_with_its_number(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text(f"a\n{'*x' * 40_000}\n", "utf-8")
    with pytest.raises(LearnerError, match="80,000 characters") as caught:
        ignore_rules(tmp_path, tmp_path / "Dockerfile")
    assert caught.value.where == f"{tmp_path / '.dockerignore'}:2"


@pytest.mark.parametrize(("content", "said"), [(b"\xff", "cannot be read"), (b"[", "malformed")])
def test_rules_that_cannot_be_read_name_their_file(
    tmp_path: Path, content: bytes, said: str
) -> None:
    own = tmp_path / "Dockerfile.dockerignore"
    own.write_bytes(content)
    with pytest.raises(LearnerError, match=said) as caught:
        ignore_rules(tmp_path, tmp_path / "Dockerfile")
    assert caught.value.where == str(own)


def test_the_dockerfiles_own_rules_come_before_those_of_the_context(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a\n", "utf-8")
    assert ignore_rules(tmp_path, tmp_path / "Dockerfile").ignores("a")
    (tmp_path / "Dockerfile.dockerignore").write_text("b\n", "utf-8")
    rules = ignore_rules(tmp_path, tmp_path / "Dockerfile")
    assert (rules.ignores("a"), rules.ignores("b")) == (False, True)


def test_a_slash_within_brackets_may_bring_something_back_from_every_folder() -> None:
    rules = read_ignore_file("*\n![a/b]\n")
    assert rules.may_include_below("x")
    assert (rules.ignores("a"), rules.ignores("c")) == (False, True)
