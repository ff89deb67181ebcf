"""``lab.watch()`` in a real kernel: the kernel stays free, and however it ends, nothing is left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from tests.engines.test_interrupt import running, wait_for
from tests.notebooks.course import copy_course, environment

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]
SECONDS = 120
SLEEP = "74567"


class Kernel:
    """A kernel with a lab of a copy of the course, whose build takes for ever."""

    def __init__(self, course: Path) -> None:
        self.dockerfile = course / "labs/go-scratch/app/Dockerfile"
        self.solution = self.dockerfile.read_text("utf-8")
        self.manager, self.client = start_new_kernel(
            cwd=str(course / "notebooks"), env=environment(course)
        )

    def run(self, code: str) -> str:
        """Run a cell; return what it showed, as text."""
        shown: list[str] = []

        def keep(message: dict[str, dict[str, object]]) -> None:
            content = message["content"]
            data = content.get("data")
            if isinstance(data, dict):
                shown.append(str(data.get("text/plain")))
            shown.append(str(content.get("text") or ""))
            shown.extend(map(str, content.get("traceback") or ()))  # type: ignore[call-overload]

        self.client.execute_interactive(code, timeout=SECONDS, output_hook=keep)
        return "\n".join(shown)

    def build_for_ever(self) -> None:
        slow = self.solution.replace("RUN ", f"RUN sleep {SLEEP}; ")
        self.dockerfile.write_text(slow, "utf-8")


@pytest.fixture(params=["docker", "daemonless"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel in which a watch is in the middle of a build."""
    kernel = Kernel(copy_course(tmp_path / "course", solved=True))
    kernel.build_for_ever()
    kernel.run("from multistage import Lab; import threading")
    kernel.run(f"lab = Lab('go-scratch', {request.param!r}); watch = lab.watch()")
    wait_for(sleeps)
    yield kernel
    kernel.client.stop_channels()
    if kernel.manager.is_alive():
        kernel.manager.shutdown_kernel()
    wait_for(lambda: not sleeps())
    assert not running(str(tmp_path))


def sleeps() -> bool:
    return bool(running(f"sleep {SLEEP}"))


def threads(kernel: Kernel) -> str:
    return kernel.run("[t.name for t in threading.enumerate() if t.name in ('watch', 'round')]")


def test_the_kernel_stays_free_and_stop_ends_all(kernel: Kernel) -> None:
    assert "42" in kernel.run("6 * 7")
    assert "Watching go-scratch" in kernel.run("watch")
    kernel.run("watch.stop()")
    assert not sleeps()
    assert "[]" in threads(kernel)
    assert "has ended" in kernel.run("watch._body.value")


def test_the_interrupt_button_ends_a_watch_while_no_cell_runs(kernel: Kernel) -> None:
    kernel.manager.interrupt_kernel()
    wait_for(lambda: not sleeps())
    wait_for(lambda: "[]" in threads(kernel))
    assert "42" in kernel.run("6 * 7")
    kernel.run("watch = lab.watch()")  # and another can begin
    wait_for(sleeps)


def test_the_interrupt_button_ends_a_cell_that_runs_and_not_the_watch(kernel: Kernel) -> None:
    threading.Timer(2, kernel.manager.interrupt_kernel).start()
    assert "KeyboardInterrupt" in kernel.run("import time; time.sleep(60)")
    assert "True" in kernel.run("watch.running")
    assert sleeps()


def test_a_second_watch_of_the_same_lab_replaces_the_first(kernel: Kernel) -> None:
    kernel.run("second = lab.watch()")
    assert "(False, True)" in kernel.run("watch.running, second.running")
    wait_for(lambda: len(running(f"sleep {SLEEP}")) > 0)


def test_a_shutdown_of_the_kernel_ends_the_watch(kernel: Kernel) -> None:
    kernel.client.shutdown()
    wait_for(lambda: not kernel.manager.is_alive())
    wait_for(lambda: not sleeps())


def test_the_panel_turns_green_when_the_dockerfile_is_right(kernel: Kernel) -> None:
    kernel.dockerfile.write_text(kernel.solution, "utf-8")
    wait_for(lambda: "checks passed." in kernel.run("watch._body.value"))
    assert "multistage-green" in kernel.run("watch._body.value")
