"""What a lab and a build say of names that are none: of files, of stages, of base images."""

from __future__ import annotations

from pathlib import Path

import pytest

from multistage import Lab
from multistage.builds import build
from multistage.dockerfile import parse
from multistage.errors import LearnerError, UsageError
from multistage.notebooks import stage_lines
from tests.unit.made import MadeEngine


class Offline(MadeEngine):
    """An engine that has no image, where no registry can be reached."""

    def labels(self, image: str) -> dict[str, str] | None:
        return None

    def registry_has(self, reference: str) -> bool | None:
        return None


def test_a_base_image_that_is_nowhere_is_answered_with_those_that_work(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM zzqqx\n", "utf-8")
    with pytest.raises(LearnerError) as raised:
        build(Offline(), tmp_path, tag="x")
    assert "Without a registry these bases work: scratch, alpine:latest, " in raised.value.mend


@pytest.mark.parametrize("folder", ["solutions/react", "solutions", "\0"])
def test_another_dockerfile_that_is_not_there_costs_the_learner_none(folder: str) -> None:
    with pytest.raises(UsageError) as raised:
        Lab("react-nginx").dockerfile(folder)
    assert raised.value.mend == "Check the path, as in solutions/react-nginx/nginx"


def test_the_stages_in_words_tell_an_image_from_a_stage() -> None:
    text = "FROM a:1\nFROM b:1\nCOPY --from=0 /x /x\nCOPY --from=builder /y /y\n"
    assert stage_lines(parse(text))[-2:] == [
        "    takes /x from stage 0 to /x (line 3)",
        "    takes /y from builder (no stage of that name: an image) to /y (line 4)",
    ]
