#!/usr/bin/env python3
"""Starts the course: one command, standard library only.

python3 start.py         set up what is missing and open JupyterLab (--port N, --no-browser)
python3 start.py setup   set up only, base images of the labs included: the evening before
python3 start.py test    set up what the tests need and run them all (--phase NAME, pytest's own)
"""

import sys

MACHINE_FALLS_SHORT = 3  # exit codes, the same as those of the multistage command
INTERRUPTED = 130

# Before anything that an older Python could not read or run.
if sys.version_info < (3, 10):
    sys.stderr.write(
        "This is Python {}.{}; the course needs Python 3.10 or later.\n"
        "Install one from https://www.python.org/downloads/ and start with it, for example: "
        "python3.12 start.py\n".format(*sys.version_info)
    )
    sys.exit(MACHINE_FALLS_SHORT)

import argparse
import contextlib
import errno
import hashlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Optional

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOG = VENV / "setup.log"
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
FIRST_PORT = 8888
WINDOWS = os.name == "nt"

# What pip says -> what that means, and the mend.
PIP_TROUBLE = (
    (
        r"No space left on device|Errno 28",
        "The disk is full.",
        "Free about 1 GB and start again.",
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|"
        r"Failed to establish a new connection|Connection refused|Max retries exceeded|"
        r"Could not fetch URL|Connection broken|RemoteDisconnected",
        "No network: pip cannot reach its package index.",
        "Check the connection (behind a proxy, set HTTPS_PROXY) and start again.",
    ),
    (
        r"Permission denied|Errno 13",
        "pip may not write into this folder.",
        "Make the folder yours, or move the course into your home folder.",
    ),
)


class CannotStart(Exception):
    """The machine falls short: what, and what to do about it."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem + "\n" + mend)


def main(arguments: "list[str]") -> int:
    """Run one command; return its exit code."""
    began = time.monotonic()
    if arguments[:1] == ["test"]:
        set_up(began, tests=True)
        return run_until_it_ends([str(in_venv("python")), "-m", "tests.machine", *arguments])
    parser = argparse.ArgumentParser(
        prog="start.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["setup", "test"])
    parser.add_argument("--port", type=int, help="JupyterLab's port (default: the first free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    options = parser.parse_args(arguments)
    if options.command == "setup":
        set_up(began)
        return run_until_it_ends([str(in_venv("python")), "-m", "multistage", "setup"])
    port = free_port(options.port)  # before the minute of setting up, not after it
    docker = docker_state()
    set_up(began)
    if not docker.answers:
        print(f"\nNote: {docker.problem}\n      {docker.mend}", flush=True)
    return open_jupyterlab(port, began, browser=not options.no_browser)


# Setting up


def set_up(began: float, tests: bool = False) -> None:
    """Bring .venv up to date. Quick where nothing has changed."""
    check_folder()
    pinned = [ROOT / "requirements.txt"]
    if tests:
        pinned.append(ROOT / "tests" / "requirements.txt")
    work = [(file, stamp_of(file)) for file in pinned]
    if all(is_current(stamp, digest([file])) for file, stamp in work):
        return

    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise CannotStart(
            "This Python has no venv module.",
            "On Debian or Ubuntu: sudo apt install python3-venv. Elsewhere, install Python from "
            "https://www.python.org/downloads/",
        )
    steps = Steps(2 + len(pinned), began)
    if is_usable(stamp_of(pinned[0])):
        steps.skip("The Python environment is there")
    else:
        # No stamp: new, or an installation that was interrupted. What pip left half-written can
        # look complete to pip, so start over; what it has downloaded is in its cache.
        command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
        steps.run("Making a Python environment in .venv", command)
    for file, stamp in work:
        if is_current(stamp, digest([file])):
            steps.skip(f"{file.relative_to(ROOT)} is installed")
            continue
        wanted = digest([file])
        stamp_of(pinned[0]).unlink(missing_ok=True)  # an interruption from here on starts over
        count = sum(1 for line in file.read_text(encoding="utf-8").splitlines() if "==" in line)
        steps.run(
            f"Installing {file.relative_to(ROOT)}",
            [*pip("install"), "--requirement", str(file)],
            lambda lines, n=count: pip_progress(lines, n),
        )
        stamp.write_text(wanted, encoding="utf-8")
    # The build backend is pinned in requirements.txt: nothing else is fetched for it.
    project = [*pip("install"), "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    steps.run("Installing the course kit", project)
    write_jupyterlab_settings()
    stamp_of(pinned[0]).write_text(digest([pinned[0]]), encoding="utf-8")


def stamp_of(requirements: Path) -> Path:
    """Return the file that says with what ``requirements`` were installed."""
    return VENV / ("installed-{}.txt".format("-".join(requirements.relative_to(ROOT).parts[:-1]) or "course"))
