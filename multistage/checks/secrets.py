"""Is a secret in the image, its history, or the Dockerfile? Told by names: values are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise

from multistage.checks.results import CheckResult, result
from multistage.dockerfile import Dockerfile, Instruction
from multistage.images import ImageArchive

# Words of a variable's name: in capitals or not, between underscores or where a capital begins.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# One word, or several that are written as one: DBPASSWORD, SECRETKEYBASE.
_SECRET = re.compile(
    r"\w*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL)S?"
    r"|\w*(API|ACCESS|PRIVATE|SECRET|DEPLOY|SSH)KEYS?(ID|BASE)?"
)
_LAST_WORDS = {"PASS", "PWD", "AUTH"}  # behind another word: PWD alone is the working directory
_NO_SECRET_BEHIND = {"BY", "OLD", "NO", "USE", "SKIP", "ENABLE", "DISABLE"}  # BY_PASS, OLD_PWD
_COUNTS = {"MIN", "MAX", "NUM"}  # MAX_TOKENS
_KEYS = {"API", "ACCESS", "PRIVATE", "SECRET", "DEPLOY", "SSH"}
# Behind it: where the secret is, what is asked of it, how long it lasts; not what it is.
_ABOUT = {"FILE", "PATH", "DIR", "URL", "URI", "HOST", "ENDPOINT", "NAME", "TYPE", "HEADER",
          "ISSUER", "AUDIENCE", "ALGORITHM", "LENGTH", "SIZE", "MIN", "MAX", "LIMIT", "COUNT",
          "LIFETIME", "TTL", "TIMEOUT", "EXPIRY", "EXPIRES", "EXPIRATION", "AGE", "SECONDS",
          "MINUTES", "HOURS", "DAYS", "POLICY", "REGEX", "PATTERN", "ROUNDS",
          "ENABLED", "REQUIRED"}  # fmt: skip
_FILES = re.compile(
    r"(^|/)(\.env(\.(?!example|sample|template)[^/]+)?|\.npmrc|\.netrc|\.pypirc|\.git-credentials"
    r"|id_(rsa|dsa|ecdsa|ed25519)|[^/]+\.key|\.aws/credentials|\.docker/config\.json)$"
)
# npm brings an .npmrc of its own, which holds no secret.
_NO_SECRET = re.compile(r"(^|/)(node_modules|usr/share|usr/lib|usr/local/go)/")


def check_secrets(model: Dockerfile, image: ImageArchive) -> CheckResult:
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
    words = [word.upper() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or words[0] in _COUNTS:
        return False
    keys = list(pairwise(words))
    return (
        any(_SECRET.fullmatch(word) for word in words)
        or any(last in _LAST_WORDS and word not in _NO_SECRET_BEHIND for word, last in keys[-1:])
        or any(kind in _KEYS and key in ("KEY", "KEYS") for kind, key in keys)
    )


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
        pairs = zip(values[::2], values[1::2], strict=False)
        return [name for name, value in pairs if value.strip("\"'")]
    return []


def _in_config(image: ImageArchive) -> Iterator[str]:
    for variable in (image.config.get("config") or {}).get("Env") or []:
        name, _, value = str(variable).partition("=")
        if value and looks_secret(name):
            yield f"The image's environment has {name}."
    for entry in image.config.get("history") or []:
        created_by = str(entry.get("created_by") or "") if isinstance(entry, dict) else ""
        for name in _arguments(created_by):
            if looks_secret(name):
                yield f"The image's history has the value of {name}."


def _arguments(created_by: str) -> list[str]:
    """Return the build arguments that builders write in front of RUN's command: ``|1 A=b``."""
    match = re.match(r"(?:RUN )?\|(\d{1,3}) ", created_by)
    if match is None:
        return []
    found = re.findall(r"(?:^| )(\w+)=(\S?)", created_by[match.end() - 1 :])
    return [name for name, value in found[: int(match[1])] if value]


def _in_layers(image: ImageArchive) -> Iterator[str]:
    for layer in image.layers:
        for file in layer.files:
            if file.size and _FILES.search(file.path) and not _NO_SECRET.search(file.path):
                yield f"/{file.path} is in a layer of the image."
