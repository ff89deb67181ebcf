"""What a Dockerfile means, without building it: plan, config, mounts, patterns, store, deltas."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multistage.dockerfile import DockerfileError, parse, parse_instructions
from multistage.dockerfile.parser import KEYWORDS
from multistage.errors import CourseError

if sys.platform == "win32":
    pytest.skip("this engine is for Linux", allow_module_level=True)

from multistage.dockerfile.patterns import read_ignore_file, wildcard
from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.config import ConfigError
from multistage.engines.daemonless.mounts import RunMount
from multistage.engines.daemonless.plan import (
    CopyStep,
    Planned,
    RunStep,
    StagePlan,
    WorkdirStep,
    plan_stage,
)
from multistage.engines.daemonless.refusals import refuse_unsupported

CASES = int(os.environ.get("MULTISTAGE_GENERATED_DOCKERFILES", "1000"))
LINUX = "linux/amd64"


# Nothing but what a learner is told, whatever the file says

pair = st.sampled_from(
    ["a=b", "a=$V", "a=", "$V=x", "${V:-q}=x", "'a b'=c", 'a="b c"', "a=${V:?}", "a=${V", "PATH=$a"]
)
word = st.sampled_from(
    ["a", "b.c", "/x/y", "/", ".", "..", "", "x/", "$V", "${V:-d}", "${V:?}", "${V:+$W}", "${V",
     "${V#a*}", "${V//a/b}", "$$", "'q r'", '"q r"', '"a', "\\", "a\\", "x=y", "=", "x=", "=y",
     "x='y z'", 'k="v w"', "--late", "<<EOF", "<<-EOF", "3<<EOF", "é", "\x7f",
     "[", "[]", '["a"]', '["a","b"]', '[""]', '["a", 1]', "&&", "80", "80-90/udp", "99999", "1-",
     "80/x", "$V/tcp", "NONE", "CMD", "none", "CMD true", "AS", "as", "b", "0", "1", "-1", "a:1",
     "1:1", "root:", ":", "http://x/y", "https://github.com/a/b.git", "http://[", "git@x:y",
     "/./", "**", "a/**/b", "[a", "[^a]", "a*", "SIGTERM", "scratch", "²", "१"]
)  # fmt: skip
mount = st.lists(
    st.sampled_from(
        ["type=bind", "type=cache", "type=tmpfs", "type=secret", "type=ssh", "type=x", "type",
         "type=$V", "target=/x", "target=", "dst=$V", "source=/", "src=..", "from=a", "from=0",
         "from=b", "from=", "from=$V", "id=i", "id", "ro", "rw", "ro=x", "readonly=false",
         "readwrite=maybe", "required", "required=2", "sharing=locked", "sharing=x", "mode=0755",
         "mode=9", "mode=", "mode=-1", "mode=99999999", "uid=1", "uid=x", "uid=-1", "gid=", "gid=²",
         "size=1g", "size=", "size=1x", "size=²", "env=E", "env", "=", "", "a=b=c", '"q,r"']
    ),
    max_size=5,
).map(lambda parts: f"--mount={','.join(parts)}")  # fmt: skip
platform = st.sampled_from(["--platform=linux/arm64", "--platform=$V", "--platform="])
copying = st.sampled_from(
    ["--from=a", "--from=b", "--from=0", "--from=x", "--from=$V", "--from=", "--chown=1:1",
     "--chown=$V", "--chown=${V:?}", "--chmod=755", "--chmod=x", "--link", "--link=x", "--parents",
     "--exclude=*", "--exclude=[", "--exclude=${V"]
)  # fmt: skip
FLAGS: dict[str, st.SearchStrategy[str]] = {
    "FROM": platform,
    "RUN": st.one_of(
        mount, mount, mount,
        st.sampled_from(["--network=none", "--network=x", "--network=", "--security=insecure"]),
    ),
    "COPY": copying,
    "ADD": st.one_of(copying.filter(lambda flag: "--from" not in flag), st.sampled_from(
        ["--checksum=sha256:x", "--checksum=$V", "--unpack", "--unpack=x", "--keep-git-dir"]
    )),
    "HEALTHCHECK": st.sampled_from(
        ["--interval=5s", "--interval=1e9h", "--interval=²s", "--interval=1", "--timeout=-1s",
         "--timeout=$V", "--retries=x", "--retries=-1", "--retries=²", "--retries=3",
         "--start-period=", "--start-interval=0", "--interval=99999999999999h"]
    ),
}  # fmt: skip
carried = [name for name in KEYWORDS if name not in ("FROM", "MAINTAINER", "ONBUILD")]
glue = st.sampled_from([" ", " ", " ", "\t", " \\\n", " \\\n# c\n"])
body = st.sampled_from(["", "body $V\n", "#!/bin/sh\n${V\n", "\tb\n", "${V:?}\n", "\ufeff\n"])
top = st.sampled_from(["", "", "# escape=`\n", "ARG V\n", "ARG V=b\n", "# check=skip=all\n"])
start = st.sampled_from(
    ["FROM x AS a\n", "FROM scratch\n", "FROM a AS b\n", "FROM ${V:-x} AS b\n",
     "FROM --platform=$BUILDPLATFORM x AS b\n"]
)  # fmt: skip


@st.composite
def instructions(draw: st.DrawFn) -> str:
    """Draw an instruction that is likely to be parsed, with odd words."""
    onbuild = draw(st.integers(0, 9)) == 0
    keyword = draw(st.sampled_from(carried if onbuild else [*carried, "MAINTAINER"]))
    flags = FLAGS.get(keyword, st.nothing())
    parts = draw(st.lists(flags, max_size=3)) if keyword in FLAGS else []
    least = 2 if keyword in ("COPY", "ADD") else 1
    if keyword in ("ENV", "LABEL") and draw(st.booleans()):
        parts += draw(st.lists(pair, min_size=1, max_size=3))
    elif keyword == "HEALTHCHECK":
        parts += [draw(st.sampled_from(["NONE", "CMD", "CMD", "none", "x"]))]
        parts += draw(st.lists(word, max_size=2))
    else:
        parts += draw(st.lists(word, min_size=least, max_size=4))
    line = ("ONBUILD " if onbuild else "") + keyword
    for part in parts:
        line += draw(glue) + part
    ends = [part for part in parts if part.lstrip("3").startswith("<<")]
    names = [part.lstrip("3<-").strip("'") for part in ends]
    return line + "\n" + "".join(draw(body) + f"{name}\n" for name in names)


@st.composite
def dockerfiles(draw: st.DrawFn) -> str:
    """Draw a Dockerfile of one to three stages."""
    text = draw(top)
    for number in range(draw(st.integers(1, 3))):
        text += "FROM x AS a\n" if number == 0 else draw(start)
        text += "".join(draw(st.lists(instructions(), max_size=4)))
    return text


odd = st.one_of(
    st.none(), st.integers(), st.booleans(), st.text(max_size=5), st.lists(st.text(max_size=5)),
    st.lists(st.one_of(st.none(), st.integers())), st.dictionaries(st.text(max_size=3), st.none()),
)  # fmt: skip
FIELDS = ("Env", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes", "Cmd", "Entrypoint",
          "Shell", "OnBuild", "StopSignal", "Healthcheck", "ArgsEscaped")  # fmt: skip
configs = st.one_of(
    st.just({}),
    st.just(image_config.empty()),
    st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, odd)),
)
build_args = st.dictionaries(st.sampled_from(["V", "W", "HTTP_PROXY", "x"]), word, max_size=2)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(dockerfiles(), configs, build_args)
def test_any_file_is_planned_or_refused(
    text: str, config: dict[str, Any], arguments: dict[str, str]
) -> None:
    try:
        model = parse(text, "Dockerfile", arguments, LINUX)
        refuse_unsupported(model, None, LINUX)
    except CourseError:
        return
    for stage in model.stages:
        try:
            base = image_config.from_image({"config": config})
            carried = base.get("OnBuild")
            lines = "\n".join(map(str, carried)) if isinstance(carried, list) else ""
            triggers = parse_instructions(lines, "x, ONBUILD").instructions if lines else ()
            plan = plan_stage(model, stage, base, arguments, triggers)
        except CourseError:
            continue
        image_config.document(None, plan.config, [], [], created="", platform=LINUX)


# What a plan says


def planned(
    text: str, base: dict[str, Any] | None = None, arguments: dict[str, str] | None = None
) -> StagePlan:
    """Plan the last stage of a file."""
    model = parse(text, "Dockerfile", arguments, LINUX)
    start = image_config.empty() if base is None else base
    return plan_stage(model, model.stages[-1], start, arguments)


def steps(text: str, **arguments: str) -> list[Any]:
    return [p.step for p in planned(text, None, arguments).planned if p.step is not None]


def test_a_stage_hands_its_args_on_as_they_are_at_its_end() -> None:
    first = planned(
        "FROM x\nARG A=1 N=K GONE\nARG A=2 B=$A $N=3 C=$BASE\nENV N=env", {"Env": ["BASE=yes"]}
    )
    assert first.args == {"A": "2", "B": "1", "K": "3", "C": "yes", "N": "env"}
    model = parse("FROM x", "Dockerfile", {}, LINUX)
    then = plan_stage(model, model.stages[0], first.config, inherited=first.args)
    assert then.args == first.args


def test_a_run_sees_args_and_env_and_env_wins() -> None:
    [run] = steps("FROM x\nARG A=1\nARG B=2\nENV B=3\nRUN echo $A\n", A="9")
    assert isinstance(run, RunStep)
    assert run.environment["A"] == "9"
    assert run.environment["B"] == "3"
    assert run.argv == ("/bin/sh", "-c", "echo $A")


def test_a_global_arg_is_seen_where_it_is_declared_again() -> None:
    assert "A" not in steps("ARG A=1\nFROM x\nRUN a\n")[0].environment
    assert steps("ARG A=1\nFROM x\nARG A\nRUN a\n")[0].environment["A"] == "1"


def test_a_proxy_needs_no_declaration_and_is_no_part_of_the_history() -> None:
    plan = planned("FROM x\nRUN a\n", None, {"HTTP_PROXY": "http://secret"})
    [entry] = plan.planned
    assert isinstance(entry.step, RunStep)
    assert entry.step.environment["HTTP_PROXY"] == "http://secret"
    assert "secret" not in entry.created_by


def test_the_history_names_the_args_of_a_run() -> None:
    plan = planned("FROM x\nARG A=1\nRUN a\n")
    assert plan.planned[-1].created_by == "RUN |1 A=1 /bin/sh -c a # buildkit"


def test_paths_start_at_the_working_folder() -> None:
    found = steps("FROM x\nWORKDIR /a\nWORKDIR b/../c\nCOPY x .\nCOPY y z /d/\nRUN e\n")
    assert [s.path for s in found if isinstance(s, WorkdirStep)] == ["/a", "/a/c"]
    assert [s.destination for s in found if isinstance(s, CopyStep)] == ["/a/c/", "/d/"]
    assert found[-1].folder == "/a/c"


def test_nothing_leads_above_the_root() -> None:
    [copied] = steps("FROM x\nCOPY a ../../b\n")
    assert copied.destination == "/b"


def test_a_copy_with_here_documents() -> None:
    [copied] = steps("FROM x\nARG V=v\nCOPY <<A <<'B' c /d/\n$V\nA\n$V\nB\n")
    assert copied.files == (("A", "v\n"), ("B", "$V\n"))
    assert copied.sources == ("c",)


def test_a_run_with_a_here_document_is_a_script_or_a_shell_s_input() -> None:
    found = steps("FROM x\nRUN <<A\necho\nA\nRUN <<B\n#!/usr/bin/env x\nB\nRUN cat <<C\nd\nC\n")
    assert found[0].argv == ("/bin/sh", "-c", "echo\n")
    assert found[1].script == ("B", "#!/usr/bin/env x\n")
    assert found[2].argv[-1] == "cat <<C\nd\nC"


def test_an_entrypoint_takes_the_base_s_command_away_unless_there_is_one() -> None:
    base = {"Cmd": ["base"]}
    assert "Cmd" not in planned('FROM x\nENTRYPOINT ["a"]\n', base).config
    assert planned('FROM x\nCMD ["b"]\nENTRYPOINT ["a"]\n', base).config["Cmd"] == ["b"]


def test_an_onbuild_is_carried_and_the_base_s_is_used_up() -> None:
    plan = planned("FROM x\nONBUILD RUN <<A\nb\nA\n", {"OnBuild": ["RUN old"]})
    assert plan.config["OnBuild"] == ["RUN <<A\nb\nA"]


def test_what_is_planned_does_not_change_the_base() -> None:
    base = {"Env": ["A=1"], "Labels": {"a": "b"}}
    planned("FROM x\nENV A=2\nLABEL a=c\nVOLUME /v\nEXPOSE 1\n", base)
    assert base == {"Env": ["A=1"], "Labels": {"a": "b"}}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("ADD [] a", "nothing to copy"),
        ("VOLUME $V", "empty path"),
        ("EXPOSE x", "x is no port"),
        ("EXPOSE 70000", "70000 is no port"),
        ("EXPOSE 1-9999", "is no port"),
        ("HEALTHCHECK --interval=x CMD a", "x is no duration"),
        ("HEALTHCHECK --retries=² CMD a", "is no number"),
        (f"HEALTHCHECK --retries={'9' * 5000} CMD a", ""),  # too long to be shown
        (f"HEALTHCHECK --interval={'9' * 5000}h CMD a", ""),  # too long to be shown
        (f"EXPOSE {'9' * 5000}", ""),  # too long to be shown
        (f"RUN --mount=type=cache,target=/x,uid={'9' * 5000} a", ""),  # too long to be shown
        ("RUN --mount=type=bind a", "no target"),
        ("RUN --mount=type=tmpfs,target=/x,size=1x a", "is no size"),
        ("RUN --mount=type=cache,target=/x,sharing=y a", "sharing=y is none of"),
        ("RUN --mount=type=cache,target=/x,mode=9 a", "--mount="),
        ("RUN --mount=type=cache,target=/x,rw=maybe a", "neither true nor false"),
        ("RUN --mount=type=cache,target=/x,uid=-5 a", "out of range"),
        ("RUN --mount=type=cache,target=/x,mode=-1 a", "out of range"),
        ("RUN --mount=type=cach,target=/x a", "no type cach"),
        ("RUN --mount=type=cache,targt=/x a", "no option targt"),
        ("WORKDIR ${V:?is needed}", "is needed"),
    ],
)
def test_a_malformed_instruction_is_refused_with_its_line(line: str, what: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        planned(f"FROM x\n\n{line}\n")
    assert what in caught.value.what
    assert caught.value.where == "Dockerfile:3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", RunMount("bind", "/x", "/")),
        ("target=x,rw", RunMount("bind", "/w/x", "/", read_only=False)),
        ("dst=/x,src=a/b", RunMount("bind", "/x", "a/b")),
        ("type=cache,target=/x", RunMount("cache", "/x", read_only=False)),
        ("type=cache,target=/x,id=i,ro,sharing=locked,uid=1,gid=2,mode=0700",
         RunMount("cache", "/x", id="i", sharing="locked", user=1, group=2, mode=0o700)),
        ("type=tmpfs,target=/x,size=1m", RunMount("tmpfs", "/x", size=1 << 20, read_only=False)),
        ("type=secret,id=s", RunMount("secret", "/run/secrets/s", id="s", mode=0o400)),
        ("type=secret,target=/a/s,required", RunMount("secret", "/a/s", id="s", mode=0o400,
                                                      required=True)),
        ("type=secret,id=s,env=S", RunMount("secret", "", id="s", mode=0o400, variable="S")),
        ("type=cache,target=$V", RunMount("cache", "/v", read_only=False)),
    ],
)  # fmt: skip
def test_mounts(text: str, expected: RunMount) -> None:
    run = steps(f"FROM x\nARG V=/v\nWORKDIR /w\nRUN --mount={text} a\n")[-1]
    [found] = run.mounts
    wanted = {
        name: getattr(expected, name)
        for name in ("kind", "target", "source", "read_only", "sharing", "size", "mode", "user",
                     "group", "required", "variable")
    }  # fmt: skip
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert not expected.id or found.id == expected.id


def test_a_mount_from_a_stage_knows_which() -> None:
    run = steps("FROM x AS a\nFROM y\nRUN --mount=from=a,target=/a b\n")[-1]
    assert run.mounts[0].origin == 0


# Config


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("10ms", 10**7),
     ("3us", 3000), ("1ns", 1)],
)  # fmt: skip
def test_durations(text: str, expected: int) -> None:
    assert image_config.nanoseconds(text) == expected


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s ", "1,5s", "²s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError):
        image_config.nanoseconds(text)


def test_ports() -> None:
    config: dict[str, Any] = {}
    assert image_config.expose(config, ["80", "53/UDP", "90-92"]) == [
        "53/udp", "80/tcp", "90/tcp", "91/tcp", "92/tcp",
    ]  # fmt: skip
    assert config["ExposedPorts"]["53/udp"] == {}


def test_a_variable_keeps_its_place() -> None:
    config = {"Env": ["A=1", "B=2"]}
    image_config.set_environment(config, "A", "3")
    image_config.set_environment(config, "C", "4")
    assert config["Env"] == ["A=3", "B=2", "C=4"]


def test_what_makes_no_sense_in_a_base_s_config_is_left_out() -> None:
    document = {"config": {"Env": {"a": 1}, "Cmd": "x", "User": 1, "Labels": [], "WorkingDir": "/"}}
    assert image_config.from_image(document) == {"WorkingDir": "/"}
    assert image_config.from_image({"config": []}) == {}


# Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    # From Go's path/filepath/match_test.go, as far as Dockerfiles can have it.
    [("abc", "abc", True), ("*", "abc", True), ("*c", "abc", True), ("a*", "a", True),
     ("a*", "abc", True), ("a*", "ab/c", False), ("a*/b", "abc/b", True), ("a*/b", "a/c/b", False),
     ("a*b*c*d*e*/f", "axbxcxdxe/f", True), ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
     ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False), ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
     ("a*b?c*x", "abxbbxdbxebxczzx", True), ("a*b?c*x", "abxbbxdbxebxczzy", False),
     ("ab[c]", "abc", True), ("ab[b-d]", "abc", True), ("ab[e-g]", "abc", False),
     ("ab[^c]", "abc", False), ("ab[^b-d]", "abc", False), ("ab[^e-g]", "abc", True),
     ("a\\*b", "a*b", True), ("a\\*b", "ab", False), ("a?b", "a\u263ab", True),
     ("a[^a]b", "a\u263ab", True), ("a???b", "a\u263ab", False),
     ("a[^a][^a][^a]b", "a\u263ab", False), ("[a-ζ]*", "\u03b1", True),
     ("*[a-ζ]", "A", False), ("a?b", "a/b", False), ("a*b", "a/b", False),
     ("[\\]a]", "]", True), ("[\\-]", "-", True), ("[x\\-]", "x", True), ("[x\\-]", "-", True),
     ("[x\\-]", "z", False), ("[\\-x]", "x", True), ("[\\-x]", "-", True), ("[\\-x]", "a", False),
     ("*x", "xxx", True), (".", ".", True), ("a.c", "abc", False), ("(a)", "(a)", True),
     ("a\n", "a\n", True), ("*", "a\nb", True), ("[^a]", "/", False)],
)  # fmt: skip
def test_wildcards(pattern: str, name: str, fits: bool) -> None:
    assert bool(wildcard(pattern).match(name)) is fits


@pytest.mark.parametrize("pattern", ["a[", "[", "[^", "[^bc", "a\\", "[a", "[a-\\", "[z-a]"])
def test_malformed_wildcards(pattern: str) -> None:
    with pytest.raises(ValueError):
        wildcard(pattern)


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    # https://docs.docker.com/build/concepts/context/#syntax, and moby/patternmatcher's tests
    [("", "a", False), ("a", "a", True), ("a", "a/b", True), ("a", "b/a", False),
     ("/a", "a", True), ("a/", "a", True), ("./a", "a", True), ("a/../b", "b", True),
     ("**/a", "a", True), ("**/a", "b/c/a", True), ("**/a", "ba", False), ("a/**", "a/b/c", True),
     ("a/**", "a", False), ("**", "a/b", True), ("*.md", "README.md", True),
     ("*.md", "docs/x.md", False), ("*/temp*", "x/temporary", True), ("*/temp*", "temp", False),
     ("*/*/temp*", "x/y/temp.txt", True), ("temp?", "tempa", True), ("temp?", "temp", False),
     ("*.md\n!README.md", "README.md", False), ("*.md\n!README*.md\nREADME-secret.md",
                                                 "README-secret.md", True),
     ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
     ("# a\n#b", "#b", False), (" a ", "a", True), ("! a\nb", "b", True), ("a\n!a/b", "a/b", False),
     ("a\n!a/b", "a/c", True), ("*\n!src", "src/x", False), ("*\n!src", "other", True),
     ("!\n!", "a", False), (".", "a", False), ("/", "a", False), ("\ufeffa", "a", True),
     ("a\r\nb", "b", True), ("**/.git", ".git/config", True), ("a*\n!ab", "ab/c", False),
     ("[ab]", "b", True), ("a\\*", "a*", True), ("**/*.pyc", "x.pyc", True),
     ("**/node_modules", "app/node_modules/x/y", True), ("a**b", "a/x/b", True)],
)  # fmt: skip
def test_ignore_files(lines: str, path: str, ignored: bool) -> None:
    assert read_ignore_file(lines).ignores(path) is ignored


@pytest.mark.parametrize("line", ["[", "a[b", "a\\"])
def test_malformed_ignore_files(line: str) -> None:
    with pytest.raises(ValueError):
        read_ignore_file(line)


def test_an_exception_is_looked_for_below_what_is_ignored() -> None:
    rules = read_ignore_file("a\n!a/b/c\n!*/d\n")
    assert rules.may_include_below("a")
    assert rules.may_include_below("a/b")
    assert not rules.may_include_below("a/x")
    assert not read_ignore_file("a\n!b\n").may_include_below("a/b")


def test_every_step_has_its_history() -> None:
    plan = planned("FROM x\nENV A=1\nCOPY a /b\nUSER 1\nLABEL a=b\nEXPOSE 80\nMAINTAINER me\n")
    assert [entry.created_by for entry in plan.planned if isinstance(entry, Planned)] == [
        "ENV A=1", "COPY a /b # buildkit", "USER 1", "LABEL a=b", "EXPOSE map[80/tcp:{}]",
        "MAINTAINER me",
    ]  # fmt: skip
    assert plan.author == "me"


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (None, 15),
        ("SIGQUIT", 3),
        ("quit", 3),
        ("9", 9),
        ("SIGRTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMAX-14", 50),
        ("RTMAX", 64),
        ("RTMIN+16", 15),
        ("0", 15),
        ("65", 15),
        ("SIG_IGN", 15),
        ("NOTHING", 15),
        (["KILL"], 15),
    ],
)
def test_a_stop_signal_is_read_as_docker_reads_it(said: object, number: int) -> None:
    config = image_config.from_image({"config": {"StopSignal": said}})
    assert image_config.stop_signal(config) == number
