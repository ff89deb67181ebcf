"""An image's config as instructions change it, and what they write into its history. Pure.

Format: https://github.com/opencontainers/image-spec/blob/main/config.md and, for Healthcheck,
Shell, OnBuild and ArgsEscaped, https://github.com/moby/docker-image-spec/blob/main/spec.md.
The history's wording is BuildKit's (dockerfile2llb/convert.go).
"""

from __future__ import annotations

import copy
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_SHELL = ("/bin/sh", "-c")
# As for ``docker run --publish``; what stands in front of the container's port means nothing here.
_PORT = re.compile(r"^(?:[\d.:-]*:)?(\d{1,9})(?:-(\d{1,9}))?(?:/(tcp|udp|sctp))?$", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(ns|us|µs|ms|s|m|h)")
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
# What BuildKit knows of a base image's config, and so all that the images built on it keep.
_KNOWN = frozenset([
    "ArgsEscaped", "Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild",
    "Shell", "StopSignal", "StopTimeout", "User", "Volumes", "WorkingDir",
])  # fmt: skip
_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", "\\": "\\"}
_QUOTE = '"'
_ASCII = 0x7F
_BASIC_PLANE = 0x10000
_SURROGATES = range(0xD800, 0xE000)  # no characters
_NUMBER = re.compile("[0-9]{1,3}")
_MAX_SIGNAL = 64
_MIN_REAL_TIME = 34  # the C library keeps two of the kernel's 32
_REAL_TIME = re.compile(r"RTMIN(\+(?:1[0-5]|[1-9]))?|RTMAX(-(?:1[0-4]|[1-9]))?")
# https://man7.org/linux/man-pages/man7/signal.7.html
_SIGNALS = frozenset([
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL",
    "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
    "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
])  # fmt: skip
_MAX_PORT = 65535
_MAX_PORTS = 1000  # of one range


class ConfigError(ValueError):
    """A value that cannot stand in a config: what is wrong with it."""


def empty() -> dict[str, Any]:
    """Return the config of ``scratch``."""
    return {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}


def from_image(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an image's config document that instructions change.

    What is of another kind there than it has to be is left out.
    """
    found = document.get("config")
    config = found if isinstance(found, dict) else {}
    return copy.deepcopy(
        {n: value for n, value in config.items() if n in _KNOWN and _is_sound(n, value)}
    )


def _is_sound(name: str, value: object) -> bool:
    if name in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild"):
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if name in ("Labels", "ExposedPorts", "Volumes", "Healthcheck"):
        return isinstance(value, dict)
    return name not in ("WorkingDir", "User", "StopSignal") or isinstance(value, str)


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
    exposed = config.get("ExposedPorts") or {}
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
        if len(values) > 1:
            raise ConfigError("NONE takes nothing behind it")
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
            if 0 < found[name] < _UNITS["ms"]:
                raise ConfigError(f"--{flag}={flags[flag]} is less than a millisecond")
    if flags.get("retries"):
        if not re.fullmatch("[0-9]{1,9}", flags["retries"]):
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


def check_signal(name: str) -> None:
    """Refuse what is no signal of Linux: a number, or a name with or without ``SIG``.

    Raises:
        ConfigError: it is none.
    """
    if _NUMBER.fullmatch(name) and 0 < int(name) <= _MAX_SIGNAL:
        return
    if name.upper().removeprefix("SIG").partition("+")[0].partition("-")[0] not in _SIGNALS:
        raise ConfigError(f"{name} is no signal")


def stop_signal(config: Mapping[str, Any]) -> int:
    """Return the number of a config's stop signal; that of SIGTERM where it names none of Linux.

    Numbers and names are Docker's: https://github.com/moby/sys/blob/main/signal/signal_linux.go
    """
    name = str(config.get("StopSignal") or "").upper()
    if _NUMBER.fullmatch(name):
        return int(name) if 0 < int(name) <= _MAX_SIGNAL else signal.SIGTERM
    name = name.removeprefix("SIG")
    if real_time := _REAL_TIME.fullmatch(name):
        first = _MAX_SIGNAL if name.startswith("RTMAX") else _MIN_REAL_TIME
        return first + int(real_time[1] or real_time[2] or 0)
    known = name in _SIGNALS
    return int(getattr(signal, f"SIG{name}", signal.SIGTERM)) if known else signal.SIGTERM


def quoted(words: Sequence[str]) -> str:
    """Return words as Go prints a list with ``%q``."""
    return "[" + " ".join(f'"{_escaped(word, _QUOTE)}"' for word in words) + "]"


def shown_healthcheck(found: Mapping[str, Any]) -> str:
    """Return a ``Healthcheck`` as BuildKit writes it into the history: its fields by ``%q``."""
    names = ("Interval", "Timeout", "StartPeriod", "StartInterval")
    times = " ".join(f'"{_duration(found.get(name, 0))}"' for name in names)
    retries = _escaped(_character(found.get("Retries", 0)), "'")
    return f"&{{{quoted(found['Test'])} {times} '{retries}'}}"


def _character(code: int) -> str:
    """Return the character of a code as Go has it: U+FFFD where there is none."""
    is_one = code <= sys.maxunicode and code not in _SURROGATES
    return chr(code) if is_one else "\ufffd"


def _escaped(text: str, quote: str) -> str:
    """Return a text as Go's strconv.Quote has it between its quotes."""
    out = []
    for character in text:
        code = ord(character)
        if character in (quote, *_ESCAPES):
            out.append("\\" + _ESCAPES.get(character, character))
        elif character == " " or character.isprintable():
            out.append(character)
        elif code <= _ASCII:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < _BASIC_PLANE else f"\\U{code:08x}")
    return "".join(out)


def _duration(nanos: int) -> str:
    """Return nanoseconds as Go's time.Duration prints them: ``1m30s``, ``500ms``, ``0s``."""
    for unit in ("ns", "µs", "ms"):
        if 0 < nanos < _UNITS["s"] and nanos < _UNITS[unit] * 1000:
            return f"{nanos / _UNITS[unit]:.9f}".rstrip("0").rstrip(".") + unit
    minutes, rest = divmod(nanos, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    whole, part = divmod(rest, _UNITS["s"])
    seconds = f"{whole}" + (f".{part:09d}".rstrip("0") if part else "")
    front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{front}{seconds}s"


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
    made["config"] = {name: value for name, value in config.items() if value or value == 0}
    made["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    made["history"] = [dict(entry) for entry in history]
    return made
