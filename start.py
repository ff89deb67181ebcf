#!/usr/bin/env python3
"""Starts the course: one command, standard library only.

python3 start.py         set up what is missing and open JupyterLab (--port N, --no-browser)
python3 start.py setup   set up only, the labs' base images included: the evening before
python3 start.py test    set up what the tests need and run them all (--phase NAME, pytest's own)
"""

import sys

MACHINE_FALLS_SHORT = 3  # exit codes, the same as those of the multistage command
INTERRUPTED = 130

# Before anything that an older Python could not read or run.
if sys.version_info < (3, 10):
    sys.stderr.write(
        "This is Python {}.{}, and the course needs Python 3.10 or later.\n"
        "Install one from https://www.python.org/downloads/ and start with it, for example: "
        "python3.12 start.py\n".format(*sys.version_info)
    )
    sys.exit(MACHINE_FALLS_SHORT)

import argparse
import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
FIRST_PORT = 8888
LAST_PORT = 65535
WINDOWS = os.name == "nt"

# What pip says, what that means, and the mend.
PIP_TROUBLE = (
    (
        r"No space left on device|Errno 28\b",
        "The disk is full.",
        "Free about 1 GB and start again.",
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|"
        r"Failed to establish a new connection|Connection refused|Max retries exceeded|"
        r"Could not fetch URL|Connection broken|RemoteDisconnected|from versions: none",
        "No network: pip cannot reach its package index.",
        "Check the connection (behind a proxy, set HTTPS_PROXY) and start again.",
    ),
    (
        r"Permission denied|Errno 13\b",
        "pip may not write into this folder.",
        "Move the course into your home folder, or make this folder yours.",
    ),
)


class CannotStartError(Exception):
    """The machine falls short: what is wrong, and the mend."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}\n{mend}")


def main(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    began = time.monotonic()
    if arguments[:1] == ["test"]:
        set_up(began, ["requirements.txt", "tests/requirements.txt"])
        return run([python(), "-m", "tests.machine", *arguments])

    parser = argparse.ArgumentParser(
        prog="start.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["setup", "test"])
    parser.add_argument("--port", type=int, help="JupyterLab's port (default: the first free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    options = parser.parse_args(arguments)
    if options.command == "setup":
        set_up(began, ["requirements.txt"])
        return run([python(), "-m", "multistage", "setup"])
    port = choose_port(options.port)  # before the minute of setting up, not after it
    docker = docker_state()
    set_up(began, ["requirements.txt"])
    remove_stored_outputs()
    if options.port is None:
        port = choose_port(None)  # someone else may have taken it meanwhile
    if not docker.answers:
        print(f"\nNote: {docker.problem}\n      {docker.mend}", flush=True)
        if sys.platform == "linux":
            print("      Until then the course builds with an engine of its own.", flush=True)
    return open_jupyterlab(port, began, browser=not options.no_browser)


# ---- Setting up ----


class Step(NamedTuple):
    """One step of setting up: a command, and how far it is by what it has printed so far."""

    title: str
    command: list[str]
    progress: Callable[[list[str]], str] = lambda lines: ""


def set_up(began: float, requirements: list[str]) -> None:
    """Bring .venv up to date; at once where nothing has changed."""
    check_writable()
    installed = read_stamp()
    wanted = {"python": f"{sys.version} {sys.base_prefix} {VENV}"}
    for name in ("pyproject.toml", *requirements):
        wanted[name] = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    if installed == {**installed, **wanted}:
        return
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise CannotStartError(
            "This Python has no venv module.",
            "On Debian and Ubuntu: sudo apt install python3-venv. Elsewhere: install Python from "
            "https://www.python.org/downloads/",
        )
    # No stamp: new, or interrupted. What pip left half-written can look complete to pip, so start
    # over then; what it has downloaded is in its cache.
    if installed.get("python") != wanted["python"]:
        installed = {}
    run_steps(steps_from(installed, wanted, requirements), began)
    write_jupyterlab_settings()
    stamp_file().write_text(json.dumps({**installed, **wanted}, indent=1), encoding="utf-8")


def steps_from(
    installed: dict[str, str], wanted: dict[str, str], requirements: list[str]
) -> list[Step]:
    """Return what is to do to get from what is installed to what is wanted."""
    pip = [python(), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--progress-bar", "off", "--no-warn-script-location"]
    steps = []
    if not installed:
        command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
        steps.append(Step("Making a Python environment in .venv", command))
    for name in requirements:
        if installed.get(name) != wanted[name]:
            # These files name everything needed: see requirements.in.
            command = [*pip, "--no-deps", "--requirement", str(ROOT / name)]
            steps.append(Step(f"Installing {name}", command, pip_progress))
    if installed.get("pyproject.toml") != wanted["pyproject.toml"]:
        # The build backend is pinned in requirements.txt: nothing else is fetched for it.
        command = [*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
        steps.append(Step("Installing the course kit", command))
    return steps


def run_steps(steps: list[Step], began: float) -> None:
    """Run the steps one after the other, showing how far they are."""
    if stamp_file().exists():
        stamp_file().unlink()  # from here on, an interruption means starting over
    log: list[str] = []
    for number, step in enumerate(steps, start=1):
        shown = f"[{number}/{len(steps)}] {step.title}"
        code, lines = run_step(step, shown, began)
        log += lines
        if code != 0:
            if VENV.is_dir():
                (VENV / "setup.log").write_text("\n".join(log), encoding="utf-8")
            raise explain_failure(step, lines)


def run_step(step: Step, shown: str, began: float) -> tuple[int, list[str]]:
    """Run one step; return its exit code and what it printed."""
    lines: list[str] = []
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    reader = threading.Thread(target=read_lines, args=(process.stdout, lines), daemon=True)
    reader.start()
    live = sys.stdout.isatty()
    next_report = time.monotonic() + (0 if live else 15)
    try:
        while process.poll() is None:
            if time.monotonic() >= next_report:
                report(shown, step.progress(lines), began, "\r" if live else "\n")
                next_report = time.monotonic() + (0.5 if live else 15)
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    reader.join()
    report(shown, "done" if process.returncode == 0 else "failed", began, "\n")
    return process.returncode, lines


def read_lines(stream: IO[str], lines: list[str]) -> None:
    """Collect what a process prints, until it ends."""
    for line in stream:
        lines.append(line.rstrip())


def report(shown: str, progress: str, began: float, end: str) -> None:
    """Print one line of progress: which step of how many, how far it is, how long so far."""
    line = f"{shown} {progress} ({time.monotonic() - began:.0f} s)".replace("  ", " ")
    print(line.ljust(78) if sys.stdout.isatty() else line, end=end, flush=True)


def pip_progress(lines: list[str]) -> str:
    """Return how far pip is."""
    if any(line.startswith("Installing collected packages") for line in lines):
        return "- unpacking"
    return f"- {sum(line.startswith('Collecting ') for line in lines)} packages fetched"


def explain_failure(step: Step, lines: list[str]) -> CannotStartError:
    """Return why a step failed, as far as what it printed tells."""
    said = "\n".join(lines[-40:])
    for pattern, problem, mend in PIP_TROUBLE:
        if re.search(pattern, said):
            return CannotStartError(problem, mend)
    tail = "\n".join(lines[-5:])
    return CannotStartError(
        f"{tail}\n{step.title} failed: see the lines above, all of them in .venv/setup.log.",
        "Start again: it begins anew. If it fails again, delete .venv and try another Python.",
    )


def check_writable() -> None:
    """Find out whether this folder is writable: permission bits do not tell on every system."""
    for folder in (ROOT, VENV):
        try:
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except OSError as error:
            raise CannotStartError(
                f"This folder is not writable: {folder} ({error.strerror})",
                "Move the course into your home folder, or make this folder yours.",
            ) from None


def stamp_file() -> Path:
    """Return the file that says what .venv holds; there only while .venv is whole."""
    return VENV / "installed.json"


def read_stamp() -> dict[str, str]:
    """Return what .venv holds, nothing where it is not whole."""
    try:
        stamp = json.loads(stamp_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and Path(python()).exists() else {}


def python() -> str:
    """Return the path of .venv's Python."""
    return str(VENV / "Scripts" / "python.exe" if WINDOWS else VENV / "bin" / "python")


def environment() -> dict[str, str]:
    """Return the variables for what runs in .venv: as if it were activated."""
    foreign = {"PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"}
    variables = {name: value for name, value in os.environ.items() if name not in foreign}
    variables["VIRTUAL_ENV"] = str(VENV)
    variables["PATH"] = os.pathsep.join([str(Path(python()).parent), os.environ.get("PATH", "")])
    return variables


def write_jupyterlab_settings() -> None:
    """Keep JupyterLab from asking learners about news and updates."""
    folder = VENV / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    settings = {"@jupyterlab/apputils-extension:notification": quiet}
    (folder / "overrides.json").write_text(json.dumps(settings), encoding="utf-8")


# ---- Notebooks ----


def remove_stored_outputs() -> None:
    """Remove the outputs that the notebooks came with: they would give the answers away.

    A notebook that was run or saved since is left as it is.
    """
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            if notebook["metadata"].pop("stored_outputs", None) != outputs_digest(notebook):
                continue
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    cell.update(outputs=[], execution_count=None)
            text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8", newline="\n")
            part.replace(path)


def outputs_digest(notebook: dict[str, Any]) -> str:
    """Return the SHA-256 of all outputs of a notebook, as its file has them."""
    outputs = [cell.get("outputs") for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()


# ---- JupyterLab ----


def open_jupyterlab(port: int, began: float, browser: bool) -> int:
    """Run JupyterLab until it ends."""
    page = f"/lab/tree/{FIRST_NOTEBOOK}" if (ROOT / FIRST_NOTEBOOK).exists() else "/lab"
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    os.environ["JUPYTER_TOKEN"] = token  # an empty one would mean: no token at all
    command = [python(), "-m", "jupyterlab", "--LabApp.log_level=WARN"]
    command += ["--ServerApp.log_level=WARN"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={ROOT}"]
    command += [f"--LabApp.default_url={page}", "--LabApp.extension_manager=readonly"]
    # Tabs of this course alone: JupyterLab's own folder would bring back those of other projects.
    command += [f"--LabApp.workspaces_dir={VENV / 'jupyterlab-workspaces'}"]
    command += ["--ServerApp.answer_yes=True"]  # Ctrl-C ends it without a question
    if not browser:
        command.append("--no-browser")
    if not WINDOWS and os.geteuid() == 0:
        command.append("--allow-root")  # in a container, say; anyone else is not root

    def tell(process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None and not jupyterlab_answers(port):
            time.sleep(0.05)
        if process.poll() is None:
            print(f"JupyterLab is ready after {time.monotonic() - began:.1f} s. Ctrl-C ends it.")
            print(f"  http://127.0.0.1:{port}{page}?token={token}", flush=True)

    return run(command, tell)


def jupyterlab_answers(port: int) -> bool:
    """Return whether the server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/api")
        return connection.getresponse().status == http.client.OK
    return False


def choose_port(wanted: int | None) -> int:
    """Return the port asked for, or the first free one; say so where it is taken."""
    if wanted is None:
        for port in range(FIRST_PORT, FIRST_PORT + 100):
            if port_problem(port) is None:
                return port
        raise CannotStartError(
            f"Every port from {FIRST_PORT} to {FIRST_PORT + 99} is taken.",
            "Name a free one: python3 start.py --port 9000",
        )
    problem = port_problem(wanted)
    if problem is not None:
        raise CannotStartError(
            f"Port {wanted} {problem}.",
            "Choose another one with --port, or leave --port out to get the next free one.",
        )
    return wanted


def port_problem(port: int) -> str | None:
    """Return what is wrong with a port on 127.0.0.1, ``None`` if it is free."""
    if not 0 < port <= LAST_PORT:
        return f"does not exist: ports go from 1 to {LAST_PORT}"
    with socket.socket() as caller:
        caller.settimeout(1)
        with contextlib.suppress(OSError):
            # Also asked by calling: some systems let us bind beside one that listens everywhere.
            caller.connect(("127.0.0.1", port))
            return "is taken: another program listens there"
    with socket.socket() as server:
        if not WINDOWS:  # where it means something else: taking a port from its owner
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except PermissionError:
            return "is not for ordinary users"
        except OSError:
            return "is taken: another program has it"
    return None


def run(
    command: list[str], meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None
) -> int:
    """Run a command until it ends, however we are asked to end it; return its exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: process.terminate())
    # Ctrl-C reaches the command by itself; a signal to this process alone does not.
    signal.signal(signal.SIGINT, lambda *_: process.terminate())
    if meanwhile is not None:
        meanwhile(process)
    code = process.wait()
    return code if code >= 0 else 128 - code  # ended by a signal: what a shell says


# ---- Docker ----


class DockerState(NamedTuple):
    """Whether a Docker Engine answers; if not, what is wrong and the mend."""

    answers: bool
    problem: str = ""
    mend: str = ""


def docker_state() -> DockerState:
    """Ask the Docker Engine that the ``docker`` command would talk to, within a second."""
    where = docker_endpoint()
    if where.startswith("unix://"):
        error = socket_error(Path(where[len("unix://") :]))
        if error is None:
            return DockerState(True)
        if isinstance(error, PermissionError):
            return DockerState(
                False,
                "Docker is installed, but you have no permission on its socket.",
                "Run: sudo usermod -aG docker $USER, then log out and in again.",
            )
    elif docker_command_connects():
        return DockerState(True)
    if os.environ.get("DOCKER_HOST"):
        return DockerState(
            False,
            f"No Docker Engine answers at {where} (from DOCKER_HOST).",
            "Start that engine, or unset DOCKER_HOST.",
        )
    if shutil.which("docker") is None and not Path("/Applications/Docker.app").exists():
        return DockerState(
            False, "Docker is not installed.", "Install it: https://docs.docker.com/get-docker/"
        )
    on_linux = sys.platform.startswith("linux")
    mend = "sudo systemctl start docker (or start Docker Desktop)" if on_linux else "Docker Desktop"
    return DockerState(False, "Docker is installed but not running.", f"Start it: {mend}")


def docker_endpoint() -> str:
    """Return where the engine is: DOCKER_HOST, else the current context, else the default."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        name = os.environ.get("DOCKER_CONTEXT")
        if not name:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            name = settings["currentContext"]
        # Where the docker command keeps a context: under the digest of its name.
        key = hashlib.sha256(str(name).encode()).hexdigest()
        meta = json.loads((folder / "contexts/meta" / key / "meta.json").read_text("utf-8"))
        return str(meta["Endpoints"]["docker"]["Host"])
    return "npipe:////./pipe/docker_engine" if WINDOWS else "unix:///var/run/docker.sock"


def socket_error(path: Path) -> Exception | None:
    """Return why no engine answers at a Unix socket, ``None`` if one does."""
    connection = http.client.HTTPConnection("docker")
    try:
        with contextlib.closing(connection):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(1)
            connection.sock.connect(str(path))
            connection.request("GET", "/_ping")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return error
    return None if status == http.client.OK else http.client.HTTPException(f"status {status}")


def docker_command_connects() -> bool:
    """Return whether the ``docker`` command reaches an engine: over a pipe, ssh or TLS."""
    try:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def end(number: int, _frame: object) -> None:
    """End in order when asked to, so that what runs for us is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    try:
        sys.exit(main(sys.argv[1:]))
    except CannotStartError as failure:
        print(f"\n{failure}", file=sys.stderr)
        sys.exit(MACHINE_FALLS_SHORT)
    except KeyboardInterrupt:
        print("\nInterrupted. Start again: it takes up what is missing.", file=sys.stderr)
        sys.exit(INTERRUPTED)
