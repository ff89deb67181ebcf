"""Rounds in a thread of their own: one at a time, each cancelled by the next save."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from multistage.engines import Cancellation
from multistage.errors import BuildCancelledError
from multistage.watch.feedback import Cancelled, Feedback, Save, Waiting

Rounds = Callable[[Save, Cancellation], Iterator[Feedback]]
Saves = Callable[[threading.Event], Iterable[Save]]
Show = Callable[[Feedback], None]
_PAUSE = 0.2  # seconds; a wait without an end would keep Ctrl+C out on Windows


class Watch:
    """Runs a round for every save, from :meth:`start` to :meth:`stop`.

    Args:
        saves: hands out the saves until the event that it is given is set.
        rounds: does one round.
        show: gets the feedback, one at a time and from several threads.
        ended: gets what ended the watch, ``None`` for its stop.
    """

    def __init__(
        self,
        saves: Saves,
        rounds: Rounds,
        show: Show,
        ended: Callable[[BaseException | None], None] = lambda _error: None,
    ) -> None:
        self._saves, self._rounds, self._show, self._ended = saves, rounds, show, ended
        self._lock = threading.RLock()
        self._stop = threading.Event()
        # Not the thread's own word: before Python 3.13, Ctrl+C in a join makes it look ended.
        self._over = threading.Event()
        self._over.set()
        self._error: BaseException | None = None
        self._current = Cancellation()
        self._is_done = True  # whether the round that spoke last has said all
        self._round_threads: list[threading.Thread] = []
        # No daemon, as its rounds: at the end of the process they have the time to end their
        # children. Who starts a watch sees to it that it is stopped then.
        self._thread = threading.Thread(target=self._follow, name="watch")

    def start(self) -> Watch:
        """Begin, and return at once."""
        self._over.clear()
        self._thread.start()
        return self

    @property
    def running(self) -> bool:
        """Whether it watches."""
        return not self._over.is_set()

    def stop(self) -> None:
        """End it, and wait until nothing of it is left running."""
        self.ask_to_stop()
        if self._thread is not threading.current_thread():
            self._wait()

    def ask_to_stop(self) -> None:
        """End it, without waiting for that."""
        self._stop.set()
        self._current.cancel()

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            Exception: what ended it, other than a stop.
        """
        self._wait()
        if self._error is not None:
            raise self._error

    def _wait(self) -> None:
        while self.running:
            self._over.wait(_PAUSE)
        if self._thread.ident is not None:
            self._thread.join()  # which has only to return

    def _follow(self) -> None:
        try:
            for save in self._saves(self._stop):
                self._begin(save)
        except Exception as error:
            self._fail(error)
        finally:
            with self._lock:
                self._stop.set()
                self._current.cancel()
            for thread in self._round_threads:
                thread.join()
            try:
                self._ended(self._error)
            finally:
                self._over.set()

    def _begin(self, save: Save) -> None:
        with self._lock:
            self._current.cancel()
            if not self._is_done:
                self._show(Cancelled())
            if self._stop.is_set():
                return
            self._current, self._is_done = Cancellation(), True
            thread = threading.Thread(target=self._run, args=(save, self._current), name="round")
            self._round_threads = [t for t in self._round_threads if t.is_alive()] + [thread]
            thread.start()

    def _run(self, save: Save, cancelled: Cancellation) -> None:
        try:
            for feedback in self._rounds(save, cancelled):
                with self._lock:
                    cancelled.check()  # what a round finds out after the next save is old
                    self._is_done = isinstance(feedback, Waiting)
                    self._show(feedback)
        except BuildCancelledError:
            pass
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._stop.set()
