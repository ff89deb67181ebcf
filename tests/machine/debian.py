"""Debian: its packages for this machine, and the trees that the tests' Docker Engines run in."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import platformdirs

CACHE = Path(platformdirs.user_cache_dir("multistage-course", appauthor=False)) / "engines"

# Settings of the machine's apt that fetching depends on; the rest is not for another release.
_APT_SETTINGS = ("Acquire::Check-", "Acquire::http", "Acquire::https", "Acquire::Retries")


class MachineFallsShortError(Exception):
    """The machine lacks something the tests need: ``str()`` says what, and what to do."""


@dataclass(frozen=True)
class Tree:
    """A Debian release with a Docker Engine in it."""

    suite: str
    packages: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the tree is kept. The name tells its content: other packages, other tree."""
        return CACHE / "trees" / f"{self.suite}-{'-'.join(self.packages)}"


TRIXIE = Tree(
    "trixie",
    ("docker.io", "docker-cli", "docker-buildx", "iptables", "iproute2", "ca-certificates"),
)
BOOKWORM = Tree("bookworm", ("docker.io", "iptables", "iproute2", "ca-certificates"))


def is_debian_root() -> bool:
    """Return whether this is a Debian machine on which we are root."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def install(*packages: str) -> None:
    """Install the packages that are missing, with apt-get."""
    missing = [name for name in packages if not _installed(name)]
    if not missing:
        return
    print(f"  apt-get install {' '.join(missing)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-qy", "--no-install-recommends", *missing],
    ):
        _run(command, environment)


def _installed(package: str) -> bool:
    status = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return status.stdout == "installed"


def build(tree: Tree) -> Path:
    """Return the tree's folder, built first where there is none. Whole or not at all."""
    if tree.path.is_dir():
        return tree.path
    install("mmdebstrap")
    tree.path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=tree.path.parent))
    try:
        print(f"  building a Debian {tree.suite} tree", file=sys.stderr, flush=True)
        _run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(tree.packages)}",
                *(f"--aptopt={setting}" for setting in _apt_settings()),
                tree.suite,
                str(building / "tree"),
                _mirror(),
            ],
            dict(os.environ),
        )
        for name in ("engine", "old"):  # where dockerd.sh mounts
            (building / "tree" / name).mkdir()
        (building / "tree" / "etc" / "resolv.conf").touch()
        if not tree.path.is_dir():  # another run may have been quicker
            (building / "tree").rename(tree.path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return tree.path


def proot_source() -> Path:
    """Return the archive of proot's sources that Debian keeps: the one ``binder/proot.sh`` names.

    It compares the digest.
    """
    name = "proot_5.4.0.orig.tar.gz"
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        address = f"{_mirror().rstrip('/')}/pool/main/p/proot/{name}"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                part.write_bytes(answer.read())
        except OSError as error:
            raise MachineFallsShortError(f"{name} cannot be had from Debian: {error}") from error
        part.replace(path)
    return path


def _mirror() -> str:
    """Return the mirror that this machine's apt is set up with, in whatever kind of file."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for line in targets.splitlines():
        mirror, _, suite = line.rpartition(" ")
        if suite in {release, "stable", "testing", "unstable", "sid"}:
            return mirror
    raise MachineFallsShortError(
        f"This machine's apt names no Debian mirror for {release}: add one to /etc/apt."
    )


def _apt_settings() -> list[str]:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [
        line
        for line in dump.stdout.splitlines()
        if line.startswith(_APT_SETTINGS) and not line.endswith(' "";')
    ]


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise MachineFallsShortError(
            f"{last}\n{command[0]} failed (exit code {done.returncode}): see the lines above."
        )
