"""BuildKit's rawjson progress, recorded from buildx 0.13.1 on Engine 26.1, read as events."""

import json
from pathlib import Path

import pytest

from multistage.engines import BuildRequest
from multistage.engines.docker.buildx import build_error, command
from multistage.engines.docker.rawjson import ProgressReader, step_from_name
from multistage.engines.events import BuildLog, Step, StepFinished, StepLog, StepStarted
from multistage.errors import LearnerError, MachineError

RECORDED = Path(__file__).parent / "progress"


def read(name: str) -> tuple[list[object], ProgressReader, BuildLog]:
    reader, log = ProgressReader(), BuildLog()
    with (RECORDED / f"{name}.rawjson").open(encoding="utf-8") as lines:
        events = list(reader.read(lines))
    for event in events:
        log.add(event)
    return list(events), reader, log


def request(**changes: object) -> BuildRequest:
    return BuildRequest(Path("context"), Path("context/Dockerfile"), "tag", **changes)  # type: ignore[arg-type]


def test_every_step_of_a_needed_stage_starts_and_ends_once() -> None:
    events, _, _ = read("multi-stage")
    started = [e.step.name for e in events if isinstance(e, StepStarted) and e.step.number]
    finished = [e.step.name for e in events if isinstance(e, StepFinished) and e.step.number]
    assert sorted(started) == sorted(finished)
    assert "[builder 3/3] RUN echo compiled > artifact" in started
    assert len(set(started)) == len(started)


def test_a_stage_nobody_needs_has_no_steps() -> None:
    events, _, _ = read("multi-stage")
    assert not [e for e in events if "tools" in e.step.name]  # type: ignore[attr-defined]


def test_what_a_step_writes_comes_as_its_log() -> None:
    events, _, _ = read("failing-run")
    logs = [e for e in events if isinstance(e, StepLog)]
    assert [(e.step.name, e.text) for e in logs] == [
        ("[2/2] RUN echo before-the-end; exit 3", "before-the-end\n")
    ]


def test_cached_steps_are_marked() -> None:
    _, _, log = read("cached")
    assert log.cached("builder", 3)
    _, _, log = read("multi-stage")
    assert not log.cached("builder", 3)


def test_a_stage_takes_as_long_as_from_its_first_start_to_its_last_end() -> None:
    _, _, log = read("multi-stage")
    assert 0 < log.stage_seconds("builder") < 60
    assert log.stage_seconds("no such stage") == 0


def test_a_failing_run_names_line_output_and_exit_code() -> None:
    _, reader, log = read("failing-run")
    error = build_error(request(), reader.text, log)
    assert isinstance(error, LearnerError)
    assert error.where == str(Path("context/Dockerfile")) + ":2"
    assert "exit code: 3" in error.what
    assert "before-the-end" in error.what


def test_a_failure_is_kept_of_a_step_that_seemed_to_have_ended_before_it_began() -> None:
    # The first step of a stage FROM scratch, while another stage builds.
    _, reader, log = read("no-shell")
    failed = log.failed()
    assert failed is not None
    assert failed.step.name == "[stage-1 1/2] RUN apk add ca-certificates tzdata"
    assert 0.1 < failed.seconds < 1
    error = build_error(request(), reader.text, log)
    assert "[stage-1 1/2]" in error.what
    assert 'exec: "/bin/sh": stat /bin/sh: no such file or directory' in error.what
    assert error.where.endswith("Dockerfile:7")


def test_a_missing_copy_source_names_the_path_and_line() -> None:
    _, reader, log = read("missing-source")
    error = build_error(request(), reader.text, log)
    assert error.where.endswith("Dockerfile:2")
    assert "/nofile" in error.what
    assert "build context" in error.mend


def test_a_full_disk_is_the_machines_fault() -> None:
    text = ["ERROR: failed to solve: write /x: no space left on device"]
    assert isinstance(build_error(request(), text, BuildLog()), MachineError)


def test_a_step_that_another_ones_failure_ended_is_not_the_one_that_failed() -> None:
    log = BuildLog()
    errors = {"1": "Head https://x: context canceled: context canceled", "2": "exit code: 1"}
    for identifier, error in errors.items():
        log.add(StepFinished(Step(identifier, identifier), 0.0, 0.0, error=error))
    failed = log.failed()
    assert failed is not None
    assert failed.error == "exit code: 1"


def test_compact_and_indented_json_read_the_same() -> None:
    vertex = {
        "digest": "sha256:1",
        "name": "[2/2] RUN true",
        "started": "2026-01-02T03:04:05.123456789Z",
        "completed": "2026-01-02T03:04:06.623456789Z",
    }
    document = {"vertexes": [vertex]}
    compact = list(ProgressReader().read([json.dumps(document) + "\n"]))
    indented = list(ProgressReader().read(json.dumps(document, indent=2).splitlines(keepends=True)))
    assert compact == indented
    finished = compact[-1]
    assert isinstance(finished, StepFinished)
    assert finished.seconds == pytest.approx(1.5)


def test_text_that_is_not_json_is_kept() -> None:
    reader = ProgressReader()
    assert list(reader.read(["WARNING: something\n", "{broken}\n"])) == []
    assert reader.text == ["WARNING: something", "{broken}"]


@pytest.mark.parametrize(
    ("name", "stage", "number", "total"),
    [
        ("[builder  4/12] RUN npm ci", "builder", 4, 12),
        ("[ 2/10] RUN true", None, 2, 10),
        ("[stage-1 2/2] COPY --from=builder / /", "stage-1", 2, 2),
        ("[internal] load build context", None, None, None),
        ("exporting to image", None, None, None),
    ],
)
def test_step_names_tell_stage_number_and_total(
    name: str, stage: str | None, number: int | None, total: int | None
) -> None:
    step = step_from_name("id", name)
    assert (step.stage, step.number, step.total) == (stage, number, total)


def test_the_command_line_carries_target_secrets_and_arguments() -> None:
    words = command(
        request(target="builder", secrets=("id=a,src=b",), build_args={"X": "1"}, no_cache=True),
        Path("built"),
    )
    assert words[:3] == ["docker", "buildx", "build"]
    # Whole paths: with a dash at their beginning they would be options.
    assert words[-1] == str(Path("context").absolute())
    assert words[words.index("--file") + 1] == str(Path("context/Dockerfile").absolute())
    for pair in (["--target", "builder"], ["--secret", "id=a,src=b"], ["--build-arg", "X=1"]):
        place = words.index(pair[0])
        assert words[place : place + 2] == pair
    assert "--no-cache" in words
