"""The hints for a container that does not start: right for the learner's own file and image."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from multistage.checks.not_started import start_hints
from multistage.dockerfile import parse
from multistage.errors import LearnerError
from multistage.images import ImageArchive, read_archive
from multistage.labs import LabFolder, read_lab
from tests.unit.made import made_archive, write_lab

DENIED = 'nginx: [emerg] mkdir() "/var/cache" failed (13: Permission denied)'
GONE = 'exec: "server": executable file not found in $PATH: unknown'
APP = "/app/server"
NO_FILE = 'exec: "{0}": stat {0}: no such file or directory: unknown'


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    made = read_lab(write_lab(tmp_path, "page") / "lab.toml")
    return replace(made, nonroot_hints=("nudge", "idea", "line"), start_line="Remove it.")


def image(*paths: str, user: object = "", **config: object) -> ImageArchive:
    content = {"config": {"User": user, **config}}
    data = made_archive(dict.fromkeys(paths, b"x"), content)
    return read_archive(io.BytesIO(data), "made", keep_files=True, keep_digests=True)


def hints(
    lab: LabFolder, command: str, said: str, *paths: str, log: str = "", **config: object
) -> tuple[str, ...]:
    model = parse(f"FROM a:1\n{command}\n")
    error = LearnerError(said, said=log)
    return start_hints(lab, model, image(*paths, **config), error)


def test_a_user_without_rights_gets_the_labs_hints_for_one(lab: LabFolder) -> None:
    ended = "The container ended with exit code 1"
    said = hints(lab, "USER web", ended, log=f"starting\n{DENIED}\nbye", user="web")
    assert said[0].startswith("The program runs as web,")
    assert said[1:] == ("idea", "line")


@pytest.mark.parametrize(
    ("log", "user"),
    [(DENIED, ""), ("it broke", "web"), ('exec: "/x": permission denied', "web"), ("", "web")],
)
def test_rights_are_not_blamed_where_no_user_lacks_one(lab: LabFolder, log: str, user: str) -> None:
    assert "idea" not in hints(lab, "USER web", "It ended", log=log, user=user)


def test_a_lab_without_hints_for_a_user_gives_the_usual_ones(lab: LabFolder) -> None:
    plain = replace(lab, nonroot_hints=())
    assert hints(plain, "USER web", "It ended", log=DENIED, user="web")[0].startswith("Read what")


@pytest.mark.parametrize(
    "command",
    [
        "CMD nginx -g daemon off;",
        'CMD ["nginx", "-g", "daemon", "off;"]',
        "CMD nginx -g daemon off",
    ],
)
def test_daemon_off_in_two_words_is_told_to_be_one(lab: LabFolder, command: str) -> None:
    said = hints(lab, command, 'It ended with exit code 1: nginx: invalid option: "off;"')
    assert said[-1] == 'Line 2: CMD ["nginx", "-g", "daemon off;"]'
    assert "brackets" in said[1]


@pytest.mark.parametrize(
    ("command", "said", "there", "line"),
    [
        ('ENTRYPOINT ["server"]', GONE, "app/server", 'ENTRYPOINT ["/app/server"]'),
        (
            'ENTRYPOINT ["/app/server"]',
            NO_FILE.format(APP),
            "server",
            'ENTRYPOINT ["/server"]',
        ),
        (
            'CMD ["/s", "-v"]',
            NO_FILE.format("/s"),
            "x/s",
            'CMD ["/x/s", "-v"]',
        ),
        ('CMD ["x"]\nENTRYPOINT ["server"]', GONE, "app/server", 'ENTRYPOINT ["/app/server"]'),
    ],
)  # fmt: skip
def test_a_program_that_is_elsewhere_in_the_image_is_found(
    lab: LabFolder, command: str, said: str, there: str, line: str
) -> None:
    found = hints(lab, command, said, "etc/passwd", there)
    assert f"/{there} is there" in found[1]
    assert found[2] == f"Line {2 + command.count(chr(10))}: {line}"


def test_a_word_is_looked_up_in_the_path_that_the_image_names(lab: LabFolder) -> None:
    said = [
        hints(lab, 'CMD ["server"]', GONE, "app/server", Env=[f"PATH={path}"])
        for path in ("/bin", "/bin:/app")
    ]
    assert "/app/server is there" in said[0][1]
    assert "is there" not in said[1][1]


@pytest.mark.parametrize(
    ("command", "said", "there"),
    [
        ('ENTRYPOINT ["/server"]', "exec /server: no such file or directory", "server"),
        ('ENTRYPOINT ["/bin/x"]', NO_FILE.format("/bin/x"), "usr/bin/x"),
        ('ENTRYPOINT ["x"]', "exec x: no such file or directory", "usr/local/bin/x"),
        ('ENTRYPOINT ["./x"]', "exec ./x: no such file or directory", "x"),
        ('ENTRYPOINT ["/server"]', "panic: /data: no such file or directory", "app/server"),
        ("CMD a && b", "sh: b: not found", "app/b"),
    ],
)
def test_a_program_that_is_where_it_is_looked_for_is_not_said_to_be_elsewhere(
    lab: LabFolder, command: str, said: str, there: str
) -> None:
    assert "where is it looked for" not in hints(lab, command, said, there)[0]


def test_the_first_hint_asks_about_what_was_said(lab: LabFolder) -> None:
    command, loader = 'ENTRYPOINT ["/server"]', "exec /server: no such file or directory"
    assert hints(lab, command, loader, "server")[0] == (
        "The file may well be there. What else does a program need to start?"
    )
    said = "panic: /data: no such file or directory"
    assert hints(lab, command, said, "server")[0] == "Read what the container or the engine said."


def test_the_labs_line_is_left_out_where_the_file_has_it_already(lab: LabFolder) -> None:
    command = 'CMD ["nginx", "-g", "daemon off;"]'
    said = 'exec: "nginx": executable file not found in $PATH'
    assert len(hints(replace(lab, start_line=f"Remove it, or write {command}"), command, said)) == 2


def test_a_program_that_is_nowhere_in_the_image_gets_the_labs_line(lab: LabFolder) -> None:
    said = "The container ended with exit code 127: /docker-entrypoint.sh: exec: line 7: "
    found = hints(lab, 'CMD ["npm", "start"]', f"{said}npm: not found", "usr/sbin/nginx")
    assert found[1].startswith("The final image has no npm: ")
    assert found[2] == "Line 2: Remove it."
    bare = hints(replace(lab, start_line=""), 'CMD ["npm"]', f"{said}npm: not found")
    assert len(bare) == 2


def test_an_end_without_a_failure_is_said_to_be_one(lab: LabFolder) -> None:
    said = hints(lab, 'CMD ["nginx"]', "The container ended with exit code 0: [notice] 1#1: x")
    assert said[0].startswith("Nothing failed: ")
    assert said[-1] == 'Line 2: CMD ["nginx", "-g", "daemon off;"]'
    assert len(hints(lab, 'CMD ["/x"]', "The container ended with exit code 0: x")) == 2


@pytest.mark.parametrize(
    ("build", "line"),
    [
        ("RUN go build -o /s", "Line 2: RUN CGO_ENABLED=0 go build -o /s"),
        ("RUN CGO_ENABLED=0\nRUN GOOS=linux go build",
         "Line 3, for each RUN is a new shell, and line 2 ends with its own: "
         "RUN GOOS=linux CGO_ENABLED=0 go build"),
        ("RUN export CGO_ENABLED=0\nRUN go test && go build",
         "Line 3, for each RUN is a new shell, and line 2 ends with its own: "
         "RUN go test && CGO_ENABLED=0 go build"),
        ("RUN --mount=type=cache,target=/c \\\n  go build", "Line 2: "
         "RUN --mount=type=cache,target=/c   CGO_ENABLED=0 go build"),
        ("RUN CGO_ENABLED=0 go build", ""),
        ("RUN make", ""),
    ],
)  # fmt: skip
def test_the_build_that_needs_a_c_library_gets_its_line(
    lab: LabFolder, build: str, line: str
) -> None:
    said = "The container ended: exec /s: no such file or directory"
    found = hints(lab, f'{build}\nENTRYPOINT ["/s"]', said, "s")
    assert "CGO_ENABLED=0" in found[1]
    assert found[2:] == ((line,) if line else ())
