"""What a notebook calls always speaks of the learner's Dockerfile as it is now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from multistage import labs
from multistage.errors import LearnerError, UsageError
from multistage.notebooks import Lab
from tests.notebooks.course import copy_course

pytestmark = pytest.mark.docker


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a lab of a copy of the course, its solution in place."""
    course = copy_course(tmp_path / "course", solved=True)
    monkeypatch.setattr(labs, "ROOT", course)
    lab = Lab("react-nginx")
    lab.folder = labs.find_lab("react-nginx", course)
    return lab


def test_a_check_builds_what_was_edited_since(lab: Lab) -> None:
    assert "✗" not in str(lab.check())
    shutil.copyfile(lab.folder.before_dockerfile, lab.folder.dockerfile)
    assert "It has one stage, and that ships" in str(lab.check())
    lab.folder.dockerfile.write_text("COPPY\n", "utf-8")
    said = str(lab.check())
    assert "✗ The Dockerfile builds" in said
    assert "COPPY" in said


def test_a_check_is_of_the_learners_file_after_another_was_tried(lab: Lab) -> None:
    lab.reset()
    lab.try_dockerfile("solutions/react-nginx/nginx")
    assert "It has one stage, and that ships" in str(lab.check())


def test_a_target_does_not_take_the_after_images_place(lab: Lab) -> None:
    after = lab.build()
    assert lab.build(target="builder").unpacked_size > 10 * after.unpacked_size
    assert "exit code 127" in str(lab.run("node", "--version"))


def test_copying_all_of_the_app_is_found_out(lab: Lab) -> None:
    text = lab.folder.dockerfile.read_text("utf-8").replace("/app/dist", "/app")
    lab.folder.dockerfile.write_text(text, "utf-8")
    said = str(lab.check())
    assert "✗ The image is without node_modules" in said
    assert "✗ The page is served" in said


@pytest.mark.parametrize("guess", ["50", -3, float("inf"), float("nan"), 10**400])
def test_a_guess_is_a_number_of_megabytes(lab: Lab, guess: float) -> None:
    with pytest.raises(UsageError, match="number of megabytes"):
        lab.predict(guess)


def test_what_is_not_there_is_said_without_a_traceback(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no file"):
        lab.dockerfile("no/such/folder")
    with pytest.raises(UsageError, match="No command"):
        lab.run()
    lab.folder.dockerfile.unlink()
    with pytest.raises(UsageError, match="no file"):
        lab.build()
