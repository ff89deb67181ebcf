"""Advice on messages of builders: the words of a fault are told from words that resemble them.

That each piece of advice is given where its fault is caused: tests/engines/test_advice.py.
"""

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.advice import Failure, advise, is_machine_fault
from multistage.advice.table import TABLE

ENDED = {
    "BuildKit and the daemonless engine": 'process "/bin/sh -c {}" did not complete '
    "successfully: exit code: {}",
    "BuildKit of Engine 20": "executor failed running [/bin/sh -c {}]: exit code: {}",
    "the classic builder": "The command '/bin/sh -c {}' returned a non-zero code: {}",
}
ends = pytest.mark.parametrize("ended", ENDED.values(), ids=ENDED.keys())


def name_of(message: str, log: str = "", step: str = "[2/2] RUN ./app") -> str | None:
    found = advise(Failure(message, log, step))
    return found.advice.name if found else None


@pytest.mark.parametrize("place", range(len(TABLE)), ids=lambda n: f"{n}-{TABLE[n].name}")
def test_every_advice_says_what_happened_and_what_to_do_with_what_its_pattern_found(
    place: int,
) -> None:
    advice = TABLE[place]
    assert re.search(r"[.?]$", advice.means)
    assert len(f"{advice.means} {advice.mend}") < 300
    assert advice.message or advice.log
    found = {name.rstrip("_") for p in (advice.message, advice.log) for name in groups(p)}
    asked = {n for text in (advice.means, advice.mend) for _, n, _, _ in Formatter().parse(text)}
    assert asked - {None} <= found


def groups(pattern: str) -> list[str]:
    return list(re.compile(pattern).groupindex)


@ends
@pytest.mark.parametrize(
    "command",
    [
        "echo no space left on device; exit 1",
        "echo toomanyrequests && false",
        "echo '(did you mean builder?)'; exit 1",
        "grep -q 'connection refused' log",
        "echo unknown instruction: COPPY; exit 1",
        'echo "exit code: 137"; exit 1',
        "echo '\"/x\": not found'; exit 1",
        "echo invalid from flag value b; false",
    ],
)
def test_a_command_that_has_the_words_of_a_fault_in_it_is_not_taken_for_one(
    ended: str, command: str
) -> None:
    message = ended.format(command, 1)
    assert name_of(message, step=f"[2/2] RUN {command}") is None
    assert not is_machine_fault(message)


@ends
@pytest.mark.parametrize(
    "said",
    [
        "not found",
        "npm: not found",
        "user 7: not found",
        "/bin/sh: npm: not found",  # and the command did not end as one that was not found
        "GET /logo.png 404: not found",
        "the script build is missing",
        'Missing script: "build"',
        "no Go files in the archive",
        "go.mod file not found",
        "permission denied",
        "no space left on device",
        "the house has no space left on device shelves",
        "dial tcp 127.0.0.1:5432: connect: connection refused",  # a test of the learner's own
        "x509: certificate signed by unknown authority",
        "exit code: 137",
        "toomanyrequests",
        "pull access denied",
        "exec format error",
        "tests: exec /ls: no such file or directory",
        "npm warn Missing script: build is deprecated",
        "# a comment",
    ],
)
def test_what_a_program_of_the_learners_says_gets_no_advice(ended: str, said: str) -> None:
    assert name_of(ended.format("./app", 1), f"begin\n{said}\nend\n") is None


@pytest.mark.parametrize("code", [1, 2, 3, 126, 127, 130, 255])
def test_an_exit_code_alone_gets_no_advice(code: int) -> None:
    assert (
        name_of(f'process "/bin/sh -c x" did not complete successfully: exit code: {code}') is None
    )


@pytest.mark.parametrize(
    ("message", "name"),
    [
        # Words that this machine cannot make an engine say, and where they are from:
        # Docker Hub's answer: https://docs.docker.com/docker-hub/usage/
        ("toomanyrequests: You have reached your pull rate limit.", "too-many-requests"),
        # https://github.com/docker/build-push-action/issues/913
        ("no match for platform in manifest sha256:9a0b: not found", "platform"),
        ("Cannot connect to the Docker daemon at unix:///x. Is it running?", "docker-not-running"),
        ("The Docker Engine does not do its part: empty export - not implemented", "empty-image"),
    ],
)
def test_recorded_messages_are_recognised(message: str, name: str) -> None:
    assert name_of(message) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        # npm 6 to 8 wrote ERR! where npm 11 writes error:
        # https://github.com/orbitdb/orbitdb/issues/626
        ("npm ERR! code SELF_SIGNED_CERT_IN_CHAIN", "certificate"),
        ("npm ERR! missing script: build", "missing-script"),
        # apt: methods/connect.cc and methods/tls of https://salsa.debian.org/apt-team/apt
        ("Err:1 http://mirror.example x: Temporary failure resolving 'mirror.example'", "network"),
        (
            "  Certificate verification failed: The certificate is NOT trusted. The certificate "
            "issuer is unknown.",
            "certificate",
        ),
        # Vite 6, which Rollup gives its words; tests/wrong_answers has it said for real
        ('Could not resolve entry module "index.html".', "no-page-to-build"),
        # go 1.11 to 1.15: https://go.dev/ref/mod
        ("go: cannot find main module; see 'go help modules'", "no-go-mod"),
    ],
)
def test_recorded_lines_of_older_tools_are_recognised(line: str, name: str) -> None:
    message = 'process "/bin/sh -c x" did not complete successfully: exit code: 1'
    assert name_of(message, line) == name


def test_the_words_that_the_advice_rests_on_are_given_with_it() -> None:
    log = 'before\nnpm error Missing script: "bild"\nafter\n'
    found = advise(Failure("The command 'npm run bild' returned a non-zero code: 1", log, ""))
    assert found is not None
    assert found.said == 'npm error Missing script: "bild"'
    assert "no script called bild" in found.text


@pytest.mark.parametrize("braces", ["{0}", "{script}", "{", "}}", "{x.__class__}"])
def test_braces_in_what_a_build_says_stay_as_they_are(braces: str) -> None:
    found = advise(Failure("exit", f'npm error Missing script: "{braces}"', ""))
    assert found is not None
    assert braces in found.text


@given(st.text(), st.text(), st.text())
def test_any_text_is_taken(message: str, log: str, step: str) -> None:
    advise(Failure(message, log, step))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["x", " ", "exec: ", "npm error ", '"/', "go: : ", "E: ", "\n"])
def test_a_long_text_is_looked_at_quickly(piece: str) -> None:
    text = piece * 100_000
    advise(Failure(text, text, text))
