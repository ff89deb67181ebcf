"""Checks of a Dockerfile's structure: each told right from wrong, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.checks import CheckResult
from multistage.checks.starting import in_foreground, trailing_comment
from multistage.checks.structure import check_structure
from multistage.dockerfile import DockerfileError, parse

BUILD = "FROM golang:1.27 AS build\nRUN go build -o /server\n"


ORDER = [
    "multistage", "stage-names", "copies-by-name", "exec-form", "not-latest", "stages-needed",
]  # fmt: skip


def judged(text: str) -> dict[str, CheckResult]:
    found = list(check_structure(parse(text)))
    ids = [check.id for check in found]
    assert ids == [name for name in ORDER if name in ids]
    assert [check.id for check in found if check.required] == ["multistage"]
    for check in found:
        assert check.message.endswith(".")
        assert len(check.hints) == (0 if check.passed else 3)
        assert all(check.hints)
    return {check.id: check for check in found}


@pytest.mark.parametrize(
    ("text", "passed", "said"),
    [
        ("FROM a:1\n", False, "It has one stage, and that ships."),
        (f"{BUILD}FROM scratch\nCOPY --from=build /server /\n", True, "takes from build."),
        (f"{BUILD}FROM scratch\nCOPY --from=0 /server /\n", True, "takes from build."),
        ("from a:1 as b\nfrom scratch\ncopy --from=b /x /\n", True, "takes from b."),
        (f"{BUILD}FROM b:1\nCOPY . .\n", False, "It has 2 stages, and the last one takes nothing"),
        ("FROM a:1 AS b\nFROM b AS c\nFROM d:1\nCOPY --from=c /x /\n", True, "takes from c."),
        ("FROM a:1 AS b\nFROM b:1 AS c\nCOPY --from=b /x /\nFROM c\n", True, "takes from b."),
        ("FROM a:1 AS b\nFROM c:1 AS d\nFROM e:1\nCOPY --from=d /x /\nCOPY --from=b /x /\n", True,
         "takes from b, d."),
        ("FROM a:1 AS b\nFROM c:1 AS d\nCOPY --from=b /x /\nFROM e:1\nCOPY --from=d /x /\n", True,
         "takes from d."),
        (f"{BUILD}FROM b:1\nRUN --mount=from=build,target=/b cp /b/s /\n", True, "from build."),
        (f"{BUILD}FROM b:1\nCOPY --from=nginx:alpine /x /\n", False, "takes nothing"),
        ("FROM a:1\nRUN x\nFROM b:1\nCOPY --from=0 /x /\n", True, "takes from 0."),
        ("FROM a:1\nCOPY --from=b:1 /x /\n", False, "It has one stage, and that ships."),
        ("ARG V=1\nFROM a:${V} AS x\nFROM scratch\nCOPY --from=x /x /\n", True, "takes from x."),
        (f"{BUILD}FROM build AS t\nRUN go test\nFROM scratch\nCOPY --from=build /server /\n", True,
         "takes from build."),
        (f'{BUILD}FROM build\nCMD ["/server"]\n', False, "goes on from the one that builds"),
        ("FROM a:1 AS b\nRUN x\nFROM b AS c\nFROM c\n", False, "goes on from the one that builds"),
        ("FROM a:1 AS b\nFROM c:1 AS d\nFROM d\nCOPY --from=b /x /\n", True, "takes from b."),
    ],
)  # fmt: skip
def test_a_dockerfile_is_multistage_when_its_final_image_needs_another_stage(
    text: str, passed: bool, said: str
) -> None:
    found = judged(text)["multistage"]
    assert (found.passed, said in found.message) == (passed, True), found.message


def test_who_has_a_second_stage_is_not_told_to_write_one() -> None:
    [one, two] = [judged(text)["multistage"] for text in (BUILD, f"{BUILD}FROM b:1\nCOPY . .\n")]
    assert "write FROM " in one.hints[-1]
    assert "FROM " not in two.hints[-1]
    assert "COPY --from=" in two.hints[-1]


@pytest.mark.parametrize(
    ("text", "names", "numbers"),
    [
        (f"{BUILD}FROM scratch\nCOPY --from=build /server /\n", True, True),
        (f"{BUILD}FROM scratch\nCOPY --from=BUILD /server /\n", True, True),
        (f"{BUILD}FROM scratch\nCOPY --from=0 /server /\n", True, False),
        ("FROM a:1\nFROM scratch\nCOPY --from=0 /x /\n", False, False),
        ("FROM a:1\nFROM a:1 AS b\nFROM scratch\nCOPY --from=b /x /\nCOPY --from=0 /x /\n", False,
         False),
        (f"{BUILD}FROM scratch\nCOPY --chown=1:1 --from=0 --link /server /\n", True, False),
        (f"{BUILD}FROM scratch\nCOPY --from=build \\\n  /server /\n", True, True),
        (f"{BUILD}FROM scratch\nCOPY --from=\"0\" /server /\n", True, False),
        (f"{BUILD}FROM b:1\nCOPY <<EOF /x\nCOPY --from=0 /x /\nEOF\nCOPY --from=build /s /\n", True,
         True),
    ],
)  # fmt: skip
def test_copies_name_a_stage_that_has_a_name(text: str, names: bool, numbers: bool) -> None:
    found = judged(text)
    assert (found["stage-names"].passed, found["copies-by-name"].passed) == (names, numbers)


@pytest.mark.parametrize(
    ("text", "judged_as"),
    [
        ("FROM scratch\n", []),
        ("FROM a:1\n", ["not-latest"]),
        ("FROM a:1\nFROM b:1\n", ["not-latest", "stages-needed"]),
        ("FROM scratch\nCMD x\n", ["exec-form"]),
        ("FROM a:1 AS b\nCMD x\nFROM scratch\nRUN --mount=from=b,target=/b x\n",
         ["not-latest", "stages-needed"]),
        ("FROM a:1\nCOPY --from=b:1 /x /\n", ["not-latest"]),
        (f"{BUILD}FROM scratch\nCOPY --from=build /server /\n",
         ["stage-names", "copies-by-name", "not-latest", "stages-needed"]),
    ],
)  # fmt: skip
def test_nothing_is_said_to_pass_where_there_is_nothing_to_judge(
    text: str, judged_as: list[str]
) -> None:
    assert list(judged(text)) == ["multistage", *judged_as]


def test_hints_for_names_quote_the_learners_own_lines() -> None:
    found = judged("FROM a:1\nFROM scratch\nCOPY --from=0 /x /\n")
    assert found["stage-names"].message == "The stage of line 1 has none."
    assert found["stage-names"].hints[-1] == "Line 1: FROM a:1 AS build"
    assert found["copies-by-name"].message == "Line 3 has --from=0, a stage's number."
    named = judged(f"{BUILD}FROM scratch\nCOPY --from=0 /server /\n")["copies-by-name"]
    assert named.hints[-1] == "COPY --from=build …"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('FROM a:1\nCMD ["x"]\n', 0),
        ("FROM a:1\nCMD x\n", 2),
        ("FROM a:1\nENTRYPOINT x\n", 2),
        ("from a:1\nentrypoint x\n", 2),
        ('FROM a:1\nENTRYPOINT ["x"]\nCMD y\n', 3),
        ("FROM a:1\nCMD ['x']\n", 2),
        ('FROM a:1\nCMD x\nCMD ["y"]\n', 0),
        ('FROM a:1\nCMD ["y"]\nCMD x\n', 3),
        ("FROM a:1\n", 0),
        ("FROM a:1\nCMD []\n", 0),
        ('FROM a:1 AS b\nCMD x\nFROM c:1\nCOPY --from=b /x /\nCMD ["y"]\n', 0),
        ("FROM a:1 AS b\nCMD x\nFROM b\nRUN y\n", 2),
        ('FROM a:1 AS b\nCMD x\nFROM b\nCMD ["y"]\n', 0),
        ("FROM a:1 AS b\nENTRYPOINT x\nFROM b AS c\nFROM c\n", 2),
        ('FROM a:1\nHEALTHCHECK CMD x\nCMD ["y"]\n', 0),
        ('FROM a:1\nONBUILD CMD x\nCMD ["y"]\n', 0),
        ('FROM a:1\nRUN x\nCMD ["y"]\n', 0),
        ('FROM a:1\nCMD [ "y" , \\\n  "z" ]\n', 0),
        ('FROM a:1 AS b\nCMD x\nFROM b\nENTRYPOINT ["y"]\n', 0),
        ('FROM a:1 AS b\nENTRYPOINT x\nFROM b\nCMD ["y"]\n', 2),
    ],
)
def test_shell_form_is_found_where_the_final_image_has_its_command_from(
    text: str, line: int
) -> None:
    found = judged(text).get("exec-form")
    if line:
        assert found is not None
        assert not found.passed
        assert found.message == f"Line {line} has a shell start the program."
    else:
        assert found is None or found.passed


SHELL_ONLY = 'CMD ["/program", "argument"]'


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('CMD nginx -g "daemon off;"', 'CMD ["nginx", "-g", "daemon off;"]'),
        ("CMD nginx -g daemon off;", 'CMD ["nginx", "-g", "daemon off;"]'),
        ("cmd exec nginx -g 'daemon off;'", 'CMD ["nginx", "-g", "daemon off;"]'),
        ("ENTRYPOINT /server", 'ENTRYPOINT ["/server"]'),
        ('CMD sh -c "a && b"', 'CMD ["sh", "-c", "a && b"]'),
        ("CMD ['/server', '-v']", 'CMD ["/server", "-v"]'),
        ("CMD [\u201c/server\u201d]", 'CMD ["/server"]'),
        ("CMD a && b", SHELL_ONLY),
        ("CMD a; b", SHELL_ONLY),
        ("CMD a > b", SHELL_ONLY),
        ("CMD a $PORT", SHELL_ONLY),
        ("CMD a *.txt", SHELL_ONLY),
        ("CMD A=b c", SHELL_ONLY),
        ("CMD exec", SHELL_ONLY),
        ("CMD ['a', 1]", SHELL_ONLY),
        ("CMD ['a'", SHELL_ONLY),
        ('CMD a "b', SHELL_ONLY),
        (f"CMD {'[' * 60_000}", SHELL_ONLY),
    ],
)
def test_the_line_to_write_is_the_learners_own_where_it_needs_no_shell(
    command: str, said: str
) -> None:
    assert judged(f"FROM a:1\n{command}\n")["exec-form"].hints[-1] == f"Line 2: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('CMD ["nginx"]', 'Line 2: CMD ["nginx", "-g", "daemon off;"]'),
        ('ENTRYPOINT ["/usr/sbin/nginx"]', 'Line 2: ENTRYPOINT ["/usr/sbin/nginx", "-g", '
         '"daemon off;"]'),
        ('CMD ["nginx", "-g", "daemon on;"]', 'Line 2: CMD ["nginx", "-g", "daemon off;"]'),
        ('CMD ["nginx", "-g"]', 'Line 2: CMD ["nginx", "-g", "daemon off;"]'),
        ('CMD ["nginx", "-c", "/x"]', 'Line 2: CMD ["nginx", "-c", "/x", "-g", "daemon off;"]'),
        ("CMD nginx", 'Line 2: CMD ["nginx", "-g", "daemon off;"]'),
        ('ENTRYPOINT ["/entry"]\nCMD ["nginx"]', 'Line 3: CMD ["nginx", "-g", "daemon off;"]'),
        ('CMD ["httpd"]', ""),
        ("CMD service nginx start", ""),
        ("CMD []", ""),
        ("RUN x", ""),
    ],
)  # fmt: skip
def test_nginx_that_goes_into_the_background_is_told_how_to_stay(text: str, said: str) -> None:
    assert in_foreground(parse(f"FROM a:1\n{text}\n")) == said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM a:1\nUSER 65532 # nobody\n", 2),
        ("FROM a:1\nWORKDIR /app\t# here\n", 2),
        ("FROM a:1\nSTOPSIGNAL SIGTERM # asks\n", 2),
        ("FROM a:1\nCMD x \\\n  # between\n  y # behind\n", 2),
        ("FROM a:1\nRUN x\nuser 1 #\nCMD y #\n", 3),
        ('FROM a:1\n# starts it\nENTRYPOINT ["/x"]\n', None),
        ('FROM a:1\nENTRYPOINT ["/x", " #1"]\n', None),
        ('FROM a:1\nENTRYPOINT ["/x"] # BuildKit reads the array alone\n', None),
        ("FROM a:1\nUSER a#b\n", None),
        ("FROM a:1\nRUN x # a comment of the shell\nCOPY a # /b/\n", None),
        ("FROM a:1 AS b\nUSER 1 # there\nFROM c:1\nCOPY --from=b /x /\n", None),
    ],
)
def test_a_comment_behind_an_instruction_that_takes_its_whole_line_is_found(
    text: str, line: int | None
) -> None:
    assert trailing_comment(parse(text)) == line


@pytest.mark.parametrize(
    ("image", "passed"),
    [
        ("golang:1.27", True),
        ("golang", False),
        ("golang:latest", False),
        ("nginx:alpine", True),
        ("localhost:5000/x", False),
        ("localhost:5000/x:1", True),
        ("localhost:5000/x:latest", False),
        ("gcr.io/distroless/static-debian13:nonroot", True),
        ("gcr.io/distroless/static-debian13", False),
        (f"golang@sha256:{'0' * 64}", True),
        (f"golang:latest@sha256:{'0' * 64}", True),
        (f"localhost:5000/x@sha256:{'0' * 64}", True),
    ],
)
def test_a_base_image_is_latest_when_its_tag_says_so_or_it_has_none(
    image: str, passed: bool
) -> None:
    found = judged(f"FROM {image}\nCOPY . .\n")["not-latest"]
    assert found.passed is passed
    if not passed:
        assert found.message.startswith(f"Line 1: {image} is ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ARG TAG=1\nFROM a:${TAG}\n", 0),
        ("ARG TAG=latest\nFROM a:${TAG}\n", 2),
        ("ARG BASE=a\nFROM ${BASE}\n", 2),
        ("FROM a:1 AS b\nFROM b\n", 0),
        ("FROM --platform=$BUILDPLATFORM a AS b\nFROM b\n", 1),
        ("FROM a:1\nCOPY --from=b /x /\n", 2),
        ("FROM a:1\nCOPY --from=b:1 /x /\n", 0),
        ("FROM a:1\nRUN --mount=from=b,target=/b x\n", 2),
        ("FROM unused\nFROM a:1\n", 0),
    ],
)
def test_every_image_that_the_final_one_needs_is_looked_at(text: str, line: int) -> None:
    found = judged(text)["not-latest"]
    assert found.passed is (line == 0)
    assert not line or found.message.startswith(f"Line {line}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BUILD}FROM scratch\nCOPY --from=build /server /\n", "It is."),
        (f"{BUILD}FROM build AS test\nRUN go test\nFROM scratch\nCOPY --from=build /server /\n",
         "Nothing depends on test (line 3): it is never built."),
        ("FROM a:1\nFROM b:1\n", "Nothing depends on 0 (line 1): it is never built."),
        (f"{BUILD}FROM scratch\nRUN --mount=from=build,target=/x x\n", "It is."),
        (f"{BUILD}FROM build\n", "It is."),
    ],
)  # fmt: skip
def test_a_stage_that_nobody_needs_is_named(text: str, said: str) -> None:
    found = judged(text)["stages-needed"]
    assert (found.passed, found.message) == (said == "It is.", said)


lines = st.sampled_from(
    [
        "FROM a", "FROM a:1 AS b", "from b as c", "FROM scratch", "COPY --from=0 /x /",
        "COPY --from=b /x /", "COPY --from=c:1 /x /", "CMD x", 'ENTRYPOINT ["x"]', "ONBUILD CMD x",
        "ONBUILD COPY --from=b /x /", "RUN --mount=from=b,target=/b x", "ARG V", "FROM a:${V}",
        "COPY --from=1 . .", "CMD []", "FROM a@sha256:" + "0" * 64,
    ]
)  # fmt: skip


@given(st.lists(lines, min_size=1, max_size=8))
def test_whatever_is_a_dockerfile_is_judged(text: list[str]) -> None:
    try:
        parse("\n".join(text))
    except DockerfileError:
        return
    judged("\n".join(text))
