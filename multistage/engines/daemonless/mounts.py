"""``RUN --mount``: what it says, and what is refused.

https://docs.docker.com/reference/dockerfile/#run---mount
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from multistage.dockerfile import Dockerfile, DockerfileError, Instruction
from multistage.dockerfile.errors import did_you_mean

KINDS = ("bind", "cache", "tmpfs", "secret")
_OPTIONS = {
    "bind": {"source", "target", "from", "readwrite"},
    "cache": {"id", "target", "readonly", "sharing", "from", "source", "mode", "uid", "gid"},
    "tmpfs": {"target", "size"},
    "secret": {"id", "target", "required", "mode", "uid", "gid", "env"},
}
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_SHARING = ("shared", "private", "locked")
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class RunMount:
    """One ``--mount``. ``size`` in bytes; ``mode`` as a number.

    Attributes:
        origin: the stage or image that a bind or a cache comes from, ``None`` for the context.
    """

    kind: str
    target: str
    source: str = ""
    origin: int | str | None = None
    id: str = ""
    read_only: bool = True
    sharing: str = "shared"
    size: int = 0
    mode: int = 0o755
    user: int = 0
    group: int = 0
    required: bool = False
    variable: str = ""


def read_mount(text: str, folder: str, instruction: Instruction, model: Dockerfile) -> RunMount:
    """Return what one ``--mount`` says; ``folder`` is the working folder.

    Raises:
        DockerfileError: it is malformed; names the line.
    """
    options: dict[str, str] = {}
    for part in text.split(","):
        name, has_value, value = part.partition("=")
        name = _ALIASES.get(name.strip().lower(), name.strip().lower())
        options[name] = value if has_value else "true"
    kind = options.pop("type", "bind")

    def error(what: str, mend: str = "") -> DockerfileError:
        return DockerfileError(what, path=model.path, line=instruction.line, mend=mend)

    if kind == "ssh":
        raise error(
            "This engine does not know RUN --mount=type=ssh.",
            "Copy the sources into the build context, or build with Docker.",
        )
    if kind not in KINDS:
        raise error(f"RUN --mount knows no type {kind}.", did_you_mean(kind, KINDS))
    try:
        options = _read_write(kind, options)
    except ValueError as fault:
        raise error(f"RUN --mount={text}: {fault}.") from fault
    for name in options:
        if name not in _OPTIONS[kind]:
            mend = did_you_mean(name, sorted(_OPTIONS[kind]))
            raise error(f"RUN --mount=type={kind} has no option {name}.", mend)
    if options.get("sharing", "shared") not in _SHARING:
        raise error(f"sharing={options['sharing']} is none of {', '.join(_SHARING)}.")
    if kind != "secret" and not options.get("target"):
        raise error(f"RUN --mount=type={kind} has no target.", "Add target=<folder>.")
    if kind == "secret" and not (options.get("id") or options.get("target")):
        raise error("RUN --mount=type=secret has no id.", "Add id=<name>.")
    try:
        return _mount(kind, options, folder, _origin(options.get("from"), instruction, model))
    except ValueError as fault:
        raise error(f"RUN --mount={text}: {fault}.") from fault


def _read_write(kind: str, options: dict[str, str]) -> dict[str, str]:
    """Return the options with one word each for what may be written to in two."""
    options = dict(options)
    if kind == "bind" and "readonly" in options:
        options["readwrite"] = "false" if _is_true(options.pop("readonly")) else "true"
    if kind == "cache" and "readwrite" in options:
        options["readonly"] = "false" if _is_true(options.pop("readwrite")) else "true"
    return options


def _mount(kind: str, options: dict[str, str], folder: str, origin: int | str | None) -> RunMount:
    name = options.get("id", "")
    target = options.get("target") or ""
    if kind == "secret":
        name = name or posixpath.basename(target)
        target = target or ("" if options.get("env") else f"/run/secrets/{name}")
    if target:
        target = posixpath.normpath(posixpath.join("/", folder, target))
    writable = {
        "bind": _is_true(options.get("readwrite", "false")),
        "cache": not _is_true(options.get("readonly", "false")),
        "tmpfs": True,
        "secret": False,
    }
    return RunMount(
        kind=kind,
        target=target,
        source=options.get("source", "/" if kind == "bind" else ""),
        origin=origin,
        id=name or target,
        read_only=not writable[kind],
        sharing=options.get("sharing", "shared"),
        size=_size(options.get("size", "0")),
        mode=_number(options.get("mode") or ("0400" if kind == "secret" else "0755"), 8, 0o7777),
        user=_number(options.get("uid", "0")),
        group=_number(options.get("gid", "0")),
        required=_is_true(options.get("required", "false")),
        variable=options.get("env", ""),
    )


def _is_true(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", ""):
        raise ValueError(f"{text} is neither true nor false")
    return text.lower() in ("true", "1", "")


def _number(text: str, base: int = 10, most: int = 2**32 - 2) -> int:
    number = int(text, base)
    if not 0 <= number <= most:
        raise ValueError(f"{text} is out of range")
    return number


def _size(text: str) -> int:
    digits = text.rstrip("bBkKmMgG")
    unit = text[len(digits) :].lower().removesuffix("b") if digits != text else ""
    if not digits.isdigit() or unit not in _SIZES:
        raise ValueError(f"{text} is no size")
    return int(digits) * _SIZES[unit]


def _origin(name: str | None, instruction: Instruction, model: Dockerfile) -> int | str | None:
    if not name:
        return None
    for edge in model.edges:
        if (
            edge.kind == "mount"
            and edge.line == instruction.line
            and _names(model, edge.source, name)
        ):
            return edge.source
    return name


def _names(model: Dockerfile, source: int | str, name: str) -> bool:
    if isinstance(source, str):
        return source == name
    stage = model.stages[source]
    return name.lower() in ((stage.name or "").lower(), str(source))
