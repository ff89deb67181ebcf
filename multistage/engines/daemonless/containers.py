"""Runs a built image for a check: nothing of it stays, and it listens on 127.0.0.1 alone."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from multistage.engines import Finished
from multistage.engines.daemonless import bases, stopping
from multistage.engines.daemonless import config as image_config
from multistage.engines.daemonless.faults import explained
from multistage.engines.daemonless.lending import lent
from multistage.engines.daemonless.mount_sources import resolver
from multistage.engines.daemonless.program import (
    find_program,
    own_command,
    own_identity,
    refuse_foreign,
)
from multistage.engines.daemonless.running import TIMED_OUT, DaemonlessContainer
from multistage.engines.daemonless.sandbox import Command, Process, SandboxError
from multistage.engines.daemonless.store import StoredImage
from multistage.engines.daemonless.tree import Tree
from multistage.engines.daemonless.users import home
from multistage.engines.daemonless.ways import refuse_low, ways
from multistage.engines.daemonless.workspace import make_workspace
from multistage.errors import LearnerError

if TYPE_CHECKING:
    from multistage.engines.daemonless.builder import Workshop

_LIFETIME = 300  # seconds after which a container is ended even if a check hangs
_NOT_FOUND = 127


@contextmanager
def run(
    workshop: Workshop, image: StoredImage, port: int, environment: Mapping[str, str]
) -> Iterator[DaemonlessContainer]:
    """Run ``image`` as it says, reached on a free port of 127.0.0.1.

    Raises:
        LearnerError: the image's command cannot be started.
        MachineError: the sandbox cannot be made.
    """
    with _started(workshop, image, own_command(image), environment, port) as container:
        yield container


def run_command(
    workshop: Workshop, image: StoredImage, command: list[str], seconds: float
) -> Finished:
    """Run ``command``, or what the image itself starts; return its exit code and output."""
    try:
        argv = command or own_command(image)
        with _started(workshop, image, argv, {}, None) as container:
            code = container.wait(seconds)
            if code == TIMED_OUT:
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
    sandbox = workshop.sandbox
    if port and not sandbox.own_network:
        refuse_low(port)
    config = image_config.from_image(image.config)
    # Unpacked from its layers, as another machine would.
    delta = bases.unpacked(image, workshop.store, workshop.snapshots, sandbox)
    tree = Tree([delta])
    identity = own_identity(str(config.get("User") or ""), tree)
    folder = str(config.get("WorkingDir") or "/")
    variables = {
        "PATH": image_config.DEFAULT_PATH,
        "HOME": home(identity.user, tree),
        **image_config.environment(config),
        **environment,
    }
    program = find_program(argv[0], variables["PATH"], folder, identity, tree)
    if program and sandbox.kind == "proot":
        refuse_foreign(argv[0], program)
    with ExitStack() as stack:
        session = stack.enter_context(workshop.snapshots.session())
        opened = stack.enter_context(ways(port, variables, own_network=sandbox.own_network))
        place = make_workspace(sandbox, workshop.snapshots, session).enter([delta])
        mounts = resolver(session)
        if sandbox.kind == "chroot":
            mounts = stack.enter_context(lent(Path(str(place["root"])), mounts, []))
        command = Command(
            argv=argv,
            environment=variables,
            folder=folder,
            mounts=tuple(mounts),
            identity=identity,
            own_network=sandbox.own_network,
            forward=opened.forward,
            proxy=opened.proxy,
            **place,  # type: ignore[arg-type]
        )
        try:
            process = sandbox.start(command, Path(tempfile.mkdtemp(dir=session)))
        except SandboxError as error:
            raise explained(error) from error
        stack.callback(process.end)
        _end_in_time(process, stack)
        opened.hand_over()
        yield DaemonlessContainer(
            process,
            opened.forwarded,
            opened.candidates,
            send_stop=partial(
                stopping.send, sandbox, process.pid, image_config.stop_signal(config)
            ),
            main_has_ended=partial(stopping.main_has_ended, sandbox, process.pid),
        )


def _end_in_time(process: Process, stack: ExitStack) -> None:
    """End a process after its lifetime, unless the block of ``stack`` is left before."""
    watchdog = threading.Timer(_LIFETIME, process.signal)
    watchdog.daemon = True
    watchdog.start()
    stack.callback(watchdog.cancel)
