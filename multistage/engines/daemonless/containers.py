"""Runs a built image for a check: nothing of it stays, and it listens on 127.0.0.1 alone."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from multistage.engines import Finished
from multistage.engines.daemonless import bases, proxy, stopping
from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.lending import lent
from multistage.engines.daemonless.network import listening_port, listening_ports
from multistage.engines.daemonless.sandbox import Command, Identity, Mount, Process, SandboxError
from multistage.engines.daemonless.sandbox.forwarding import PROXY_PORT
from multistage.engines.daemonless.store import StoredImage
from multistage.engines.daemonless.tree import Delta, Tree
from multistage.engines.daemonless.users import UnknownUserError, find_identity, home
from multistage.engines.daemonless.workspace import make_workspace
from multistage.errors import LearnerError, MachineError, NotPossibleHereError

if TYPE_CHECKING:
    from multistage.engines.daemonless.builder import Workshop

_LIFETIME = 300  # seconds after which a container is ended even if a check hangs
_START_SECONDS = 10
_LOG_BYTES = 1 << 16
_NOT_FOUND = 127
_TIMED_OUT = 124


class DaemonlessContainer:
    """A running container; see :class:`multistage.engines.RunningContainer`."""

    def __init__(
        self,
        process: Process,
        forwarded: int | None,
        candidates: tuple[int, ...],
        send_stop: Callable[[], None],
    ) -> None:
        self._process, self._forwarded, self._send_stop = process, forwarded, send_stop
        self._candidates = candidates
        self._log = b""
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(ValueError, OSError):  # it was closed
            while data := self._process.output.read1(65536):
                with self._lock:
                    self._log = (self._log + data)[-_LOG_BYTES:]

    @property
    def address(self) -> str:
        """Where it is reached from this machine, empty where it has ended or does not listen."""
        if self._process.poll() is not None:
            return ""
        if self._forwarded is not None:
            return f"http://127.0.0.1:{self._forwarded}"
        port = listening_port(self._process.pid) or self._new_port()
        return f"http://127.0.0.1:{port}" if port else ""

    def _new_port(self) -> int | None:
        """Return a port that was free before, where another user's sockets cannot be looked at."""
        return next((port for port in self._candidates if port in listening_ports()), None)

    def exit_code(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(1)
        return code

    def logs(self) -> str:
        """Return the last lines it wrote."""
        with self._lock:
            return self._log.decode("utf-8", "replace").strip()

    def end(self) -> None:
        """Ask its launcher to end it."""
        self._process.signal()

    def wait(self, seconds: float) -> int:
        """Wait for the end, at most so long; return the exit code."""
        self._wait(seconds)
        code = self.exit_code()
        return _TIMED_OUT if code is None else code

    def stop(self, seconds: float) -> float | None:
        """Send the stop signal; return the seconds it took to end, ``None`` if it did not.

        See :func:`multistage.engines.daemonless.stopping.send` for what differs by sandbox.
        """
        if self._process.poll() is not None:
            return 0.0
        started = time.monotonic()
        self._send_stop()
        self._wait(seconds)
        return None if self._process.poll() is None else time.monotonic() - started

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)


@contextmanager
def run(
    workshop: Workshop, image: StoredImage, port: int, environment: Mapping[str, str]
) -> Iterator[DaemonlessContainer]:
    """Run ``image`` as it says, reached on a free port of 127.0.0.1.

    Raises:
        LearnerError: the image's command cannot be started.
        MachineError: the sandbox cannot be made.
    """
    with _started(workshop, image, _own_command(image), environment, port) as container:
        yield container


def _own_command(image: StoredImage) -> list[str]:
    config = image_config.from_image(image.config)
    argv = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    if not argv:
        raise LearnerError(
            "The image cannot be run: no command specified.",
            mend="The last stage must say what to start: ENTRYPOINT or CMD.",
        )
    return argv


def run_command(
    workshop: Workshop, image: StoredImage, command: list[str], seconds: float
) -> Finished:
    """Run ``command``, or what the image itself starts; return its exit code and output."""
    try:
        argv = command or _own_command(image)
        with _started(workshop, image, argv, {}, None) as container:
            code = container.wait(seconds)
            if code == _TIMED_OUT:
                return Finished(code, f"It was stopped after {seconds:g} seconds.")
            return Finished(code, container.logs())
    except LearnerError as error:
        return Finished(_NOT_FOUND, error.what)


@contextmanager
def _started(
    workshop: Workshop,
    image: StoredImage,
    argv: list[str],
    environment: Mapping[str, str],
    port: int | None,
) -> Iterator[DaemonlessContainer]:
    if port and not workshop.sandbox.own_network:
        _refuse_low(port)
    config = image_config.from_image(image.config)
    delta = _files(workshop, image)
    tree = Tree([delta])
    identity = _identity(str(config.get("User") or ""), tree)
    folder = str(config.get("WorkingDir") or "/")
    variables = {
        "PATH": image_config.DEFAULT_PATH,
        "HOME": home(identity.user, tree),
        **image_config.environment(config),
        **environment,
    }
    _refuse_missing(argv[0], variables["PATH"], folder, tree)
    with ExitStack() as stack:
        session = stack.enter_context(workshop.snapshots.session())
        own_network = workshop.sandbox.own_network
        listener = stack.enter_context(_listener()) if own_network and port else None
        candidates: tuple[int, ...] = ()
        if not own_network and port:
            variables.setdefault("PORT", str(free_port()))
            wanted = {int(variables["PORT"])} if variables["PORT"].isdigit() else set()
            candidates = tuple((wanted | {port}) - listening_ports())
        inner, outer = _channel(stack) if listener else (None, None)
        if inner is not None:
            variables.setdefault("HTTPS_PROXY", f"http://127.0.0.1:{PROXY_PORT}")
        place = make_workspace(workshop.sandbox, workshop.snapshots, session).enter([delta])
        mounts = _mounts()
        if workshop.sandbox.kind == "chroot":
            mounts = stack.enter_context(lent(Path(str(place["root"])), mounts, []))
        command = Command(
            argv=argv,
            environment=variables,
            folder=folder,
            mounts=tuple(mounts),
            identity=identity,
            own_network=own_network,
            forward=(listener.fileno(), port) if listener and port else None,
            proxy=inner.fileno() if inner else None,
            **place,  # type: ignore[arg-type]
        )
        process = workshop.sandbox.start(command, Path(tempfile.mkdtemp(dir=session)))
        stack.callback(process.end)
        watchdog = threading.Timer(_LIFETIME, process.signal)
        watchdog.daemon = True
        watchdog.start()
        stack.callback(watchdog.cancel)
        if inner is not None and outer is not None:
            inner.close()
            _serve_proxy(outer, stack)
        forwarded = listener.getsockname()[1] if listener else None
        number = image_config.stop_signal(config)
        send_stop = partial(stopping.send, workshop.sandbox, process.pid, number)
        container = DaemonlessContainer(process, forwarded, candidates, send_stop)
        try:
            yield container
        except SandboxError as error:
            raise MachineError(f"The sandbox cannot be made: {error}.") from error


def _refuse_low(port: int) -> None:
    """Say that a port cannot be listened on here: ip(7), ip_unprivileged_port_start.

    Raises:
        NotPossibleHereError: only root may, and this is an ordinary user.
    """
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    first = int(lowest.read_text("ascii")) if lowest.exists() else 1024
    if os.geteuid() != 0 and port < first:
        raise NotPossibleHereError(
            f"this machine lets nobody but root listen on port {port}, so the image is not run.",
            mend="The image is built and measured. To see it answer, use a machine with Docker.",
        )


def _files(workshop: Workshop, image: StoredImage) -> Delta:
    """Return an image's files. They are unpacked from its layers, as another machine would."""
    return bases.unpacked(image, workshop.store, workshop.snapshots, workshop.sandbox)


def _identity(user: str, tree: Tree) -> Identity:
    try:
        return find_identity(user, tree)
    except UnknownUserError as error:
        raise LearnerError(
            f"The container cannot start: {error}", mend="Give USER a number: 65532:65532"
        ) from error


def _refuse_missing(program: str, path: str, folder: str, tree: Tree) -> None:
    """Say what an engine says of a command that is not there, or is no program.

    Raises:
        LearnerError: as Docker's runtime words it.
    """
    places = [program] if "/" in program else [f"{p}/{program}" for p in path.split(":") if p]
    found = None
    for place in places:
        resolved = tree.resolve(os.path.join(folder, place))
        found = tree.lookup(resolved)
        if found is not None:
            break
    mend = "Check ENTRYPOINT and CMD: the program must be in the final image."
    if found is None:
        kind = "stat" if "/" in program else "executable file not found in $PATH"
        what = f"stat {program}: no such file or directory" if kind == "stat" else kind
        raise LearnerError(f'The container cannot start: exec: "{program}": {what}', mend=mend)
    if found.is_folder:
        raise LearnerError(
            f'The container cannot start: exec: "{program}": is a directory', mend=mend
        )
    if not found.status.st_mode & 0o111:
        raise LearnerError(
            f'The container cannot start: exec: "{program}": permission denied', mend=mend
        )


def _mounts() -> list[Mount]:
    if not os.path.exists("/etc/resolv.conf"):
        return []
    return [Mount("/etc/resolv.conf", "/etc/resolv.conf", read_only=True)]


@contextmanager
def _listener() -> Iterator[socket.socket]:
    """Listen on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _channel(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets: one for the launcher, one for us."""
    inner, outer = socket.socketpair()
    stack.callback(inner.close)
    stack.callback(outer.close)
    return inner, outer


def _serve_proxy(channel: socket.socket, stack: ExitStack) -> None:
    """Answer the requests that come out of the sandbox."""
    channel.settimeout(_START_SECONDS)
    with suppress(OSError):
        _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
        for descriptor in descriptors:
            listener = socket.socket(fileno=descriptor)
            stack.callback(listener.close)
            stack.callback(_wake, listener)
            proxy.serve(listener)


def _wake(listener: socket.socket) -> None:
    """End the wait of the thread that accepts: closing alone does not, see accept(2)."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with _listener() as server:
        return int(server.getsockname()[1])
