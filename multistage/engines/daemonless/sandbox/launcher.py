"""Runs one command in a sandbox: ``python -I -S launcher.py``, what to do as JSON on its input.

It is a process of its own because namespaces belong to processes, and a thread of the builder
cannot enter them alone. It stays until the command ends and takes everything that the command
started with it. On the descriptor ``status`` it says what it made for mounts (``{"stubs": …}``)
and what went wrong before the command ran (``{"error": …, "step": …}``).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from multistage.engines.daemonless.sandbox import filesystem, forwarding, kernel, seccomp
else:  # a script, whose neighbours are no package: importing the package would take time
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import filesystem
    import forwarding
    import kernel
    import seccomp

_NOT_STARTED = 125  # the sandbox failed, not the command: as `docker run` reports it
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_SIGNALLED = 128

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS

_LOWEST_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def main() -> None:
    """Read what to do, do it, and exit as the command did."""
    spec: dict[str, Any] = json.load(sys.stdin)
    kernel.die_with_parent(signal.SIGTERM)
    if os.getppid() != spec["parent"]:
        sys.exit(_NOT_STARTED)  # it ended before the line above
    for descriptor in (spec["status"], spec["proxy"], *(spec["forward"] or ())[:1]):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # none of the command's business
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    kernel.adopt_orphans()
    with _reporting(spec["status"], "the namespaces"):
        _enter_namespaces(spec)
    # Between the fork and the handlers below a signal would end us alone, and nobody the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        _child(spec)
    if spec["forward"]:
        # The namespace's second process: it ends with the first, which is the command.
        listener, port = spec["forward"]
        forwarding.start(listener, port, spec["proxy"])
    for number in _ENDING:
        signal.signal(number, lambda *_: _kill(child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    if spec["kind"] == "proot":
        _end_leftovers(child, spec["status"])
    code = _wait_for(child)
    if spec["kind"] in ("chroot", "proot"):
        _end_descendants()  # elsewhere the end of the namespace's first process ends the others
    os._exit(code)


@contextlib.contextmanager
def _reporting(status: int, step: str) -> Any:
    try:
        yield
    except OSError as error:
        said = {"error": error.strerror or str(error), "step": step, "errno": error.errno}
        os.write(status, json.dumps(said).encode() + b"\n")
        os._exit(_NOT_STARTED)


def _enter_namespaces(spec: dict[str, Any]) -> None:
    if spec["kind"] not in ("root", "user-namespaces"):
        return
    own_users = spec["kind"] == "user-namespaces"
    flags = _NAMESPACES | (kernel.CLONE_NEWNET if spec["own_network"] else 0)
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(flags | (kernel.CLONE_NEWUSER if own_users else 0))
    if own_users:
        _map_ids(0, user, 0, group)
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    if spec["own_network"]:
        kernel.bring_loopback_up(forwarding.OWN_ADDRESS)
        with contextlib.suppress(OSError), open(_LOWEST_PORT, "w", encoding="ascii") as file:
            file.write("0")  # as in Docker's containers: any user may listen on port 80


def _map_ids(user: int, outer_user: int, group: int, outer_group: int) -> None:
    """Say who this process is inside its user namespace: user_namespaces(7)."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {outer_user} 1"),
        ("gid_map", f"{group} {outer_group} 1"),
    ):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(file, text.encode())
        except OSError as error:
            raise OSError(error.errno, f"/proc/self/{name}: {error.strerror}") from error
        finally:
            os.close(file)


def _child(spec: dict[str, Any]) -> NoReturn:
    status = spec["status"]
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.setsid()
        os.umask(0o022)
        with _reporting(status, "the mounts"):
            stubs = _enter_root(spec)
        os.write(status, json.dumps({"stubs": stubs}).encode() + b"\n")
        if spec["argv"] is None:
            os._exit(0)
        with _reporting(status, "the working folder"):
            _change_folder(spec)
        with _reporting(status, "the user"):
            _become(spec)
        os.close(status)
        _execute(spec)
    finally:
        os._exit(_NOT_STARTED)


def _enter_root(spec: dict[str, Any]) -> list[str]:
    """Make the image's files the root; return what was made for the mounts."""
    if spec["kind"] == "proot":
        stubs = filesystem.Stubs(spec["root"])
        if spec["root"] != "/":  # the machine's own, in a trial
            filesystem.place_all(spec["bindings"], stubs)
        _make_folder(spec, spec["root"])
        return stubs.made
    if spec["kind"] == "chroot":
        stubs = filesystem.Stubs(spec["root"])
        filesystem.make_devices(spec["root"], stubs)
        _make_folder(spec, spec["root"])
        os.chroot(spec["root"])
        os.chdir("/")
        return stubs.made
    root = filesystem.mount_root(spec)
    stubs = filesystem.Stubs(root)
    if spec["argv"] is not None:
        own_users = spec["kind"] == "user-namespaces"
        filesystem.mount_system(stubs, own_users=own_users)
        filesystem.mount_all(spec["mounts"], stubs)
        _make_folder(spec, root)
    kernel.pivot_root(root)
    kernel.set_hostname(spec["hostname"])
    return stubs.made


def _make_folder(spec: dict[str, Any], root: str) -> None:
    """Make the working folder where a RUN deleted it, as Docker and BuildKit do."""
    owner = spec["folder_owner"] if spec["kind"] in ("root", "chroot") else None
    with _reporting(spec["status"], "the working folder"):
        filesystem.make_folder(root, spec["folder"], owner)


def _change_folder(spec: dict[str, Any]) -> None:
    if spec["kind"] != "proot":
        os.chdir(spec["folder"])


def _become(spec: dict[str, Any]) -> None:
    """Become the image's user, with no more rights than a container has."""
    user, group, groups = spec["user"], spec["group"], spec["groups"]
    if spec["kind"] in ("root", "chroot"):
        for output in (1, 2):  # or /dev/stdout and /dev/stderr could not be opened by name
            with contextlib.suppress(OSError):
                os.fchown(output, user, -1)
        os.setgroups(groups)
        kernel.limit_capabilities(spec["capabilities"])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    elif spec["kind"] == "user-namespaces":
        if (user, group) != (0, 0):
            # One user is all there is: the namespace within shows it under the wanted number.
            kernel.unshare(kernel.CLONE_NEWUSER)
            _map_ids(user, 0, group, 0)
        kernel.limit_capabilities([] if user else spec["capabilities"])
        kernel.no_new_privileges()
        seccomp.answer(seccomp.OF_OTHER_USERS, seccomp.DONE)
    else:
        kernel.no_new_privileges()
        seccomp.answer(seccomp.UNKNOWN_TO_PROOT, seccomp.NO_SUCH_CALL)
        if not spec["has_musl"]:
            seccomp.refuse_proots_heap()
    # Changing the user takes this away: it is set once more.
    kernel.die_with_parent(signal.SIGKILL)


def _execute(spec: dict[str, Any]) -> NoReturn:
    argv, environment = spec["argv"], spec["environment"]
    # Python ignores some, and what started us may have ignored others: a shell can never again
    # handle what is ignored when it starts.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment)
    except (OSError, ValueError) as error:  # in the words of Docker's runtime, which people look up
        fault = error.errno or 0 if isinstance(error, OSError) else errno.EINVAL  # NUL in a word
        print(f"exec {argv[0]}: {os.strerror(fault).lower()}", file=sys.stderr, flush=True)
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def _kill(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _wait_for(child: int) -> int:
    """Wait for the command, and for orphans on the way; return its exit code as a shell does."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return _NOT_STARTED
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _SIGNALLED - code


def _end_leftovers(proot: int, status: int) -> None:
    """Wait for proot; where its command has ended and left others running, end those.

    proot waits for all of them, and exits as the last one did: the command's own exit code is
    lost then, which is said.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    suspected = False
    while os.waitid(os.P_PID, proot, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        adopted = [child for child in _children(os.getpid()) if child != proot]
        if adopted and not _children(proot):
            if suspected:
                os.write(status, json.dumps({"left_running": len(adopted)}).encode() + b"\n")
                for child in adopted:
                    _kill(child)
            suspected = True
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)


def _children(process: int) -> list[int]:
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # it has ended, or the kernel has no such list
        return []


def _end_descendants() -> None:
    """End what the command left running. Each one's children come to us when it ends."""
    while True:
        for child in _children(os.getpid()):
            _kill(child)
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
