"""Work that is no longer wanted is left: at the next thing asked of the engine, or at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from multistage.builds import read_image
from multistage.checks import wait_until_it_answers
from multistage.engines import BuildRequest, Cancellation
from multistage.engines.cancelling import cancellable
from multistage.errors import BuildCancelledError, CourseError
from tests.unit.made import MadeContainer, MadeEngine


def test_work_that_is_wanted_goes_on() -> None:
    Cancellation().check()


def test_cancelling_says_so_and_calls_what_is_running_once() -> None:
    cancelled, calls = Cancellation(), []
    with cancelled.calling(lambda: calls.append("running")):
        cancelled.cancel()
        cancelled.cancel()
    assert calls == ["running"]
    with pytest.raises(BuildCancelledError):
        cancelled.check()


def test_what_begins_after_the_cancelling_is_called_too() -> None:
    cancelled, calls = Cancellation(), []
    cancelled.cancel()
    with cancelled.calling(lambda: calls.append("late")):
        pass
    assert calls == ["late"]


def test_what_has_ended_is_not_called() -> None:
    cancelled, calls = Cancellation(), []
    with cancelled.calling(lambda: calls.append("ended")):
        pass
    cancelled.cancel()
    assert calls == []


def test_a_cancelled_build_is_an_error_that_the_learner_may_see() -> None:
    assert issubclass(BuildCancelledError, CourseError)


def test_the_engine_gets_the_cancellation_with_the_request() -> None:
    engine, cancelled = MadeEngine(), Cancellation()
    request = BuildRequest(Path(), Path("Dockerfile"), "made:a")
    cancellable(engine, cancelled).build(request)
    assert engine.built[0].cancelled is cancelled


def test_a_cancelled_engine_does_nothing_more() -> None:
    engine, cancelled = MadeEngine(), Cancellation()
    wrapped = cancellable(engine, cancelled)
    assert wrapped.name == "docker"
    cancelled.cancel()
    with pytest.raises(BuildCancelledError):
        wrapped.build(BuildRequest(Path(), Path("Dockerfile"), "made:a"))
    with pytest.raises(BuildCancelledError):
        wrapped.labels("made:a")
    assert engine.built == []


def test_reading_an_image_stops_in_the_middle() -> None:
    cancelled = Cancellation()
    wrapped = cancellable(MadeEngine({"a": b"a"}), cancelled)
    with wrapped.save("made:a") as stream:
        assert stream.read(10)
        cancelled.cancel()
        with pytest.raises(BuildCancelledError):
            stream.read(10)


def test_an_image_is_measured_through_it() -> None:
    assert read_image(cancellable(MadeEngine({"a": b"abc"}), Cancellation()), "a").unpacked_size


def test_waiting_for_a_container_stops_and_ends_the_container() -> None:
    container, cancelled = MadeContainer("", None), Cancellation()
    wrapped = cancellable(MadeEngine(container=container), cancelled)
    threading.Timer(0.2, cancelled.cancel).start()
    began = time.monotonic()
    with pytest.raises(BuildCancelledError), wrapped.run("made:a", 8080) as running:
        wait_until_it_answers(running)
    assert time.monotonic() - began < 5
    assert container.ended is not None
