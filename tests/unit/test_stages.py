"""The model of a Dockerfile: its stages, what they take from which, and their variables."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.dockerfile import Dockerfile, DockerfileError, Edge, parse
from multistage.dockerfile.variables import VariableError, expand

THREE_STAGES = """\
FROM golang:1.24 AS Builder
RUN go build -o /app
FROM golang:1.24 AS tests
COPY --from=builder /app /app
FROM scratch
COPY --from=BUILDER /app /app
"""


def labels(dockerfile: Dockerfile, target: str | int | None = None) -> list[str]:
    return [stage.label for stage in dockerfile.needed(target)]


def skipped_labels(dockerfile: Dockerfile, target: str | int | None = None) -> list[str]:
    return [stage.label for stage in dockerfile.skipped(target)]


def image_names(dockerfile: Dockerfile, target: str | int | None = None) -> list[str]:
    return [image.name for image in dockerfile.external_images(target)]


def variables(text: str, build_args: dict[str, str] | None = None) -> Mapping[str, str]:
    """Return what is in force at the end of the last stage."""
    return parse(text, build_args=build_args).final.variables


# Stages and their names


def test_stages_count_from_zero_and_keep_their_names_as_written() -> None:
    dockerfile = parse(THREE_STAGES)
    assert [(s.index, s.name, s.label) for s in dockerfile.stages] == [
        (0, "Builder", "Builder"),
        (1, "tests", "tests"),
        (2, None, "2"),
    ]


def test_a_stage_knows_its_line_its_base_and_its_own_instructions() -> None:
    tests = parse(THREE_STAGES).stage("tests")
    assert (tests.line, tests.base, tests.base_stage) == (3, "golang:1.24", None)
    assert [(i.keyword, i.line) for i in tests.instructions] == [("COPY", 4)]


@pytest.mark.parametrize("name", ["Builder", "builder", "BUILDER", "0", 0])
def test_a_stage_is_found_by_its_name_in_any_case_and_by_its_index(name: str | int) -> None:
    assert parse(THREE_STAGES).stage(name).index == 0


@pytest.mark.parametrize("name", ["buildre", "bulider", "BUILDERS"])
def test_an_unknown_stage_names_the_nearest_one(name: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(THREE_STAGES, path="app/Dockerfile").stage(name)
    assert name in caught.value.what
    assert caught.value.where == "app/Dockerfile"
    assert caught.value.mend == "Did you mean Builder?"


@pytest.mark.parametrize("name", ["zzz", "3", 3, 99])
def test_an_unknown_stage_without_a_near_one_lists_all_stages(name: str | int) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(THREE_STAGES).stage(name)
    assert caught.value.mend == "Stages: Builder, tests, 2."


def test_an_unknown_target_is_refused_like_an_unknown_stage() -> None:
    dockerfile = parse(THREE_STAGES)
    for ask in (dockerfile.needed, dockerfile.skipped, dockerfile.external_images):
        with pytest.raises(DockerfileError, match="There is no stage called test"):
            ask("test")


def test_the_last_stage_is_the_default_target() -> None:
    dockerfile = parse(THREE_STAGES)
    assert dockerfile.final.index == 2
    assert dockerfile.needed() == dockerfile.needed(2)


def test_one_stage_is_not_multistage_and_two_are() -> None:
    assert not parse("FROM a").is_multistage
    assert parse("FROM a\nFROM b").is_multistage


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 80])
def test_letters_digits_dots_dashes_and_underscores_make_a_stage_name(name: str) -> None:
    assert parse(f"FROM a AS {name}").final.name == name


def test_the_last_of_two_stages_with_one_name_is_meant() -> None:
    dockerfile = parse("FROM a AS x\nFROM b AS X\nFROM scratch\nCOPY --from=x / /")
    assert labels(dockerfile) == ["X", "2"]
    assert dockerfile.stage("x").base == "b"


def test_a_stage_that_builds_on_a_name_given_twice_takes_the_one_before_it() -> None:
    dockerfile = parse("FROM a AS x\nFROM x AS middle\nFROM b AS x")
    assert dockerfile.stage("middle").base_stage == 0


# What takes from what


def test_a_copy_from_a_stage_is_an_edge_with_its_line_and_paths() -> None:
    edges = parse("FROM a AS b\nFROM scratch\n\nCOPY --from=b /x /y /z/").edges
    assert Edge(0, 1, "copy", 4, ("/x", "/y", "/z/")) in edges


def test_a_copy_from_an_index_is_an_edge_to_that_stage() -> None:
    edges = parse("FROM a\nFROM b\nFROM scratch\nCOPY --from=1 /x /y").edges
    assert [e.source for e in edges if e.kind == "copy"] == [1]


def test_a_copy_from_an_image_is_an_edge_to_that_image() -> None:
    edges = parse("FROM scratch\nCOPY --from=nginx:1.28 /etc/nginx /etc/nginx").edges
    assert [e.source for e in edges if e.kind == "copy"] == ["nginx:1.28"]


def test_a_copy_from_the_context_is_no_edge() -> None:
    assert {e.kind for e in parse("FROM a\nCOPY x y\nADD z w").edges} == {"from"}


def test_the_paths_of_a_copy_have_their_variables_replaced() -> None:
    edges = parse("FROM a AS b\nFROM c\nENV D=/opt\nCOPY --from=b $D/x ${D}/y").edges
    assert next(e.paths for e in edges if e.kind == "copy") == ("/opt/x", "/opt/y")


@pytest.mark.parametrize(
    ("origin", "source"), [("Deps", 0), ("0", 0), ("alpine:3", "alpine:3"), ("a/b", "a/b")]
)
def test_a_mount_takes_from_a_stage_an_index_or_an_image(origin: str, source: int | str) -> None:
    run = f"RUN --mount=type=bind,from={origin},source=/s,target=/t ls"
    edges = parse(f"FROM a AS deps\nFROM b\n{run}").edges
    assert [e for e in edges if e.kind == "mount"] == [Edge(source, 1, "mount", 3, ("/s", "/t"))]


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ("src=/s,dst=/t", ("/s", "/t")),
        ("destination=/t", ("/", "/t")),
        ("type=cache,target=/t", ("/", "/t")),
    ],
)
def test_the_other_names_of_a_mounts_options_mean_the_same(
    options: str, paths: tuple[str, str]
) -> None:
    edges = parse(f"FROM a AS x\nFROM b\nRUN --mount=from=x,{options} ls").edges
    assert [e.paths for e in edges if e.kind == "mount"] == [paths]


def test_every_mount_of_a_run_is_an_edge_and_mounts_without_from_are_none() -> None:
    run = "RUN --mount=from=x,target=/1 --mount=type=cache,target=/2 --mount=from=y,target=/3 ls"
    edges = parse(f"FROM a AS x\nFROM a AS y\nFROM b\n{run}").edges
    assert [e.source for e in edges if e.kind == "mount"] == [0, 1]


def test_a_stage_on_a_stage_is_an_edge_to_that_stage_in_any_case() -> None:
    dockerfile = parse("FROM a AS base\nFROM base AS more\nFROM more")
    assert [(e.source, e.target, e.kind) for e in dockerfile.edges] == [
        ("a", 0, "from"),
        (0, 1, "from"),
        (1, 2, "from"),
    ]
    assert [s.base_stage for s in dockerfile.stages] == [None, 0, 1]


def test_a_base_named_like_a_later_stage_is_an_image() -> None:
    dockerfile = parse("FROM alpine AS x\nFROM busybox AS alpine")
    assert dockerfile.stages[0].base_stage is None
    assert image_names(dockerfile, "x") == ["alpine"]


def test_a_base_named_like_its_own_stage_is_an_image() -> None:
    dockerfile = parse("FROM node AS node")
    assert dockerfile.final.base_stage is None
    assert image_names(dockerfile) == ["node"]


# What a target needs


def test_only_the_stages_that_the_target_needs_are_needed() -> None:
    dockerfile = parse(THREE_STAGES)
    assert (labels(dockerfile), skipped_labels(dockerfile)) == (["Builder", "2"], ["tests"])
    assert (labels(dockerfile, "tests"), skipped_labels(dockerfile, "tests")) == (
        ["Builder", "tests"],
        ["2"],
    )
    assert (labels(dockerfile, 0), skipped_labels(dockerfile, 0)) == (["Builder"], ["tests", "2"])


@pytest.mark.parametrize(
    "taking",
    ["FROM x", "FROM b\nCOPY --from=x / /", "FROM b\nRUN --mount=from=x,target=/t ls"],
    ids=["base", "copy", "mount"],
)
def test_every_way_to_take_from_a_stage_makes_it_needed(taking: str) -> None:
    assert labels(parse(f"FROM a AS x\nFROM a AS other\n{taking}")) == ["x", "2"]


def test_what_a_needed_stage_needs_is_needed_too() -> None:
    text = "FROM a AS p\nFROM p AS q\nFROM c AS r\nCOPY --from=q / /\nFROM r\n"
    assert labels(parse(text)) == ["p", "q", "r", "3"]


Graph = list[tuple[int | None, list[int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw stages, each with its base and its copies from earlier stages."""
    graph: Graph = []
    for index in range(draw(st.integers(1, 12))):
        earlier = st.sampled_from(range(index)) if index else st.nothing()
        base = draw(st.one_of(st.none(), earlier))
        graph.append((base, draw(st.lists(earlier, max_size=3)) if index else []))
    return graph


def as_text(graph: Graph) -> str:
    text = ""
    for index, (base, copies) in enumerate(graph):
        text += f"FROM {'image' if base is None else f's{base}'} AS s{index}\n"
        text += "".join(f"COPY --from=s{copy} / /\n" for copy in copies)
    return text


@given(graphs(), st.data())
def test_needed_is_what_can_be_reached_in_an_order_that_can_be_built(
    graph: Graph, data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(graph) - 1))
    reachable: set[int] = set()
    pending = [target]
    while pending:
        index = pending.pop()
        reachable.add(index)
        base, copies = graph[index]
        pending += copies if base is None else [*copies, base]
    dockerfile = parse(as_text(graph))
    order = [stage.index for stage in dockerfile.needed(target)]
    assert sorted(order) == sorted(reachable)
    assert order[-1] == target
    for index in order:
        base, copies = graph[index]
        sources = copies if base is None else [*copies, base]
        assert all(order.index(source) < order.index(index) for source in sources)
    rest = [stage.index for stage in dockerfile.skipped(target)]
    assert sorted(order + rest) == list(range(len(graph)))


# Images


def test_external_images_are_named_once_with_the_line_that_first_names_them() -> None:
    text = "FROM a:1 AS x\nFROM a:1\nCOPY --from=x / /\nCOPY --from=tool:2 / /\nCOPY --from=a:1 / /"
    images = parse(text).external_images()
    assert [(image.name, image.line) for image in images] == [("a:1", 1), ("tool:2", 4)]


def test_scratch_is_no_external_image() -> None:
    assert image_names(parse("FROM scratch")) == []


def test_images_of_stages_that_are_skipped_are_not_external_images_of_the_target() -> None:
    text = "FROM a AS x\nFROM b AS y\nCOPY --from=c / /\nFROM x\nRUN --mount=from=d,target=/t ls"
    assert image_names(parse(text)) == ["a", "d"]
    assert image_names(parse(text), "y") == ["b", "c"]


def test_an_image_that_is_nearly_a_stage_is_suspicious() -> None:
    text = (
        "FROM a AS builder\nFROM b\nCOPY --from=buidler / /\nRUN --mount=from=bilder,target=/t ls"
    )
    found = parse(text).suspicious_images()
    assert [(image.name, image.line, near) for image, near in found] == [
        ("buidler", 3, "builder"),
        ("bilder", 4, "builder"),
    ]


@pytest.mark.parametrize("origin", ["builder", "nginx:1", "team/bilder", "0"])
def test_stages_and_other_images_are_not_suspicious(origin: str) -> None:
    assert parse(f"FROM a AS builder\nFROM b\nCOPY --from={origin} / /").suspicious_images() == ()


# Circles and references forward


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM a AS x\nCOPY --from=x / /", 2),
        ("FROM a\nFROM b\nCOPY --from=1 / /", 3),
        ("FROM a AS x\n\nRUN --mount=from=x,target=/t ls", 3),
    ],
)
def test_a_stage_that_takes_from_itself_is_refused(text: str, line: int) -> None:
    with pytest.raises(DockerfileError, match="from itself") as caught:
        parse(text)
    assert caught.value.line == line
    assert caught.value.mend


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS x\nCOPY --from=y / /\nFROM x AS y",
        "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nCOPY --from=x / /",
        "FROM a AS x\nCOPY --from=1 / /\nFROM b\nCOPY --from=0 / /\nFROM c",
    ],
)
def test_stages_that_need_each_other_in_a_circle_are_refused(text: str) -> None:
    with pytest.raises(DockerfileError, match="not above it") as caught:
        parse(text)
    assert caught.value.line == 2
    assert caught.value.mend


def test_an_index_beyond_the_last_stage_is_refused() -> None:
    with pytest.raises(DockerfileError, match="no stage 2") as caught:
        parse("FROM a\nFROM b\nRUN --mount=from=2,target=/t ls")
    assert caught.value.where == "Dockerfile:3"


def test_two_ways_to_the_same_stage_are_no_circle() -> None:
    text = "FROM a AS x\nFROM x AS y\nFROM x AS z\nCOPY --from=y / /\nCOPY --from=x / /"
    assert labels(parse(text)) == ["x", "y", "z"]


def test_a_thousand_stages_on_one_another_are_read() -> None:
    chain = "FROM a AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\n" for i in range(1000))
    assert len(parse(chain).needed()) == 1001


@pytest.mark.parametrize(
    "taking", ["COPY --from=later / /", "COPY --from=1 / /", "RUN --mount=from=later,target=/t ls"]
)
def test_taking_from_a_later_stage_is_refused(taking: str) -> None:
    with pytest.raises(DockerfileError):
        parse(f"FROM a AS x\n{taking}\nFROM b AS later")


# ONBUILD


def test_what_onbuild_carries_runs_first_in_the_stage_that_builds_on_it() -> None:
    dockerfile = parse("FROM a AS x\nONBUILD RUN first\nONBUILD USER u\nFROM x\nRUN second")
    assert [i.keyword for i in dockerfile.stages[0].instructions] == ["ONBUILD", "ONBUILD"]
    assert [(i.keyword, i.values) for i in dockerfile.final.instructions] == [
        ("RUN", ("first",)),
        ("USER", ("u",)),
        ("RUN", ("second",)),
    ]


def test_what_onbuild_carries_does_not_reach_the_stage_after_the_next() -> None:
    dockerfile = parse("FROM a AS x\nONBUILD RUN first\nFROM x AS y\nFROM y")
    assert dockerfile.final.instructions == ()


def test_a_copy_that_onbuild_carries_makes_its_source_needed_only_where_it_runs() -> None:
    text = "FROM a AS tool\nFROM b AS x\nONBUILD COPY --from=tool / /\nFROM x"
    assert labels(parse(text)) == ["tool", "x", "2"]
    assert labels(parse(text), "x") == ["x"]


def test_an_env_that_onbuild_carries_is_in_force_where_it_runs() -> None:
    dockerfile = parse("FROM a AS x\nONBUILD ENV A=1\nFROM x")
    assert "A" not in dockerfile.stages[0].variables
    assert dockerfile.final.variables["A"] == "1"


# ARG and ENV


def test_a_global_arg_is_replaced_in_from() -> None:
    dockerfile = parse("ARG TAG=3 NAME=alpine\nFROM ${NAME}:$TAG")
    assert dockerfile.final.base == "alpine:3"


def test_a_build_argument_replaces_the_default_of_a_global_arg() -> None:
    dockerfile = parse("ARG TAG=3\nFROM alpine:$TAG", build_args={"TAG": "edge"})
    assert dockerfile.final.base == "alpine:edge"


def test_a_global_arg_may_use_the_one_before_it() -> None:
    assert parse("ARG A=1\nARG B=${A}2 C=$A$B\nFROM x:$C").final.base == "x:112"


def test_a_base_out_of_an_arg_can_be_a_stage() -> None:
    text = "ARG KIND=dev\nFROM a AS base-dev\nFROM b AS base-prod\nFROM base-${KIND}"
    assert parse(text).final.base_stage == 0
    assert parse(text, build_args={"KIND": "prod"}).final.base_stage == 1


def test_a_global_arg_is_not_in_force_in_a_stage_that_does_not_declare_it() -> None:
    assert "A" not in variables("ARG A=1\nFROM x")


def test_a_stage_that_declares_a_global_arg_takes_its_value() -> None:
    assert variables("ARG A=1\nFROM x\nARG A")["A"] == "1"


def test_the_default_in_a_stage_goes_before_the_global_one() -> None:
    assert variables("ARG A=1\nFROM x\nARG A=2")["A"] == "2"


def test_a_build_argument_goes_before_the_defaults_in_a_stage() -> None:
    assert variables("ARG A=1\nFROM x\nARG A=2", {"A": "3"})["A"] == "3"


def test_a_build_argument_that_no_arg_declares_is_not_in_force() -> None:
    assert "A" not in variables("FROM x", {"A": "3"})


def test_an_arg_without_a_value_is_not_set() -> None:
    assert "A" not in variables("FROM x\nARG A")
    assert variables("FROM x\nARG A\nENV B=${A-unset}")["B"] == "unset"


def test_the_arg_of_one_stage_is_not_in_force_in_the_next() -> None:
    assert "A" not in variables("FROM x\nARG A=1\nFROM y")


def test_the_arg_of_a_stage_is_not_replaced_in_a_later_from() -> None:
    with pytest.raises(DockerfileError, match="names no image") as caught:
        parse("FROM x\nARG A=1\nFROM $A")
    assert caught.value.line == 3


def test_a_word_of_arg_sees_what_was_declared_before_its_line() -> None:
    found = variables("FROM x\nARG A=1 N=K\nARG A=2 B=$A $N=3")
    assert found == {"A": "2", "N": "K", "B": "1", "K": "3"}


def test_a_stage_on_a_stage_inherits_its_args_and_its_env() -> None:
    found = variables("FROM x AS y\nARG A=1\nENV E=2\nFROM y")
    assert (found["A"], found["E"]) == ("1", "2")


def test_what_a_stage_sets_does_not_reach_back_to_its_base() -> None:
    dockerfile = parse("FROM x AS y\nENV E=1\nFROM y\nENV E=2")
    assert [s.variables["E"] for s in dockerfile.stages] == ["1", "2"]


def test_env_overrides_an_arg_of_the_same_name() -> None:
    assert variables("FROM x\nARG A=arg\nENV A=env")["A"] == "env"
    assert variables("FROM x\nARG A\nENV A=${A:-env}", {"A": "given"})["A"] == "given"


def test_one_env_sees_the_values_from_before_it() -> None:
    found = variables("FROM x\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert (found["def"], found["ghi"]) == ("hello", "bye")


def test_the_escape_character_of_the_file_protects_a_dollar_sign() -> None:
    assert variables("FROM x\nENV A=1\nENV B=\\$A")["B"] == "$A"
    found = variables("# escape=`\nFROM x\nENV A=1\nENV B=`$A C=\\$A")
    assert (found["B"], found["C"]) == ("$A", "\\1")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux/amd64", "linux-amd64-"), ("linux/arm/v7", "linux-arm-v7"), ("windows", "windows--")],
)
def test_the_platform_args_are_replaced_in_from(platform: str, expected: str) -> None:
    for side in ("TARGET", "BUILD"):
        text = f"FROM x:${{{side}OS}}-${side}ARCH-${side}VARIANT"
        assert parse(text, platform=platform).final.base == f"x:{expected}"


def test_the_platform_of_a_stage_has_its_variables_replaced() -> None:
    text = "FROM --platform=$BUILDPLATFORM a\nFROM --platform=linux/${ARCH:-s390x} b\nFROM c"
    stages = parse(text, platform="linux/arm64").stages
    assert [s.platform for s in stages] == ["linux/arm64", "linux/s390x", None]


def test_a_platform_arg_is_in_force_in_a_stage_that_declares_it() -> None:
    text = "FROM x\nARG TARGETARCH\nENV A=$TARGETARCH O=$TARGETOS"
    found = parse(text, platform="linux/riscv64").final.variables
    assert (found["A"], found["O"]) == ("riscv64", "")


# Modifiers

plain = st.text("abc/.-é ", max_size=8)
optional = st.one_of(st.none(), st.text(max_size=8))


def given_as(value: str | None) -> dict[str, str]:
    return {} if value is None else {"V": value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$V", "a/b/c"),
        ("${V}", "a/b/c"),
        ("$V/d", "a/b/c/d"),
        ("${V}d", "a/b/cd"),
        ("$Vd", ""),
        ("x$V-y", "xa/b/c-y"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$/", "$/"),
        ("\\$V", "$V"),
        ("\\\\$V", "\\a/b/c"),
        ("'$V'", "$V"),
        ('"$V"', "a/b/c"),
        ('"\\$V"', "$V"),
        ('"\\"\\a"', '"\\a'),
        ("'a'b\"c\"", "abc"),
        ("${V:-d}", "a/b/c"),
        ("${V-d}", "a/b/c"),
        ("${V:+d}", "d"),
        ("${V+d}", "d"),
        ("${V:?d}", "a/b/c"),
        ("${V?d}", "a/b/c"),
        ("${NONE:-$V}", "a/b/c"),
        ("${NONE:-${V:+${V}!}}", "a/b/c!"),
        ("${NONE:-'}'}", "}"),
        ("${NONE:-\\}}", "}"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${EMPTY?d}", ""),
        ("${V#*/}", "b/c"),
        ("${V##*/}", "c"),
        ("${V%/*}", "a/b"),
        ("${V%%/*}", "a"),
        ("${V#b}", "a/b/c"),
        ("${V%b}", "a/b/c"),
        ("${V#?}", "/b/c"),
        ("${V%?}", "a/b/"),
        ("${V##*}", ""),
        ("${V%%*}", ""),
        ("${V#}", "a/b/c"),
        ("${NONE#x}", ""),
        ("${V/b/x}", "a/x/c"),
        ("${V/\\//-}", "a-b/c"),
        ("${V//\\//-}", "a-b-c"),
        ("${V//?\\//}", "c"),
        ("${V/b*/x}", "a/x"),
        ("${V//x/y}", "a/b/c"),
        ("${NONE/a/b}", ""),
        ("${V/b/$V}", "a/a/b/c/c"),
        ("${V/b/$GROUP}", "a/\\g<0>/c"),
    ],
)
def test_a_variable_is_replaced_as_its_modifier_says(text: str, expected: str) -> None:
    assert expand(text, {"V": "a/b/c", "EMPTY": "", "GROUP": "\\g<0>"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${STAR#\\*}", "ab"),  # the escape must reach the pattern
        ("${STAR#\\?}", "*ab"),
        ("$12", ""),  # one name, of all the digits
        ("${12:-d}", "d"),
    ],
)
def test_escapes_in_patterns_and_names_of_digits_are_read_as_buildkit_reads_them(
    text: str, expected: str
) -> None:
    assert expand(text, {"STAR": "*ab", "1": "one"}) == expected


@pytest.mark.timeout(20)
def test_a_replacement_that_is_repeated_too_often_is_refused() -> None:
    text = f"ARG A={'x' * 4000}\nARG A=${{A//?/$A}}\nFROM scratch\n"
    with pytest.raises(DockerfileError, match="more than 1,048,576 characters"):
        parse(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("twice", ["$A$A", "${A}${A:-x}", "${A:+$A}$A"])
def test_variables_that_double_on_every_line_are_refused(twice: str) -> None:
    text = "ARG A=0123456789\n" + f"ARG A={twice}\n" * 40 + "FROM scratch\n"
    with pytest.raises(DockerfileError, match="more than 1,048,576 characters") as caught:
        parse(text)
    assert 15 < caught.value.line < 20


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${", "name"),
        ("${}", "name"),
        ("${V", "missing"),
        ("${V:-a", "missing"),
        ("${V/a}", "missing"),
        ("${V/a/b", "missing"),
        ("${V!x}", "modifier"),
        ("${V:x}", "modifier"),
        ("${V x}", "modifier"),
        ("'a", "closing '"),
        ('"a', 'closing "'),
        ('"${V"', "modifier"),
        ("${NONE:?write it}", "NONE: write it"),
        ("${NONE?write it}", "NONE: write it"),
        ("${EMPTY:?}", "EMPTY: is not set"),
    ],
)
def test_a_malformed_or_missing_variable_is_refused(text: str, what: str) -> None:
    with pytest.raises(VariableError) as caught:
        expand(text, {"V": "v", "EMPTY": ""})
    assert what in str(caught.value)


def test_the_file_and_the_line_of_a_required_variable_are_named() -> None:
    with pytest.raises(DockerfileError, match="TAG: name-a-release") as caught:
        parse("ARG TAG\n\nFROM x:${TAG:?name-a-release}", path="Dockerfile.prod")
    assert caught.value.where == "Dockerfile.prod:3"


@given(st.text())
def test_a_value_is_put_in_as_it_is(value: str) -> None:
    assert expand("$V", {"V": value}) == value
    assert expand("${V}", {"V": value}) == value
    assert expand('"${V}"', {"V": value}) == value


@given(st.text(), st.sampled_from("\\`"))
def test_a_text_whose_every_character_is_escaped_is_that_text(text: str, escape: str) -> None:
    escaped = "".join(escape + character for character in text)
    assert expand(escaped, {}, escape) == text


@given(st.text().filter(lambda text: "'" not in text))
def test_a_text_in_single_quotes_is_that_text(text: str) -> None:
    assert expand(f"'{text}'", {}) == text


@given(optional, plain)
def test_the_colon_makes_an_empty_value_count_as_none(value: str | None, word: str) -> None:
    found = given_as(value)
    assert expand(f"${{V:-{word}}}", found) == (value or word)
    assert expand(f"${{V-{word}}}", found) == (word if value is None else value)
    assert expand(f"${{V:+{word}}}", found) == (word if value else "")
    assert expand(f"${{V+{word}}}", found) == ("" if value is None else word)


@given(optional, plain)
def test_a_required_variable_is_its_value_or_an_error(value: str | None, word: str) -> None:
    for text, fails in ((f"${{V:?{word}}}", not value), (f"${{V?{word}}}", value is None)):
        try:
            result = expand(text, given_as(value))
        except VariableError as error:
            assert fails
            assert str(error) == f"V: {word or 'is not set'}"
        else:
            assert not fails
            assert result == value


@given(st.text("ab", max_size=8), st.text("ab*?", max_size=4))
def test_hash_takes_off_the_shortest_and_two_the_longest_match_in_front(
    value: str, glob: str
) -> None:
    rests = [value[i:] for i in range(len(value) + 1) if fnmatchcase(value[:i], glob)] or [value]
    assert expand(f"${{V#{glob}}}", {"V": value}) == rests[0]
    assert expand(f"${{V##{glob}}}", {"V": value}) == rests[-1]


@given(st.text("ab", max_size=8), st.text("ab*?", max_size=4))
def test_percent_takes_off_the_shortest_and_two_the_longest_match_behind(
    value: str, glob: str
) -> None:
    rests = [value[:i] for i in range(len(value) + 1) if fnmatchcase(value[i:], glob)] or [value]
    assert expand(f"${{V%{glob}}}", {"V": value}) == rests[-1]
    assert expand(f"${{V%%{glob}}}", {"V": value}) == rests[0]


@given(st.text("abc.[+", max_size=12), st.text("abc.[+", min_size=1, max_size=2), plain)
def test_one_slash_replaces_the_first_and_two_replace_every_match(
    value: str, part: str, other: str
) -> None:
    assert expand(f"${{V/{part}/{other}}}", {"V": value}) == value.replace(part, other, 1)
    assert expand(f"${{V//{part}/{other}}}", {"V": value}) == value.replace(part, other)


@given(st.text("$V{}:-+?#%/\\'\"a* ", max_size=40), st.text("a*/", max_size=5))
def test_nothing_but_a_variable_error_is_raised(text: str, value: str) -> None:
    try:
        expand(text, {"V": value})
    except VariableError as error:
        assert str(error)


@pytest.mark.parametrize(("operator", "length"), [("#", 200), ("%", 200), ("/", 200)])
@pytest.mark.timeout(20)
def test_a_pattern_with_many_stars_does_not_take_forever(operator: str, length: int) -> None:
    end = "/x" if operator == "/" else ""
    expand(f"${{V{operator}b*a*a*a*a*a*a*a*a*a*a*a*c{end}}}", {"V": "b" + "a" * length})
