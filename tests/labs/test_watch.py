"""Watch mode on real engines: real saves in, each feedback out, cancelled and begun again."""

from __future__ import annotations

import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from multistage.engines import choose
from multistage.labs import ROOT, LabFolder
from multistage.watch.feedback import (
    Building,
    Built,
    Cancelled,
    Checked,
    Compared,
    Failed,
    Feedback,
    Graph,
    Model,
    Save,
    Waiting,
)
from multistage.watch.loop import Watch
from multistage.watch.rounds import Rounds
from multistage.watch.saves import saves
from tests.engines.test_interrupt import running, wait_for
from tests.labs.conftest import LABS
from tests.notebooks.course import copy_course, environment
from tests.unit.test_saves import emptied_first, in_place, renamed_over

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
SOLUTION = (ROOT / "solutions/go-scratch/scratch/Dockerfile").read_text("utf-8")
SECONDS = 240  # the first build, of which nothing is cached
WHOLE_ROUND = [Save, Model, Graph, Building, Built, Checked, Compared, Waiting]


class Session:
    """A watch of a lab, by somebody who saves and looks."""

    def __init__(self, lab: LabFolder, engine: str) -> None:
        self.lab = lab
        self._said: queue.Queue[Feedback] = queue.Queue()
        rounds = Rounds(lab, choose(engine))
        self.watch = Watch(partial(saves, lab), rounds.round, self._said.put).start()

    def until(self, kind: type[Feedback]) -> list[Feedback]:
        """Return what is said up to the next feedback of a kind."""
        said = [self._said.get(timeout=SECONDS)]
        while not isinstance(said[-1], kind):
            said.append(self._said.get(timeout=SECONDS))
        return said


def copied(tmp_path: Path) -> LabFolder:
    """Return a lab of the learner's own, its solution in place."""
    folder = tmp_path / "go-scratch"
    shutil.copytree(LABS["go-scratch"].folder, folder)
    lab = replace(LABS["go-scratch"], folder=folder)
    lab.dockerfile.write_text(SOLUTION, "utf-8")
    return lab


@pytest.fixture(params=["docker", "daemonless"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    """Return a watch on each engine, its first round over."""
    session = Session(copied(tmp_path), request.param)
    session.until(Waiting)
    yield session
    session.watch.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith(("watch", "round", "stage"))]
    assert not running(str(tmp_path))


def kinds(feedback: list[Feedback]) -> list[type[Feedback]]:
    return [type(one) for one in feedback]


def only(feedback: list[Feedback], kind: type[Checked]) -> Checked:
    [found] = [one for one in feedback if isinstance(one, kind)]
    return found


def changed(number: int) -> str:
    return SOLUTION.replace("EXPOSE", f"ENV CHANGE={number}\nEXPOSE")


def test_each_way_of_saving_brings_a_whole_round(session: Session) -> None:
    ways: tuple[Callable[[Path, str], None], ...] = (in_place, renamed_over, emptied_first)
    for number, save in enumerate(ways):
        save(session.lab.dockerfile, changed(number))
        said = session.until(Waiting)
        assert kinds(said) == WHOLE_ROUND
        assert only(said, Checked).report.passed


def test_a_save_while_it_builds_cancels_and_the_next_build_is_whole(session: Session) -> None:
    in_place(session.lab.dockerfile, SOLUTION.replace("RUN ", "RUN sleep 73456; "))
    session.until(Building)
    wait_for(lambda: bool(running("sleep 73456")))
    in_place(session.lab.dockerfile, changed(10))
    said = session.until(Waiting)
    assert kinds(said) == [Cancelled, *WHOLE_ROUND]
    assert only(said, Checked).report.passed
    wait_for(lambda: not running("sleep 73456"))


def test_a_stop_in_the_middle_of_a_build_leaves_nothing_running(session: Session) -> None:
    in_place(session.lab.dockerfile, SOLUTION.replace("RUN ", "RUN sleep 73457; "))
    session.until(Building)
    wait_for(lambda: bool(running("sleep 73457")))
    began = time.monotonic()
    session.watch.stop()
    assert time.monotonic() - began < 10
    wait_for(lambda: not running("sleep 73457"))


def test_wrong_then_right(session: Session) -> None:
    in_place(session.lab.dockerfile, "FORM golang:1.27\n")
    said = session.until(Waiting)
    assert kinds(said) == [Save, Model, Waiting]
    assert isinstance(said[1], Model)
    assert said[1].faults[0].line == 1
    in_place(session.lab.dockerfile, SOLUTION.replace("/app/server /server", "/app/sever /server"))
    said = session.until(Waiting)
    assert kinds(said)[-2:] == [Failed, Waiting]
    in_place(session.lab.dockerfile, changed(20))
    assert only(session.until(Waiting), Checked).report.passed


def test_a_file_of_the_app_brings_a_round_and_a_new_before(session: Session) -> None:
    page = session.lab.app / "page.html"
    text = page.read_text("utf-8")
    page.write_text(text.replace("</body>", f"<!-- {'x' * 300_000} --></body>"), "utf-8")
    said = session.until(Waiting)
    assert said[0] == Save(("page.html",), context_changed=True)
    assert kinds(said) == WHOLE_ROUND


@pytest.mark.parametrize("engine", ["docker", "daemonless"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_command_ends_cleanly_in_the_middle_of_a_build(
    tmp_path: Path, engine: str, number: signal.Signals, code: int
) -> None:
    course = copy_course(tmp_path / "course", solved=True)
    mark = f"7346{number}"
    slow = SOLUTION.replace("RUN ", f"RUN sleep {mark}; ")
    (course / "labs/go-scratch/app/Dockerfile").write_text(slow, "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "multistage", "watch", "go-scratch", "--engine", engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=course,
        env=environment(course),
    )
    wait_for(lambda: bool(running(f"sleep {mark}")))
    process.send_signal(number)
    said, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (code, "")
    assert "Nothing is left running." in said
    wait_for(lambda: not running(f"sleep {mark}") and not running(str(tmp_path)))
