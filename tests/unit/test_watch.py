"""Watch mode's rounds and their loop: what comes in which order, and what a save cancels."""

from __future__ import annotations

import _thread
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from multistage.checks import CheckReport, CheckResult
from multistage.engines import BuildRequest, Cancellation, Report, ignore
from multistage.errors import CourseError, LearnerError, NotPossibleHereError
from multistage.labs import LabFolder, read_lab
from multistage.watch import rounds as rounds_module
from multistage.watch import terminal
from multistage.watch.feedback import (
    Building,
    Built,
    Cancelled,
    Checked,
    Compared,
    Failed,
    Feedback,
    Graph,
    Lint,
    Model,
    Remark,
    Save,
    Waiting,
)
from multistage.watch.loop import Watch
from multistage.watch.rounds import Rounds
from tests.unit.made import TWO_STAGES, MadeEngine, made_build, write_lab

SECONDS = 20
WHOLE_ROUND = [Save, Model, Graph, Lint, Building, Built, Checked, Compared, Waiting]


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    """Return a lab that its learner has converted."""
    lab = read_lab(write_lab(tmp_path, "made") / "lab.toml")
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    return lab


@dataclass
class Engine(MadeEngine):
    """An engine that builds and runs nothing: what a container answers is not a round's matter."""

    fails: CourseError | None = field(
        default_factory=lambda: NotPossibleHereError("Nothing runs here.")
    )


def made_linter(_lab: LabFolder, _cancelled: Cancellation) -> Lint:
    return Lint("made", (Remark(2, "M1", "info", "Made up"),))


def one_round(
    lab: LabFolder, engine: Engine, save: Save | None = None, rounds: Rounds | None = None
) -> list[Feedback]:
    rounds = rounds or Rounds(lab, engine, [made_linter])
    return list(rounds.round(save or Save(), Cancellation()))


def kinds(feedback: list[Feedback]) -> list[type[Feedback]]:
    return [type(one) for one in feedback]


def test_a_round_says_everything_in_order(lab: LabFolder) -> None:
    assert kinds(one_round(lab, Engine())) == WHOLE_ROUND


def test_what_is_said_first_does_not_wait_for_the_build(lab: LabFolder) -> None:
    engine = Engine()
    said = []
    for feedback in Rounds(lab, engine, [made_linter]).round(Save(), Cancellation()):
        said.append(type(feedback))
        if type(feedback) in (Model, Graph, Lint):
            assert engine.built == []
    assert said == WHOLE_ROUND


def test_a_dockerfile_that_cannot_be_read_is_said_by_line_and_not_built(lab: LabFolder) -> None:
    lab.dockerfile.write_text("FROM scratch\nCOPPY a b\n", "utf-8")
    engine = Engine()
    feedback = one_round(lab, engine)
    assert kinds(feedback) == [Save, Model, Waiting]
    assert isinstance(feedback[1], Model)
    [fault] = feedback[1].faults
    assert (fault.line, "COPPY" in fault.what) == (2, True)
    assert engine.built == []


def test_a_misspelt_stage_is_said_by_line_beside_the_graph_and_not_built(lab: LabFolder) -> None:
    lab.dockerfile.write_text(TWO_STAGES.replace("--from=build ", "--from=biuld "), "utf-8")
    engine = Engine()
    feedback = one_round(lab, engine)
    assert kinds(feedback) == [Save, Model, Graph, Lint, Waiting]
    assert isinstance(feedback[1], Model)
    [fault] = feedback[1].faults
    assert (fault.line, fault.mend) == (3, "Did you mean build?")
    assert engine.built == []


def test_a_dockerfile_that_is_gone_is_said(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    feedback = one_round(lab, Engine())
    assert isinstance(feedback[1], Model)
    assert "There is no file" in feedback[1].faults[0].what


def test_a_dockerfile_that_is_a_folder_is_said(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    lab.dockerfile.mkdir()
    assert kinds(one_round(lab, Engine())) == [Save, Model, Waiting]


def test_a_dockerfile_that_must_not_be_read_is_said(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    feedback = one_round(lab, Engine())
    assert isinstance(feedback[1], Model)
    assert "cannot be read: Permission denied" in feedback[1].faults[0].what


@dataclass
class FailingEngine(Engine):
    """An engine on which no build succeeds."""

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        raise LearnerError("It does not build.", where=f"{request.dockerfile}:3")


def test_a_build_that_fails_ends_the_round_with_its_error(lab: LabFolder) -> None:
    feedback = one_round(lab, FailingEngine())
    assert kinds(feedback)[-2:] == [Failed, Waiting]
    assert isinstance(feedback[-2], Failed)
    assert "It does not build." in str(feedback[-2].error)


def built_tags(engine: Engine) -> list[str]:
    return [request.tag.rpartition(":")[2] for request in engine.built]


def test_before_is_measured_once_and_again_when_the_context_changed(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Checks build it too, each time: from the cache, where nothing changed.
    monkeypatch.setattr(rounds_module, "check_lab", lambda *_: CheckReport("made", ()))
    engine = Engine()
    rounds = Rounds(lab, engine)
    one_round(lab, engine, rounds=rounds)
    one_round(lab, engine, Save(("Dockerfile",)), rounds)
    assert built_tags(engine) == ["after", "before", "after"]
    one_round(lab, engine, Save(("main.go",), context_changed=True), rounds)
    assert built_tags(engine) == ["after", "before", "after", "after", "before"]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((5_000_000, 2_000_000), "3 MB less than the build before"),
        ((2_000_000, 5_000_000), "3 MB more than the build before"),
        ((5_000_000, 5_000_000), "as large as the build before"),
    ],
)
def test_the_change_since_the_save_before_is_said(sizes: tuple[int, int], words: str) -> None:
    previous, now = (made_build({"app": size}) for size in sizes)
    assert Built(now, previous).change == words
    assert Built(now, None).change == ""


def test_each_round_is_compared_with_the_one_before(lab: LabFolder) -> None:
    engine = Engine({"a": b"12345"})
    rounds = Rounds(lab, engine)
    one_round(lab, engine, rounds=rounds)
    engine.files = {"a": b"12"}
    feedback = one_round(lab, engine, Save(("Dockerfile",)), rounds)
    [compared] = [one for one in feedback if isinstance(one, Compared)]
    assert "less than the build before" in compared.change


@pytest.mark.parametrize("passed", [True, False])
def test_a_comparison_knows_whether_the_container_works(
    passed: bool, lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = CheckResult("starts", "It starts", True, passed, "Seen.")
    monkeypatch.setattr(rounds_module, "check_lab", lambda *_: CheckReport("made", (starts,)))
    [compared] = [one for one in one_round(lab, Engine()) if isinstance(one, Compared)]
    assert compared.works is passed


@dataclass
class SlowEngine(Engine):
    """An engine whose first build takes until it is cancelled, and a moment more."""

    slow: int = 1
    running: int = 0
    most_running: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.slow -= 1
        try:
            if self.slow >= 0:
                ended = threading.Event()
                with request.cancelled.calling(ended.set):
                    self.begun.set()
                    assert ended.wait(SECONDS)
                assert self.may_end.wait(SECONDS)  # an engine takes its time to end a build
                request.cancelled.check()
            return super().build(request, report)
        finally:
            self.running -= 1


class Session:
    """A watch whose saves are made by hand."""

    def __init__(self, lab: LabFolder, engine: Engine) -> None:
        self._saves: queue.Queue[Save | None] = queue.Queue()
        self.said: list[Feedback] = []
        self._round_over = threading.Semaphore(0)
        rounds = Rounds(lab, engine, [made_linter])
        self.watch = Watch(self._all_saves, rounds.round, self._show).start()

    def _all_saves(self, stop: threading.Event) -> Iterator[Save]:
        while not stop.is_set():
            try:
                yield self._saves.get(timeout=0.02) or Save()
            except queue.Empty:
                continue

    def _show(self, feedback: Feedback) -> None:
        self.said.append(feedback)
        if isinstance(feedback, Waiting):
            self._round_over.release()

    def save(self, name: str = "Dockerfile") -> None:
        self._saves.put(Save((name,)))

    def round_over(self) -> None:
        assert self._round_over.acquire(timeout=SECONDS)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def watch_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name in ("watch", "round")]


def test_a_save_while_it_builds_cancels_and_begins_again(lab: LabFolder) -> None:
    engine = SlowEngine()
    engine.may_end.set()
    session = Session(lab, engine)
    session.save("first")
    assert engine.begun.wait(SECONDS)
    session.save("second")
    session.round_over()
    session.watch.stop()
    whole = [one for one in WHOLE_ROUND if one is not Save]
    assert kinds(session.said) == [Save, Model, Graph, Lint, Building, Cancelled, Save, *whole]
    assert engine.most_running == 1
    assert watch_threads() == []


def test_the_first_feedback_does_not_wait_for_the_end_of_the_cancelled_build(
    lab: LabFolder,
) -> None:
    engine = SlowEngine()
    session = Session(lab, engine)
    session.save()
    assert engine.begun.wait(SECONDS)
    session.save()
    wait_for(lambda: kinds(session.said).count(Lint) == 2)
    assert engine.running == 1
    assert kinds(session.said)[5:] == [Cancelled, Save, Model, Graph, Lint]
    engine.may_end.set()
    session.round_over()
    session.watch.stop()
    assert engine.most_running == 1


def test_of_many_saves_the_last_one_is_built(lab: LabFolder) -> None:
    session = Session(lab, Engine())
    for number in range(100):
        session.save(str(number))
    wait_for(lambda: Save(("99",)) in session.said and session.said[-1] == Waiting())
    session.watch.stop()
    assert kinds(session.said)[-len(WHOLE_ROUND) :] == WHOLE_ROUND
    # Whatever round began to speak, and was not the last, was either whole or is cancelled.
    ends = kinds(session.said).count(Cancelled) + kinds(session.said).count(Waiting)
    assert ends == kinds(session.said).count(Save)


def test_a_stop_ends_what_runs(lab: LabFolder) -> None:
    engine = SlowEngine()
    engine.may_end.set()
    session = Session(lab, engine)
    session.save()
    assert engine.begun.wait(SECONDS)
    session.watch.stop()
    assert (engine.running, watch_threads(), session.watch.running) == (0, [], False)
    session.watch.stop()  # again: nothing happens


def test_after_ctrl_c_a_stop_still_waits_for_the_end(lab: LabFolder) -> None:
    engine = SlowEngine()
    session = Session(lab, engine)
    session.save()
    assert engine.begun.wait(SECONDS)
    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        session.watch.wait()
    assert session.watch.running
    threading.Timer(0.3, engine.may_end.set).start()
    session.watch.stop()
    assert (engine.running, watch_threads(), session.watch.running) == (0, [], False)


def test_ctrl_c_again_and_again_waits_for_the_end_too(lab: LabFolder) -> None:
    engine = SlowEngine()
    session = Session(lab, engine)
    session.save()
    assert engine.begun.wait(SECONDS)
    for seconds in (0.2, 0.4):
        threading.Timer(seconds, _thread.interrupt_main).start()
    threading.Timer(0.8, engine.may_end.set).start()
    terminal.end(session.watch)
    assert (engine.running, watch_threads(), session.watch.running) == (0, [], False)


def test_wrong_then_right(lab: LabFolder) -> None:
    lab.dockerfile.write_text("FORM scratch\n", "utf-8")
    session = Session(lab, Engine())
    session.save()
    session.round_over()
    assert kinds(session.said) == [Save, Model, Waiting]
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    session.said.clear()
    session.save()
    session.round_over()
    session.watch.stop()
    assert kinds(session.said) == WHOLE_ROUND


def test_an_error_of_our_own_ends_the_watch_and_is_raised_to_who_waits(lab: LabFolder) -> None:
    def broken(_save: Save, _cancelled: Cancellation) -> Iterator[Feedback]:
        raise ZeroDivisionError
        yield

    ended: list[BaseException | None] = []
    watch = Watch(lambda _stop: [Save()], broken, lambda _feedback: None, ended.append).start()
    with pytest.raises(ZeroDivisionError):
        watch.wait()
    assert [type(error) for error in ended] == [ZeroDivisionError]
    assert watch_threads() == []
