"""Builds on real engines: what is measured, what is told meanwhile, what an error says."""

from __future__ import annotations

import io
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import docker
import pytest

from multistage.builds import build, read_image
from multistage.dockerfile import parse
from multistage.engines import BuildRequest
from multistage.engines.docker import DockerEngine, buildx, classic
from multistage.engines.events import Event, Report, StepFinished, StepLog, StepStarted
from multistage.errors import LearnerError, MachineError
from multistage.images import final_files, is_made_by, read_archive
from tests.engines.conftest import BASE

TAG = "multistage/test:engines"
ARTIFACT = 1_000_000
THREE_STAGES = f"""\
FROM {BASE} AS builder
RUN echo building && head -c {ARTIFACT} /dev/zero > /artifact
FROM {BASE} AS unused
RUN echo never
FROM scratch
COPY --from=builder /artifact /app/artifact
CMD ["/app/artifact"]
"""

pytestmark = pytest.mark.docker


def write(context: Path, text: str) -> Path:
    (context / "Dockerfile").write_text(text, "utf-8")
    return context


def test_the_final_image_holds_the_artifact_and_nothing_else(
    engine: DockerEngine, context: Path
) -> None:
    built = build(engine, write(context, THREE_STAGES), tag=TAG)
    assert built.unpacked_size == ARTIFACT
    assert [layer.kind for layer in built.layers] == ["app"]
    assert built.layers[0].line == 6
    assert 0 < built.compressed_size < ARTIFACT


_OF_THE_ENGINE = {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}


def test_the_final_files_are_those_that_a_container_has(
    engine: DockerEngine, client: docker.DockerClient, context: Path
) -> None:
    """What a later layer puts in another's place, links and folders, is where readers go wrong."""
    write(
        context,
        f"FROM {BASE}\n"
        "RUN mkdir -p /d/e /g /k && echo 1 > /d/f && echo 22 > /d/e/f && echo 1 > /g/h && "
        "echo 1 > /i && ln -s /d /j && echo 1 > /k/l && echo 1 > /keep\n"
        "RUN rm -rf /d && ln -s /tmp /d\n"
        "RUN rm -rf /g && echo file > /g && rm /i /j && mkdir -p /i/n /j && echo 1 > /i/n/m && "
        "echo 1 > /j/m && rm -rf /k && mkdir /k && echo 1 > /k/new\n",
    )
    built = build(engine, context, tag=TAG)
    container = client.containers.create(built.image_id)
    try:
        exported: Any = container.export()  # bytes, whatever its type stub says
        stream = io.BytesIO(b"".join(exported))
    finally:
        container.remove()
    with tarfile.open(fileobj=stream) as archive:
        there = {m.name for m in archive if not (m.isdir() or m.name.startswith("dev/"))}
    measured = final_files(read_image(engine, built.image_id, keep_files=True))
    assert {"d", "g", "i/n/m", "j/m", "k/new", "keep"} <= there
    assert set(measured) - _OF_THE_ENGINE == there - _OF_THE_ENGINE


def test_only_stages_that_the_target_needs_are_built(engine: DockerEngine, context: Path) -> None:
    built = build(engine, write(context, THREE_STAGES), tag=TAG, no_cache=True)
    assert {stage.name: stage.built for stage in built.stages} == {
        "builder": True,
        "unused": False,
        "2": True,
    }
    assert built.stages[0].seconds > 0


def test_a_target_stops_the_build_at_its_stage(engine: DockerEngine, context: Path) -> None:
    built = build(engine, write(context, THREE_STAGES), tag=TAG, target="BUILDER")
    assert [layer.stage for layer in built.layers][-1] == "builder"
    assert built.layers[-1].unpacked_size == ARTIFACT
    assert built.layers[0].kind == "base"


def test_a_step_from_the_cache_says_so(engine: DockerEngine, context: Path) -> None:
    write(context, THREE_STAGES)
    first = build(engine, context, tag=TAG, no_cache=True)
    second = build(engine, context, tag=TAG)
    assert [layer.cached for layer in first.layers] == [False]
    assert [layer.cached for layer in second.layers] == [True]


def test_steps_are_told_in_order_with_their_stage_number_and_output(
    engine: DockerEngine, context: Path
) -> None:
    events: list[Event] = []
    request = BuildRequest(write(context, THREE_STAGES), context / "Dockerfile", TAG, no_cache=True)
    engine.build(request, events.append)
    mine = [event for event in events if event.step.stage == "builder" and event.step.number == 2]
    assert [type(event) for event in mine if not isinstance(event, StepLog)] == [
        StepStarted,
        StepFinished,
    ]
    assert mine[0].step.total == 2
    assert mine[0].step.name.startswith("[builder 2/2] RUN echo building")
    assert any(isinstance(event, StepLog) and "building" in event.text for event in mine)


def test_a_failing_command_is_named_with_its_line_and_output(
    engine: DockerEngine, context: Path
) -> None:
    write(context, f"FROM {BASE}\n\nRUN echo the reason && false\n")
    with pytest.raises(LearnerError) as caught:
        build(engine, context, tag=TAG)
    assert caught.value.where == f"{context / 'Dockerfile'}:3"
    assert "the reason" in str(caught.value)


def test_a_secret_is_there_while_building_and_in_no_layer(
    engine: DockerEngine, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret-of-the-test", "utf-8")
    write(
        context,
        f"FROM {BASE}\n"
        "RUN --mount=type=secret,id=token grep -c s3cret /run/secrets/token > /seen\n",
    )
    secret = f"id=token,src={tmp_path / 'token'}"
    build(engine, context, tag=TAG, secrets=(secret,), no_cache=True)
    with engine.save(TAG) as stream:
        files = read_archive(stream, TAG, keep_files=True).layers[-1].files
        assert {file.path: file.size for file in files if file.path == "seen"} == {"seen": 2}
    with engine.save(TAG) as stream:
        assert all(b"s3cret-of" not in block for block in iter(lambda: stream.read(1 << 20), b""))


def test_without_buildx_the_classic_builder_builds_and_says_what_it_costs(
    engine: DockerEngine, context: Path
) -> None:
    engine._buildx = False
    events: list[Event] = []
    write(context, THREE_STAGES)
    built = build(engine, context, tag=TAG, no_cache=True, report=events.append)
    assert built.unpacked_size == ARTIFACT
    assert engine.notice == classic.COST
    assert "never" in "".join(event.text for event in events if isinstance(event, StepLog))


def test_the_classic_builder_names_the_failing_step(engine: DockerEngine, context: Path) -> None:
    engine._buildx = False
    with pytest.raises(LearnerError, match="RUN false") as caught:
        build(engine, write(context, f"FROM {BASE}\n\nRUN false\n"), tag=TAG)
    assert caught.value.where == f"{context / 'Dockerfile'}:3"


def test_the_image_is_the_same_one_that_the_engine_lists(
    engine: DockerEngine, client: docker.DockerClient, context: Path
) -> None:
    request = BuildRequest(write(context, THREE_STAGES), context / "Dockerfile", TAG)
    assert engine.build(request) == client.images.get(TAG).id


def test_no_build_is_taken_for_another_that_took_its_name(
    engine: DockerEngine, context: Path
) -> None:
    first = build(engine, write(context, THREE_STAGES), tag=TAG)
    build(engine, write(context, f"FROM {BASE}\n"), tag=TAG)
    if "containerd" in engine.describe():
        with pytest.raises(MachineError, match="image is gone"):
            read_image(engine, first.image_id)
    else:
        assert read_image(engine, first.image_id).unpacked_size == ARTIFACT


def test_two_builds_of_one_name_at_once_each_return_their_own_image(
    engine: DockerEngine,
    client: docker.DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both_built, buildx_build = Barrier(2, timeout=120), buildx.build

    def wait_for_the_other(request: BuildRequest, report: Report) -> list[str]:
        built = buildx_build(request, report)
        both_built.wait()  # now one of the two has the name
        return built

    def build_one(name: str) -> str:
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"FROM {BASE}\nLABEL which={name}\n")
        request = BuildRequest(tmp_path / name, tmp_path / name / "Dockerfile", TAG, no_cache=True)
        return engine.build(request)

    monkeypatch.setattr(buildx, "build", wait_for_the_other)
    with ThreadPoolExecutor(2) as threads:
        images = dict(zip("ab", threads.map(build_one, "ab"), strict=True))
    assert images["a"] != images["b"]
    for name, image in images.items():
        labels = engine.labels(image)
        # The containerd store drops an image when another takes its name.
        assert labels is None or labels["which"] == name
    assert client.images.get(TAG).id in images.values()


def test_an_image_of_ones_own_can_be_a_base(engine: DockerEngine, context: Path) -> None:
    mine = "multistage/test-base:mine"
    build(engine, write(context, f"FROM {BASE}\nRUN echo mine > /mine\n"), tag=mine)
    built = build(engine, write(context, f"FROM {mine}\nRUN test -e /mine\n"), tag=TAG)
    assert mine not in built.stand_ins


def test_the_classic_builders_layers_are_known_behind_an_arg(
    engine: DockerEngine, context: Path
) -> None:
    engine._buildx = False
    text = f'FROM {BASE}\nARG A=b\nRUN echo "$A" > /x\nRUN ["/bin/sh", "-c", "echo > /y"]\n'
    built = build(engine, write(context, text), tag=TAG, no_cache=True)
    assert [layer.line for layer in built.layers][-2:] == [3, 4]


def test_layers_of_every_builder_are_known_by_their_text(
    engine: DockerEngine, context: Path
) -> None:
    for name in "ab":
        (context / name).write_text(name, "utf-8")
    text = (
        f"FROM {BASE}\nARG TO=/to\nENV FROM=a\nWORKDIR /w//x/\nCOPY a b $TO/\n"
        'COPY --chown=1:1 $FROM /y\nADD b z\nRUN echo "$TO"  > /x && \\\n    echo b\n'
        'RUN ["/bin/sh", "-c", "echo > /y"]\nSHELL ["/bin/sh", "-ec"]\nRUN echo > /z\nUSER 1\n'
    )
    model = parse(text)
    for engine._buildx in (True, False):
        built = build(engine, write(context, text), tag=TAG, no_cache=True)
        image = read_image(engine, built.image_id)
        assert is_made_by(image, model), image.config["history"]
        assert [n.line for n in built.layers if n.line][-6:] == [5, 6, 7, 8, 10, 12]
        assert not is_made_by(image, parse(text.replace("> /z", "> /a")))


def test_a_run_on_scratch_says_where_it_belongs(engine: DockerEngine, context: Path) -> None:
    write(context, f"FROM {BASE} AS build\nFROM scratch\nCOPY --from=build /etc /etc\nRUN ls\n")
    with pytest.raises(LearnerError) as caught:
        build(engine, context, tag=TAG)
    assert caught.value.where.endswith("Dockerfile:4")
    assert "no shell" in caught.value.mend


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"FROM {BASE}\nFROM scratch\nCOPY --from=builder / /\n", "no stage called builder"),
        ("FROM Upper\n", "cannot be the name"),
        ("FROM scrach\n", "Did you mean scratch"),
        ("FROM scratch:latest\nCOPY . /\n", "without a tag"),
        (f"FROM {BASE} AS b\nFROM scratch\nCOPY --from=b /no/such /x\n", "/no/such was not found"),
        (f"FROM {BASE}\nCOPY /no/such /x\n", "COPY --from=<stage>"),
    ],
)
def test_a_slip_is_named_with_its_line(
    engine: DockerEngine, context: Path, text: str, said: str
) -> None:
    with pytest.raises(LearnerError) as caught:
        build(engine, write(context, text), tag=TAG)
    assert said in str(caught.value)
    assert re.search(r"Dockerfile:\d$", caught.value.where)
