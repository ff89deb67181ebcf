"""A container that does not start, or ends at once: every engine and sandbox says so, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from multistage.checks import ask, start_hint, wait_until_it_answers
from multistage.checks.requests import end_of
from multistage.engines import BuildRequest, Engine
from multistage.engines.daemonless.sandbox import KINDS
from multistage.errors import LearnerError
from tests.engines.daemonless import BASE, any_engine, needs_stand_ins, wait_for

pytestmark = [pytest.mark.docker, needs_stand_ins]
ROUNDS = 10  # what goes wrong here goes wrong now and then
SOON = 8  # seconds, on a busy machine; a request that nobody answers takes longer
COPIED = ["FROM scratch", "COPY --from=0 /p /server"]


@pytest.fixture(scope="module", params=["docker", *KINDS])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the engine of Docker, and each sandbox in turn."""
    return any_engine(str(request.param), tmp_path_factory)


def build(engine: Engine, folder: Path, *lines: str) -> str:
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines, ""]), "utf-8")
    return engine.build(BuildRequest(folder, folder / "Dockerfile", "multistage/test:starts"))


def refused(engine: Engine, image: str) -> str:
    """Return what is said of a container that does not answer."""
    with pytest.raises(LearnerError) as caught, engine.run(image, 8080) as container:
        wait_until_it_answers(container)
    return caught.value.what


@pytest.mark.parametrize("seconds", ["0", "0.05", "0.3"])
def test_the_end_of_a_program_is_seen_soon(engine: Engine, tmp_path: Path, seconds: str) -> None:
    image = build(engine, tmp_path, f'CMD ["sh", "-c", "sleep {seconds}; echo bye; exit 7"]')
    for _ in range(ROUNDS):
        started = time.monotonic()
        assert refused(engine, image) == "The container ended with exit code 7: bye"
        assert time.monotonic() - started < SOON


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['CMD ["thing"]'], 'exec: "thing": executable file not found in $PATH'),
        (["RUN touch /bin/thing", 'CMD ["thing"]'], "executable file not found in $PATH"),
        (['CMD ["/thing"]'], 'exec: "/thing": stat /thing: no such file or directory'),
        (['CMD ["/etc/passwd/x"]'], "stat /etc/passwd/x: not a directory"),
        (["RUN ln -s /l /l", 'CMD ["/l"]'], "stat /l: too many levels of symbolic links"),
        (['CMD ["/etc"]'], 'exec: "/etc": is a directory'),
        (["RUN touch /p", 'CMD ["/p"]'], 'exec: "/p": permission denied'),
        (
            ["RUN touch /p && chmod 700 /p", "USER 1000", 'CMD ["/p"]'],
            'exec: "/p": permission denied',
        ),
        (
            ["RUN mkdir -m 700 /d && cp /bin/busybox /d/true", "USER 1000", 'CMD ["/d/true"]'],
            "stat /d/true: permission denied",
        ),
        (["USER someone", 'CMD ["true"]'], "unable to find user someone"),
        (["USER 1:some", 'CMD ["true"]'], "unable to find group some"),
        (
            [r"RUN printf '\317\372\355\376' > /p && chmod 755 /p", *COPIED, 'CMD ["/server"]'],
            "exec /server: exec format error",
        ),
        (
            [r"RUN printf '#!/bin/no\n' > /p && chmod 755 /p", *COPIED, 'CMD ["/server"]'],
            "exec /server: no such file or directory",
        ),
    ],
    ids=[
        "no such name", "a name not executable", "no such path", "below a file", "a circle",
        "a folder", "not executable", "another user's", "below another user's folder",
        "no such user", "no such group", "another system's", "no interpreter",
    ],
)  # fmt: skip
def test_what_keeps_a_program_from_starting_is_said_as_docker_says_it(
    engine: Engine, tmp_path: Path, lines: list[str], said: str
) -> None:
    assert said in refused(engine, build(engine, tmp_path, *lines))


def test_the_first_program_in_path_that_can_be_started_is(engine: Engine, tmp_path: Path) -> None:
    line = (
        "RUN mkdir -p /usr/local/bin && touch /usr/local/bin/thing"
        r" && printf '#!/bin/sh\necho here\n' > /bin/thing && chmod 755 /bin/thing"
    )
    image = build(engine, tmp_path, line, 'CMD ["thing"]')
    assert engine.run_command(image, []).output == "here"


@pytest.mark.parametrize("before", ["true", "ln -s /gone/x /app"], ids=["a folder", "a link"])
def test_a_working_folder_that_was_deleted_is_made(
    engine: Engine, tmp_path: Path, before: str
) -> None:
    gone = "RUN cd / && rm -rf /gone /app/sub"
    command = 'CMD ["sh", "-c", "pwd && stat -c %a ."]'
    image = build(engine, tmp_path, f"RUN {before}", "WORKDIR /app/sub", gone, command)
    finished = engine.run_command(image, [])
    where = "/app/sub" if before == "true" else "/gone/x/sub"
    assert (finished.exit_code, finished.output.split()) == (0, [where, "755"])


def test_a_working_folder_that_is_none_is_said(engine: Engine, tmp_path: Path) -> None:
    if engine.name == "docker":
        pytest.skip("Docker refuses to make the container")
    image = build(engine, tmp_path, "WORKDIR /app", "RUN cd / && rm -r /app && touch /app")
    finished = engine.run_command(image, ["pwd"])
    assert (finished.exit_code, "mkdir /app: not a directory" in finished.output) == (127, True)


def test_what_runs_on_in_the_background_does_not_answer(engine: Engine, tmp_path: Path) -> None:
    server = 'CMD ["sh", "-c", "echo hello > /tmp/index.html; httpd -p 8080 -h /tmp; echo left"]'
    image = build(engine, tmp_path, "RUN mkdir -p /tmp", server)
    with engine.run(image, 8080) as container:
        # Asked for at once it may well answer: the shell has not ended yet.
        wait_for(lambda: end_of(container) is not None, SOON)
        assert "left" in container.logs()
        assert not ask(container.address, "/", 1).status


def test_a_missing_program_has_the_same_hint(engine: Engine, tmp_path: Path) -> None:
    image = build(
        engine, tmp_path, r"RUN printf '#!/bin/no\n' > /p && chmod 755 /p", *COPIED,
        'CMD ["/server"]',
    )  # fmt: skip
    assert "CGO_ENABLED=0" in start_hint(refused(engine, image))
