"""``python -m tests.machine start|stop|status|test``: Docker Engines for whoever writes tests."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.machine import debian, engines, phases
from tests.machine.debian import MachineFallsShortError

_KEEPER = debian.CACHE / "keeper.pid"
_LOG = debian.CACHE / "keeper.log"


def main() -> int:
    """Run one command; return its exit code."""
    if sys.argv[1:2] == ["test"]:
        return phases.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("command", choices=["start", "stop", "status", "keep", "test"])
    command = parser.parse_args().command
    if command != "status" and not debian.is_debian_root():
        raise MachineFallsShortError("The tests' Docker Engines need root on a Debian machine.")
    {"start": start, "stop": stop, "status": status, "keep": keep}[command]()
    return 0


def start() -> None:
    """Start all engines, and leave them running; print the variables to set."""
    if _keeper() is None:
        for tree in {engines.KINDS[name].tree for name in engines.COMPARED}:
            debian.build(tree)
        with _LOG.open("wb") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.machine", "keep"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while _keeper() is None:
            if keeper.poll() is not None:
                raise MachineFallsShortError(_LOG.read_text(errors="replace"))
            time.sleep(0.1)
    hosts = {name: engines.Engine(name).host for name in engines.COMPARED}
    variables = {
        **engines.client_environment(hosts[engines.MAIN]),
        "MULTISTAGE_TEST_ENGINES": json.dumps(hosts),
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def keep() -> None:
    """Run all engines until a signal ends this process: what ``start`` leaves behind."""
    with engines.ended_by_signals(), contextlib.ExitStack() as stack:
        stack.callback(_KEEPER.unlink, missing_ok=True)
        for name in engines.COMPARED:
            stack.enter_context(engines.engine(name))
        _KEEPER.write_text(str(os.getpid()))
        signal.pause()


def stop() -> None:
    """Stop the engines that ``start`` left running."""
    if (keeper := _keeper()) is None:
        print("nothing to stop")
        return
    os.kill(keeper, signal.SIGTERM)
    while _keeper() is not None:
        time.sleep(0.1)
    print("stopped")


def status() -> None:
    """Say which engines answer."""
    for name in engines.KINDS:
        engine = engines.Engine(name)
        state = "answers at" if engine.answers() else "stopped;"
        print(f"{name:20} {state} {engine.host}")


def _keeper() -> int | None:
    """Return the process that keeps the engines, ``None`` where there is none."""
    try:
        process = int(_KEEPER.read_text())
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    if b"tests.machine" not in command:  # after a restart the number may be another's
        return None
    return process


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineFallsShortError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
