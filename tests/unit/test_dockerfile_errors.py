"""Broken Dockerfiles: each is refused at once, with the line and what to do about it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multistage.dockerfile import parse
from multistage.dockerfile.parser import KEYWORDS
from multistage.errors import LearnerError

Case = tuple[str | bytes, int, str, str]

CASES: dict[str, Case] = {
    # what is broken: the file, the line it names, what it says, what it tells to do
    "empty": ("", 1, "no instructions", "Begin with: FROM"),
    "blank lines": ("\n \n\t\n", 3, "no instructions", "Begin with: FROM"),
    "comments only": ("# syntax=docker/dockerfile:1\n# x\n", 2, "no instructions", "FROM"),
    "byte order mark only": (b"\xef\xbb\xbf", 1, "no instructions", "FROM"),
    "no FROM": ("ARG A=1\nARG B=2\n", 1, "There is no FROM", "Begin with: FROM"),
    "RUN before FROM": ("ARG A\nRUN x\nFROM a\n", 2, "RUN stands before the first FROM", "ARG"),
    "ENV before FROM": ("ENV A=1\nFROM a\n", 1, "ENV stands before the first FROM", "ARG"),
    "misspelt instruction": ("FROM a\n\nCPOY x y\n", 3, "CPOY", "Did you mean COPY?"),
    "misspelt FROM": ("FORM a\n", 1, "FORM", "Did you mean FROM?"),
    "unknown instruction": ("FROM a\nXYZZY\n", 2, "XYZZY", "RUN missing"),
    "AS on its own line": ("FROM a\nAS b\n", 2, "AS is not a Dockerfile", "end of the FROM line"),
    "a shell script": ("#!/bin/sh\nset -e\n", 2, "SET is not a Dockerfile instruction", "RUN"),
    "continuation cut by a command": ("FROM a\nRUN b\n  && c\n", 3, "&&", "end of the line above"),
    "unterminated here-document": ("FROM a\nRUN <<EOF\nx\n", 2, "EOF has no end", "EOF alone"),
    "second here-document unterminated": (
        "FROM a\nCOPY <<A <<B /\nA\nx\n",
        2,
        "B has no end",
        "B alone",
    ),
    "indented end of a here-document": ("FROM a\nRUN <<EOF\n  EOF\n", 2, "EOF has no end", "EOF"),
    "here-document of another instruction": (
        "FROM a\nCMD <<EOF\n$x\nEOF\n",
        3,
        "$X is not a Dockerfile instruction",
        "Is RUN missing",
    ),
    "misspelt flag": ("FROM a\nCOPY --form=a x y\n", 2, "--form", "Did you mean --from?"),
    "flag of another instruction": ("FROM a\nRUN --from=a x\n", 2, "--from", "belongs to COPY"),
    "flag of an instruction without flags": ("FROM a\nUSER --x y\n", 2, "--x", "takes no flags"),
    "flag in capitals": ("FROM a\nCOPY --FROM=a x y\n", 2, "--FROM", "Did you mean --from?"),
    "flag given twice": ("FROM a\nCOPY --from=a --from=b x y\n", 2, "--from twice", "Leave one"),
    "misspelt flag under ONBUILD": ("FROM a\nONBUILD COPY --form=a x y\n", 2, "--form", "--from"),
    "unknown stage index": ("FROM a\n\nCOPY --from=7 x y\n", 3, "no stage 7", "name the stage"),
    "own stage index": ("FROM a\nCOPY --from=0 x y\n", 2, "from itself", "split"),
    "own stage name": ("FROM a AS x\nCOPY --from=x a b\n", 2, "from itself", "split"),
    "own stage in a mount": ("FROM a AS x\nRUN --mount=from=x y\n", 2, "from itself", "split"),
    "circle of stages": (
        "FROM a AS x\nCOPY --from=y a b\nFROM c AS y\nCOPY --from=x a b\n",
        2,
        "not above it",
        "change the order",
    ),
    "FROM with nothing": ("FROM\n", 1, "FROM has nothing behind it", "FROM <base image>"),
    "FROM with two words": ("FROM a b\n", 1, "FROM takes one image", "FROM <base image>"),
    "FROM with a name but no AS": ("FROM a builder x\n", 1, "FROM takes one image", "AS <stage>"),
    "FROM with too many words": ("FROM a AS b c\n", 1, "FROM takes one image", "AS <stage>"),
    "FROM with a comment": ("FROM a # note\n", 1, "FROM takes one image", "line of its own"),
    "ENV with a comment": ("FROM a\nENV A=b # c\n", 2, "# has no = sign", "line of its own"),
    "FROM with AS but no name": ("FROM a AS\n", 1, "FROM takes one image", "AS <stage>"),
    "stage name of a digit": ("FROM a AS 1x\n", 1, "1x cannot be", "begins with a letter"),
    "stage name with a slash": ("FROM a AS x/y\n", 1, "x/y cannot be", "begins with a letter"),
    "second FROM with nothing": ("FROM a\nFROM\n", 2, "FROM has nothing", "FROM <base image>"),
    "FROM of an empty variable": ("FROM a\nFROM $NONE\n", 2, "$NONE names no image", "ARG"),
    "FROM of a required variable": ("FROM ${A:?no}\n", 1, "A: no", "${NAME:-"),
    "unclosed variable": ("FROM a\nFROM ${A\n", 2, "} is missing", "${NAME}"),
    "unknown modifier": ("FROM ${A!b}\n", 1, "no known modifier", "${NAME}"),
    "unterminated double quote": ('FROM a\nENV A="b\n', 2, 'closing " is missing', "."),
    "unterminated single quote": ("ARG A='b\nFROM a\n", 1, "closing ' is missing", "."),
    "unterminated quote in FROM": ('FROM "a\n', 1, 'closing " is missing', "."),
    "unterminated quote in COPY": (
        'FROM a AS b\nFROM c\nCOPY --from=b "x y\n',
        3,
        'closing " is missing',
        ".",
    ),
    "number in a JSON form": ('FROM a\nCMD ["a", 1]\n', 2, "JSON form of CMD", "double quotes"),
    "list in a JSON form": ('FROM a\nRUN [["a"]]\n', 2, "JSON form of RUN", "double quotes"),
    "COPY with nothing": ("FROM a\nCOPY\n", 2, "COPY has nothing", "<source> <destination>"),
    "WORKDIR with nothing": ("FROM a\nWORKDIR\n", 2, "WORKDIR has nothing", "<folder>"),
    "ONBUILD of FROM": ("FROM a\nONBUILD FROM b\n", 2, "cannot carry FROM", "RUN or COPY"),
    "ONBUILD of ONBUILD": ("FROM a\nONBUILD ONBUILD RUN b\n", 2, "cannot carry ONBUILD", "RUN"),
    "continuation of nothing": ("FROM a\n\\\n", 2, "continues nothing", "Take the \\ away"),
    "directive given twice": ("# escape=`\n# escape=`\nFROM a\n", 2, "escape is given", "Leave"),
    "escape of another character": ("# escape=x\nFROM a\n", 1, "cannot be 'x'", "Use \\ or `"),
    "NUL byte": ("FROM a\nRUN \0\n", 2, "binary file", "--file"),
    "program": (b"\x7fELF\x02\x01\x01\0\0\xff\xfe", 1, "binary file", "--file"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", 1, "binary file", "--file"),
    "UTF-16": ("FROM a\n".encode("utf-16"), 1, "not UTF-8 text", "Save the file as UTF-8"),
    "Latin-1": (b"FROM a\n# caf\xe9\nRUN b\n", 2, "not UTF-8", "Save the file as UTF-8"),
    "10 MB of instructions": ("FROM a\n" + "RUN b\n" * 1_700_000, 1, "characters", "--file"),
    "10 MB of one line": (b"x" * 10_000_000, 1, "characters", "--file"),
    "10 MB of NUL bytes": (bytes(10_000_000), 1, "characters", "--file"),
    "longest line": ("FROM a\nRUN " + "x" * 70_000, 2, "65,535 is the most", "continuations"),
}


def refusal(text: str | bytes) -> LearnerError:
    """Return the error that refuses a Dockerfile."""
    with pytest.raises(LearnerError) as caught:
        parse(text, path="app/Dockerfile")
    return caught.value


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_broken_dockerfile_is_refused_with_its_line_and_a_mend(case: Case) -> None:
    text, line, what, mend = case
    error = refusal(text)
    assert what in error.what
    assert error.where == f"app/Dockerfile:{line}"
    assert mend in error.mend


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_shown_of_a_broken_dockerfile_is_short(case: Case) -> None:
    shown = str(refusal(case[0]))
    assert len(shown) < 400
    assert "Traceback" not in shown
    assert shown.splitlines()[1].startswith("app/Dockerfile:")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_that_is_named_counts_comments_continuations_and_here_documents(end: str) -> None:
    lines = ["# syntax=x", "", "FROM a", "RUN b \\", "# c", "  d", "RUN <<E", "x", "E", "NOPE y"]
    assert refusal(end.join(lines)).where == "app/Dockerfile:10"


def test_a_continued_instruction_is_named_by_its_first_line() -> None:
    assert refusal("FROM a\nCOPY \\\n  --form=b \\\n  x y\n").where == "app/Dockerfile:2"


def test_the_byte_order_mark_does_not_hide_a_misspelt_first_word() -> None:
    assert refusal(b"\xef\xbb\xbfFRMO a\n").mend == "Did you mean FROM?"


NOTHING_BEHIND = [k for k in KEYWORDS if k not in ("RUN", "CMD", "ENTRYPOINT", "SHELL", "FROM")]
WITHOUT_MEND = [k for k in NOTHING_BEHIND if k not in ("COPY", "WORKDIR")]


@pytest.mark.parametrize("keyword", NOTHING_BEHIND)
def test_an_instruction_with_nothing_behind_it_is_refused(keyword: str) -> None:
    error = refusal(f"FROM a\n{keyword}\n")
    assert keyword in error.what
    assert error.where == "app/Dockerfile:2"


@pytest.mark.parametrize(
    "text",
    [
        *(f"FROM a\n{keyword}\n" for keyword in WITHOUT_MEND),
        "FROM a\nENV A\n",
        "FROM a\nENV A=1 B\n",
        "FROM a\nLABEL A\n",
    ],
)
def test_every_error_says_what_to_do(text: str) -> None:
    assert refusal(text).mend


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("FROM a\nENV A\n", "A has no value"),
        ("FROM a\nENV A=1 B\n", "B has no = sign"),
        ("FROM a\nLABEL x=1 y\n", "y has no = sign"),
    ],
)
def test_a_name_without_a_value_is_refused(text: str, what: str) -> None:
    error = refusal(text)
    assert what in error.what
    assert error.where == "app/Dockerfile:2"


@pytest.mark.parametrize(
    "text",
    [
        "ARG =x\nFROM a\n",
        "FROM a\nENV =x\n",
        "FROM a\nLABEL =x\n",
        "FROM a\nCOPY x\n",
        "FROM a\nADD x\n",
        "FROM a\nHEALTHCHECK curl x\n",
        "FROM a\nHEALTHCHECK CMD\n",
        "FROM a\nSHELL sh -c\n",
        "FROM a AS b\nFROM c\nARG X=b\nCOPY --from=$X y z\n",
    ],
)
def test_what_buildkit_refuses_behind_its_parser_is_refused(text: str) -> None:
    assert refusal(text).mend


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("FROM a\n" + "ONBUILD " * 3000 + "RUN b\n", id="nested ONBUILD"),
        pytest.param("FROM " + "${a:-" * 3000 + "b" + "}" * 3000, id="nested variables"),
        pytest.param("FROM a\nCOPY --from=" + "9" * 5000 + " b c\n", id="index of 5,000 digits"),
        pytest.param("FROM a\nRUN " + "9" * 5000 + "<<E\nE\n", id="descriptor of 5,000 digits"),
    ],
)
def test_excess_is_taken_or_refused_with_a_learner_error(text: str) -> None:
    returns_or_refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("FROM a\nCMD " + "[" * 30_000, id="nested JSON"),
        pytest.param("FROM a\n" + "RUN b \\\n" * 100_000, id="continuations"),
        pytest.param("FROM a\n" + "RUN b\n" * 30_000, id="instructions"),
        pytest.param("FROM a\n" + "# b\n" * 200_000, id="comments"),
        pytest.param("FROM a\nRUN <<E\n" + "x\n" * 400_000 + "E\n", id="here-document"),
        pytest.param("FROM a\nRUN " + "<<E " * 10_000 + "\n" + "E\n" * 10_000, id="here-documents"),
        pytest.param("FROM a\nENV " + "A=b " * 15_000 + "\n", id="variables"),
        pytest.param("FROM a\nRUN " + "--mount=type=cache " * 3000 + "b\n", id="mounts"),
        pytest.param("FROM a\nRUN " + "\\ " * 30_000 + "\n", id="escaped blanks"),
        pytest.param("FROM a\nRUN " + " " * 60_000 + "\\\n b\n", id="blanks"),
    ],
)
def test_a_large_dockerfile_is_read_quickly(text: str) -> None:
    assert parse(text).final.base == "a"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# syntax=a" + " " * 16_000 + "b\nFROM a\n", id="blanks in a directive"),
        pytest.param("FROM a\n" + "".join(f"ARG A{i}=b\n" for i in range(5000)), id="ARGs"),
        pytest.param("FROM a\n" * 8000, id="stages"),
    ],
)
@pytest.mark.timeout(20)
def test_much_of_the_same_does_not_take_forever(text: str) -> None:
    parse(text)


def test_a_word_of_60000_characters_is_not_shown_in_full() -> None:
    assert len(str(refusal("x" * 60_000))) < 400


def returns_or_refuses(text: str | bytes) -> None:
    try:
        dockerfile = parse(text)
        dockerfile.needed()
        dockerfile.external_images()
        dockerfile.suspicious_images()
    except LearnerError as error:
        assert error.what
        assert error.where.startswith("Dockerfile:")


@given(st.one_of(st.text(max_size=400), st.binary(max_size=400)))
def test_any_text_and_any_bytes_are_taken_or_refused_with_a_learner_error(
    text: str | bytes,
) -> None:
    returns_or_refuses(text)


piece = st.sampled_from(
    [*KEYWORDS, "a", "b", "AS", "--from=", "--mount=from=", "--platform=", "0", "1", "-1", "a,",
     "$", "${A", "}", ":-", ":?", "##", "//", "=", '"', "'", "\\", "`", "[", "]", ",", "<<", "EOF",
     " ", " ", " ", "\t", "\n", "\n", "\r\n", "#", "# escape=`\n", "\0", "\ufeff", "\ud800", "é"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(piece, max_size=40).map("".join))
def test_any_heap_of_a_dockerfiles_parts_is_taken_or_refused_with_a_learner_error(
    text: str,
) -> None:
    returns_or_refuses("FROM a AS b\n" + text)
    returns_or_refuses(text)
