"""Is a secret in the image, its history, or the Dockerfile? Told by names: values are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from multistage.checks.results import CheckResult, result
from multistage.dockerfile import Dockerfile, Instruction
from multistage.images import ImageArchive

# Whole words of a variable's name, between underscores.
_WORDS = {"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "SECRETS", "TOKEN", "CREDENTIAL",
          "CREDENTIALS", "APIKEY"}  # fmt: skip
_KEYS = re.compile(r"(^|_)(API|ACCESS|PRIVATE|SECRET|DEPLOY|SSH)_KEY(_|$)")
_FILES = re.compile(
    r"(^|/)(\.env(\.(?!example|sample|template)[^/]+)?|\.npmrc|\.netrc|\.pypirc|\.git-credentials"
    r"|id_(rsa|dsa|ecdsa|ed25519)|[^/]+\.key|\.aws/credentials|\.docker/config\.json)$"
)
# npm brings an .npmrc of its own, which holds no secret.
_NO_SECRET = re.compile(r"(^|/)(node_modules|usr/share|usr/lib|usr/local/go)/")


def secrets(model: Dockerfile, image: ImageArchive) -> CheckResult:
    """Return whether nothing is found that looks like a secret."""
    places = (_in_dockerfile(model), _in_config(image), _in_layers(image))
    found = next(chain.from_iterable(places), "")
    return result(
        "secrets", "No secret is in the image, its history or the Dockerfile", not found,
        found or "Nothing looks like one.",
        ("Who can read this, once the image is pushed?",
         "What ARG and ENV are given stays in the image's history or its build record, and a file "
         "stays in its layer also when it is deleted later. A secret mount leaves nothing.",
         "RUN --mount=type=secret,id=token …, and docker build --secret id=token,src=<file>"),
    )  # fmt: skip


def looks_secret(name: str) -> bool:
    """Return whether a variable of this name is likely to hold a secret."""
    upper = name.upper()
    return bool(_WORDS & set(upper.split("_")) or _KEYS.search(upper))


def _in_dockerfile(model: Dockerfile) -> Iterator[str]:
    for instruction in model.instructions:
        for name in _given(instruction):
            if looks_secret(name):
                yield (
                    f"Line {instruction.line}: {instruction.keyword} {name} looks like a "
                    "secret, and can be read by everybody who has the image or this file."
                )


def _given(instruction: Instruction) -> list[str]:
    """Return the names of the variables that an ARG declares, or an ENV gives a value."""
    values = instruction.values
    if instruction.keyword == "ARG":
        return [value.partition("=")[0] for value in values]
    if instruction.keyword == "ENV":
        return [name for name, value in zip(values[::2], values[1::2], strict=False) if value]
    return []


def _in_config(image: ImageArchive) -> Iterator[str]:
    for variable in (image.config.get("config") or {}).get("Env") or []:
        name = str(variable).partition("=")[0]
        if looks_secret(name):
            yield f"The image's environment has {name}."
    for entry in image.config.get("history") or []:
        created_by = str(entry.get("created_by") or "") if isinstance(entry, dict) else ""
        for name in re.findall(r"(\w+)=", _arguments(created_by)):
            if looks_secret(name):
                yield f"The image's history has the value of {name}."


def _arguments(created_by: str) -> str:
    """Return the build arguments that builders write in front of RUN's command: ``|1 A=b``."""
    head = created_by.removeprefix("RUN ")
    return head.partition("/bin/sh -c")[0] if head.startswith("|") else ""


def _in_layers(image: ImageArchive) -> Iterator[str]:
    for layer in image.layers:
        for file in layer.files:
            if file.size and _FILES.search(file.path) and not _NO_SECRET.search(file.path):
                yield f"/{file.path} is in a layer of the image."
