"""Fetches what stand-ins are made of: Debian packages, PyPI wheels, npm packages.

Only the machine's own package tools are asked, so its mirrors, proxies and certificates hold.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multistage.errors import MachineError

_TAIL = 3  # lines of a failed tool's output that are shown


@dataclass(frozen=True, slots=True)
class AptFolder:
    """A private apt state, so that an ordinary user can resolve and download packages."""

    folder: Path

    def options(self) -> list[str]:
        """Return the options that make apt-get use this folder and nothing of the system's."""
        settings = {
            "Dir::State": self.folder / "state",
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::SourceList": self.folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Debug::NoLocking": "true",
            "APT::Install-Recommends": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "APT::Sandbox::User": "",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Fetch the package lists of the release that stand-ins are made from."""
        for name in ("state", "lists/partial", "cache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # An empty status file says that nothing is installed: then everything is resolved.
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(f"{source_line()}\n", "utf-8")
        _run(["apt-get", *self.options(), "-qq", "update"], "Debian's package lists")

    def download(self, packages: Sequence[str], folder: Path) -> list[Path]:
        """Download packages and all they depend on; return the .deb files, sorted."""
        (folder / "partial").mkdir(parents=True)
        words = ["apt-get", *self.options(), "-o", f"Dir::Cache::archives={folder}", "-qq", "-y"]
        _run([*words, "--download-only", "install", *packages], "Debian's packages")
        return sorted(folder.glob("*.deb"))


def apt(folder: Path) -> AptFolder:
    """Return a private apt state under ``folder``.

    Raises:
        MachineError: this machine has no apt-get.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise MachineError(
            "The registry cannot be reached, and stand-in bases need a Debian machine.",
            mend="Connect to the network so that base images can be pulled.",
        )
    return AptFolder(folder)


def source_line() -> str:
    """Return the apt source of stand-ins: Debian's release, from this machine's own mirror.

    Raises:
        MachineError: this machine's apt has no Debian mirror.
    """
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]
    for line in _run([*words, "Created-By: Packages"], "Debian's mirror").splitlines():
        address, suite, component = line.split()
        if suite in _SUITES and component == "main":
            return f"deb [signed-by={_KEYRING}] {address} {RELEASE} main"
    raise MachineError(
        "Stand-in bases are made from Debian's packages, and this machine's apt names no mirror.",
        mend="Connect to the network so that base images can be pulled.",
    )


# One release for all machines, so that stand-ins are the same everywhere. Its musl (1.2.5) knows
# the relocations (DT_RELR) of current musl programs; that of Debian 12 does not, and crashes.
RELEASE = "trixie"
_SUITES = ("bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def machine() -> str:
    """Return this machine's architecture in Python's words: ``x86_64`` or ``aarch64``."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


def wheel(requirement: str, libc: str, folder: Path) -> Path:
    """Download a wheel for this machine's processor and ``libc`` (manylinux or musllinux)."""
    target = folder / requirement.replace("==", "-")
    platforms = [f"{libc}_{tag}_{machine()}" for tag in _LIBC_TAGS[libc]]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    words += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(target)]
    for name in platforms:
        words += ["--platform", name]
    _run([*words, requirement], requirement)
    return next(iter(target.glob("*.whl")))


_LIBC_TAGS = {"manylinux": ("2_28", "2_17", "2_12"), "musllinux": ("1_2", "1_1")}


def npm_package(specification: str, folder: Path) -> Path:
    """Download an npm package, ``name@version``; return the .tgz file."""
    npm = shutil.which("npm")
    if npm is None:
        raise MachineError(
            f"The stand-in needs npm to fetch {specification}.", mend="Install npm: apt install npm"
        )
    folder.mkdir(parents=True, exist_ok=True)
    words = [npm, "pack", "--silent", "--pack-destination", str(folder), specification]
    return folder / _run(words, specification).split()[-1]


def _run(words: list[str], what: str) -> str:
    """Run a tool and return its standard output.

    Raises:
        MachineError: it failed, most often because there is no network or no disk space.
    """
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise MachineError(f"{words[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()][-_TAIL:]
        raise MachineError(
            f"{what} could not be fetched: {' '.join(lines) or f'exit code {done.returncode}'}",
            mend="Check the network connection and the free disk space, then try again.",
        )
    return done.stdout
