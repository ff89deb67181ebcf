"""An image's config as instructions change it, and what they write into its history. Pure.

Format: https://github.com/opencontainers/image-spec/blob/main/config.md and, for Healthcheck,
Shell, OnBuild and ArgsEscaped, https://github.com/moby/docker-image-spec/blob/main/spec.md.
The history's wording is BuildKit's (dockerfile2llb/convert.go).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"^(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MAX_PORT = 65535
_MAX_PORTS = 1000  # of one range


class ConfigError(ValueError):
    """A value that cannot stand in a config: what is wrong with it."""


def empty() -> dict[str, Any]:
    """Return the config of ``scratch``."""
    return {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}


def from_image(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an image's config document that instructions change."""
    return copy.deepcopy(dict(document.get("config") or {}))


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of a config."""
    pairs = (str(entry).partition("=") for entry in config.get("Env") or [])
    return {name: value for name, _, value in pairs}


def set_environment(config: dict[str, Any], name: str, value: str) -> None:
    """Set one environment variable, in its old place where it has one."""
    entries = list(config.get("Env") or [])
    for place, entry in enumerate(entries):
        if str(entry).partition("=")[0] == name:
            entries[place] = f"{name}={value}"
            break
    else:
        entries.append(f"{name}={value}")
    config["Env"] = entries


def shell(config: Mapping[str, Any]) -> list[str]:
    """Return the words that go in front of a command in shell form."""
    return list(config.get("Shell") or _DEFAULT_SHELL)


def expose(config: dict[str, Any], ports: Sequence[str]) -> list[str]:
    """Add ports; return them as ``80/tcp``, sorted.

    Raises:
        ConfigError: it is no port.
    """
    added = []
    for text in ports:
        match = _PORT.match(text)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if match is None or not 0 < first <= last <= _MAX_PORT or last - first > _MAX_PORTS:
            raise ConfigError(f"{text} is no port")
        kind = (match[3] or "tcp").lower()
        added += [f"{port}/{kind}" for port in range(first, last + 1)]
    exposed = config.setdefault("ExposedPorts", None) or {}
    config["ExposedPorts"] = {**exposed, **{port: {} for port in added}}
    return sorted(added)


def healthcheck(
    flags: Mapping[str, str], values: Sequence[str], *, json_form: bool
) -> dict[str, Any]:
    """Return the ``Healthcheck`` of a config; durations are in nanoseconds.

    Raises:
        ConfigError: a duration or the number of retries cannot be read.
    """
    kind = values[0].upper()
    if kind == "NONE":
        return {"Test": ["NONE"]}
    test = ["CMD", *values[1:]] if json_form else ["CMD-SHELL", " ".join(values[1:])]
    found: dict[str, Any] = {"Test": test}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    for flag, name in names.items():
        if flags.get(flag):
            found[name] = nanoseconds(flags[flag])
    if flags.get("retries"):
        if not flags["retries"].isdigit():
            raise ConfigError(f"--retries={flags['retries']} is no number")
        found["Retries"] = int(flags["retries"])
    return {name: value for name, value in found.items() if value != 0}


def nanoseconds(text: str) -> int:
    """Return a duration such as ``1m30s`` in nanoseconds (Go's time.ParseDuration).

    Raises:
        ConfigError: it is no duration.
    """
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        raise ConfigError(f"{text} is no duration: write 30s, or 1m30s")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)


def quoted(words: Sequence[str]) -> str:
    """Return words as Go prints a list with ``%q``."""
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def document(
    base: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    diff_ids: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    *,
    created: str,
    platform: str,
    author: str = "",
) -> dict[str, Any]:
    """Return a whole config document."""
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    made: dict[str, Any] = {"architecture": architecture, "os": system}
    for name in ("variant", "os.version", "os.features"):
        if base and base.get(name):
            made[name] = base[name]
    if variant and "variant" not in made:
        made["variant"] = variant
    if author or (base or {}).get("author"):
        made["author"] = author or (base or {})["author"]
    made["created"] = created
    made["config"] = dict(config)
    made["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    made["history"] = [dict(entry) for entry in history]
    return made
