"""Docker Engines for the tests: several releases and image stores side by side on one machine.

Each engine runs in a Debian tree (debian.py), in namespaces of its own (dockerd.sh), with its own
bridge and address range. It gets no say over the machine's firewall: the few rules it needs are
set and removed here, so that it clashes with no other engine on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import start
from tests.machine.debian import BOOKWORM, CACHE, TRIXIE, MachineFallsShortError, Tree, build

_START_SECONDS = 60
_STOP_SECONDS = 30
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Kind:
    """One of the engines that the tests know."""

    tree: Tree
    subnet: str  # the first two numbers of its address range
    features: tuple[str, ...] = ()


MAIN = "engine26"
LABS = "engine26-labs"  # as MAIN, for the tests that run beside those of the engines
KINDS = {
    MAIN: Kind(TRIXIE, "10.226"),
    "engine26-containerd": Kind(TRIXIE, "10.227", ("containerd-snapshotter",)),
    "engine20": Kind(BOOKWORM, "10.220"),
    LABS: Kind(TRIXIE, "10.228"),
}
COMPARED = tuple(name for name in KINDS if name != LABS)


class Engine:
    """A Docker Engine that runs while the ``with`` block does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = KINDS[name]
        self.state = CACHE / "state" / name
        self.bridge = "ms-" + name.replace("engine", "").replace("containerd", "c")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """What DOCKER_HOST has to be."""
        return f"unix://{self.state / 'docker.sock'}"

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        tree = build(self.kind.tree)
        if self.answers():
            raise MachineFallsShortError(
                f"The tests' {self.name} runs already: wait for the other test run, "
                "or stop it with: python -m tests.machine stop"
            )
        self._clean()  # what a killed run left
        self.state.mkdir(parents=True)
        (self.state / "daemon.json").write_text(json.dumps(self._configuration()))
        try:
            self._network("add")
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork"),
                    "--kill-child",
                    *("sh", str(Path(__file__).with_name("dockerd.sh"))),
                    *(str(tree), str(self.state)),
                ],
                stdin=subprocess.PIPE,  # closing it stops the engine: see dockerd.sh
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us: we stop the engine in order
            )
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the engine and everything in it; remove what it wrote."""
        process, self._process = self._process, None
        if process is not None:
            self._remove_containers()
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # unshare's --kill-child takes the whole PID namespace along.
                process.kill()
                process.wait()
        self._clean()

    def answers(self) -> bool:
        """Return whether the engine answers."""
        return start.socket_error(self.state / "docker.sock") is None

    def _configuration(self) -> dict[str, object]:
        return {
            "bridge": self.bridge,
            "iptables": False,
            "default-address-pools": [{"base": f"{self.kind.subnet}.128.0/17", "size": 24}],
            "mtu": _mtu(),
            "cgroup-parent": f"/{self.bridge}",
            "shutdown-timeout": 5,
            "features": dict.fromkeys(self.kind.features, True),
        }

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.state / "dockerd.log"
                lines = log.read_text(errors="replace").splitlines() if log.exists() else []
                raise MachineFallsShortError(
                    "\n".join([*lines[-8:], f"The tests' {self.name} does not start: see above."])
                )
            time.sleep(0.1)

    def _remove_containers(self) -> None:
        """Remove the containers: dockerd would give each its time to stop."""
        docker = [str(TRIXIE.path / "usr/bin/docker"), "--host", self.host]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            listed = subprocess.run(
                [*docker, "ps", "--all", "--quiet"], capture_output=True, check=False, timeout=10
            )
            if names := listed.stdout.decode().split():
                subprocess.run(
                    [*docker, "rm", "--force", *names], capture_output=True, check=False, timeout=30
                )

    def _network(self, action: str) -> None:
        """Add or remove the bridge and the rules that lead its containers to the outside."""
        addresses = f"{self.kind.subnet}.0.0/16"
        add = action == "add"
        if add:
            self._tool("ip", "link", "add", self.bridge, "type", "bridge")
            self._tool("ip", "address", "add", f"{self.kind.subnet}.0.1/17", "dev", self.bridge)
            self._tool("ip", "link", "set", self.bridge, "mtu", str(_mtu()), "up")
        for rule in (
            ("-t", "filter", "FORWARD", "-s", addresses, "-j", "ACCEPT"),
            ("-t", "filter", "FORWARD", "-d", addresses, "-j", "ACCEPT"),
            ("-t", "nat", "POSTROUTING", "-s", addresses, "!", "-d", addresses, "-j", "MASQUERADE"),
        ):
            table, chain, match = rule[:2], rule[2], rule[3:]
            # -w: another engine may hold the lock for a moment.
            self._tool("iptables", "-w", *table, "-I" if add else "-D", chain, *match, check=add)
        if not add:
            self._tool("ip", "link", "delete", self.bridge, check=False)

    def _tool(self, *command: str, check: bool = True) -> None:
        """Run the tree's own tool: this machine may not have it."""
        done = subprocess.run(
            ["chroot", str(self.kind.tree.path), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise MachineFallsShortError(
                f"{' '.join(command)}: {done.stderr.strip()}\n"
                "The tests' Docker Engines cannot set up a network on this machine."
            )

    def _clean(self) -> None:
        if self.kind.tree.path.is_dir():
            self._network("remove")
        remove(self.state)
        for group in (_CGROUPS / self.bridge, *_CGROUPS.glob(f"*/{self.bridge}")):
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()


def remove(folder: Path) -> None:
    """Remove a folder of any depth: images go deeper than shutil.rmtree can nest its calls.

    Raises:
        MachineFallsShortError: something of it is still there; says what.
    """
    done = subprocess.run(
        ["rm", "-rf", "--", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise MachineFallsShortError(
            "\n".join([*said[:3], f"Cannot remove {folder}: see above. Remove it by hand."])
        )


@contextlib.contextmanager
def engine(name: str) -> Iterator[str]:
    """Run an engine for a ``with`` block; gives what DOCKER_HOST has to be."""
    with Engine(name) as running:
        yield running.host


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that ``with`` blocks stop what they started."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {
        number: signal.signal(number, end)
        for name in ("SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def client_environment(host: str) -> dict[str, str]:
    """Return the variables with which ``docker`` and ``docker buildx`` talk to our engines."""
    tree = build(TRIXIE)  # its tools run on Debian 12 as they are
    client = CACHE / "client"
    plugins = client / "config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    (client / "bin").mkdir(exist_ok=True)
    for link, target in (
        (client / "bin" / "docker", tree / "usr/bin/docker"),
        (plugins / "docker-buildx", tree / "usr/libexec/docker/cli-plugins/docker-buildx"),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return {
        "PATH": f"{client / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "DOCKER_CONFIG": str(client / "config"),
        "DOCKER_HOST": host,
    }


def _environment() -> dict[str, str]:
    """Return what the engine needs of our environment: the proxies, not our folders."""
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **proxies}


def _mtu() -> int:
    """Return the packet size of the way out: a bridge with a greater one loses packets."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            interface, destination = line.split()[:2]
            if destination == "00000000":
                return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    return 1500
