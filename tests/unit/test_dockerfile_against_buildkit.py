"""The parser held to BuildKit's own (PyPI ``dockerfile``), on a corpus and on generated files."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multistage.dockerfile import DockerfileError, Instruction, parse_instructions
from multistage.dockerfile.parser import KEYWORDS

if sys.platform != "linux":
    pytest.skip("BuildKit's parser has a wheel for Linux only", allow_module_level=True)

import dockerfile as buildkit

CORPUS = sorted((Path(__file__).parent / "dockerfiles").glob("*.Dockerfile"))
CASES = int(os.environ.get("MULTISTAGE_GENERATED_DOCKERFILES", "400"))

Parsed = list[tuple[object, ...]]


def by_buildkit(text: str) -> Parsed | None:
    """Return BuildKit's reading, ``None`` where it refuses the text."""
    try:
        commands = buildkit.parse_string(text)
    except buildkit.GoParseError:
        return None
    return [
        (
            (command.cmd or "").upper(),
            command.sub_cmd.upper() if command.sub_cmd else None,
            tuple(command.flags),
            tuple(command.value),
            bool(command.json),
            tuple((h.name, h.file_descriptor, h.content) for h in command.heredocs),
            command.start_line,
            command.end_line,
        )
        for command in commands
    ]


def by_us(text: str) -> Parsed | None:
    """Return our reading in the same form, ``None`` where we refuse the text."""
    try:
        return [_flat(instruction) for instruction in parse_instructions(text).instructions]
    except DockerfileError:
        return None


def _flat(instruction: Instruction) -> tuple[object, ...]:
    carried = instruction.onbuild
    said = carried or instruction
    return (
        instruction.keyword,
        carried.keyword if carried else None,
        instruction.flags,  # the wheel does not tell the flags of what ONBUILD carries
        said.values,
        said.json,
        # nor its here-documents
        tuple((h.name, h.file_descriptor, h.content) for h in instruction.heredocs if not carried),
        instruction.line,
        instruction.end_line,
    )


def refused_beyond_parsing(text: str) -> bool:
    """Whether we refuse what BuildKit's parser takes, and its next phase then refuses.

    KNOWN DIFFERENCES, all of them ours to be stricter at once:
    unknown instructions, flags an instruction has not, ``ONBUILD`` of what it cannot carry,
    instructions with nothing behind them, a continuation of nothing. BuildKit finds these when it
    reads the parsed file (frontend/dockerfile/instructions/parse.go). The wheel's BuildKit is older
    than the parser directive ``check``, and takes it for a comment.

    Further ones, which nothing here draws and no Dockerfile is likely to hold: a here-document
    behind a malformed variable (``${a[0]} <<EOF``), where BuildKit's lexer gives up and sees none;
    one behind ``${V#v}``, which the wheel is too old to know; the characters U+001C to U+001F,
    which are blanks for Python and not for Go.
    """
    try:
        parse_instructions(text)
    except DockerfileError as error:
        signs = ("is not a Dockerfile instruction", "has no flag", "twice", "nothing behind",
                 "ONBUILD", "is taken for something else", "continues nothing")  # fmt: skip
        return any(sign in error.what for sign in signs)
    return False


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_reads_as_buildkit_reads_it(path: Path) -> None:
    text = path.read_bytes().decode("utf-8")
    expected = by_buildkit(text)
    assert expected is not None
    assert by_us(text) == expected


blank = st.sampled_from([" ", "  ", "\t", " \t "])
word = st.sampled_from(
    ["a", "b.c", "/x/y", "$V", "${V:-d}", "'q r'", '"q r"', '"a', "\\ ", "a\\", "\\", "x=y",
     "x='y z'", 'k="v w"', "#no", "--late", "<<", "<<EOF", "<<-EOF", "<<'E F'", '<<"EOF"', "3<<EOF",
     "<<<x", "é", "[", '["a"', '["a","b"]', '["a", 1]', "[]", "&&", "|", ";", "`",
     "a`", ".", ",", "=", "x="]
)  # fmt: skip
flag = st.sampled_from(
    ["--from=a", "--mount=type=cache,target=/x", "--platform=linux/amd64", "--chown=1:1", "--link",
     '--from="a b"', "--chown='a'", "--network=none", "--interval=5s", "--", "--chmod=\\755"]
)  # fmt: skip
keyword = st.sampled_from([*KEYWORDS, "from", "Run", "cOpY"])
continuation = st.sampled_from(
    [" \\\n", "\\\n", " \\  \n", "\\\n# note\n", "\\\n\n", "\\\n  # in\n", "\\\r\n", "`\n"]
)
glue = st.one_of(blank, blank, blank, continuation)
end = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", "\n# comment\n", "\n  # c\n", "\n\t\n"])
top = st.sampled_from(
    ["", "", "", "# syntax=docker/dockerfile:1\n", "# escape=`\n", "#escape = \\\n",
     "\n# escape=`\n", "# escape=`\n# syntax=x\n", "# escape=`\n# escape=`\n",
     "# other=1\n# ESCAPE=`\n", "\ufeff"]
)  # fmt: skip
heredoc_end = st.sampled_from(
    ["", "", "", "EOF\n", "body\nEOF\n", "\tbody\n\tEOF\n", "E F\n", "EOF\r\n"]
)


@st.composite
def dockerfiles(draw: st.DrawFn) -> str:
    """Draw a Dockerfile of odd parts, most of which BuildKit's parser takes."""
    text = draw(top) + "FROM a\n"
    for _ in range(draw(st.integers(1, 4))):
        line = draw(st.sampled_from(["", "", " ", "ONBUILD "])) + draw(keyword)
        for part in [*draw(st.lists(flag, max_size=2)), *draw(st.lists(word, max_size=5))]:
            line += draw(glue) + part
        text += line + draw(end) + draw(heredoc_end)
    return text


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(dockerfiles())
def test_generated_files_read_as_buildkit_reads_them(text: str) -> None:
    ours, theirs = by_us(text), by_buildkit(text)
    if ours is None and refused_beyond_parsing(text):
        return
    assert ours == theirs


@settings(max_examples=CASES, deadline=None)
@given(st.sampled_from(CORPUS or [Path(__file__)]), st.data())
def test_damaged_corpus_files_read_as_buildkit_reads_them(path: Path, data: st.DataObject) -> None:
    lines = path.read_bytes().decode("utf-8").splitlines(keepends=True)
    start = data.draw(st.integers(0, len(lines)))
    stop = data.draw(st.integers(start, len(lines)))
    extra = data.draw(
        st.sampled_from(["", "\\\n", "# x\n", "\n", "EOF\n", " \\", '"', "RUN <<EOF\n"])
    )
    text = "".join(lines[:start]) + extra + "".join(lines[stop:])
    ours, theirs = by_us(text), by_buildkit(text)
    if ours is None and refused_beyond_parsing(text):
        return
    assert ours == theirs


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
def test_nothing_but_a_dockerfile_error_is_raised(text: str | bytes) -> None:
    try:
        parse_instructions(text)
    except DockerfileError as error:
        assert error.where.startswith("Dockerfile")
