"""Secrets told by the names of variables and files: what is one, and what only sounds like one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.checks import CheckResult
from multistage.checks.secrets import check_secrets, looks_secret
from multistage.dockerfile import DockerfileError, parse
from multistage.images import File, ImageArchive
from multistage.images.layers import MeasuredLayer

PLAIN = "FROM scratch\n"


def image(*paths: str, size: int = 5, **config: Any) -> ImageArchive:
    files = tuple(File(path, size, 0o644) for path in paths)
    return ImageArchive(config, (MeasuredLayer("sha256:0", 0, 0, "app", files),))


def judged(text: str = PLAIN, archive: ImageArchive | None = None) -> CheckResult:
    found = check_secrets(parse(text), archive or image())
    assert (found.id, found.required) == ("secrets", True)
    assert len(found.hints) == (0 if found.passed else 3)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD", "DB_PASSWORD", "db_password", "POSTGRES_PASSWD", "KEY_PASSPHRASE", "SECRET",
        "CLIENT_SECRET", "SECRET_KEY", "TOKEN", "NPM_TOKEN", "GITHUB_TOKEN", "Token", "TOKEN_2",
        "API_KEY", "APIKEY", "OPENAI_API_KEY", "API_KEY_PROD", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "PRIVATE_KEY", "SSH_KEY", "SSH_PRIVATE_KEY", "DEPLOY_KEY",
        "CREDENTIALS", "GCP_CREDENTIAL", "API_KEYS", "AUTH_TOKENS", "PGPASSWORD", "DB_PASS",
        "DB_PWD", "NPM_AUTH", "githubToken", "dbPassword", "apiKey", "SSHPrivateKey",
        "SECRETKEY", "SECRETKEYBASE", "SECRET_KEY_BASE", "DBPASSWORD", "AUTHTOKEN", "npmtoken",
        "CLIENTSECRET", "PRIVATEKEY", "ACCESSKEY", "AWS_ACCESSKEYID", "SSHKEY", "BYPASS_TOKEN",
        "TOKEN_BY_MAIL",
    ],
)  # fmt: skip
def test_a_name_of_a_secret_is_one(name: str) -> None:
    assert looks_secret(name)
    found = judged(f"FROM scratch\nARG {name}\n")
    assert found.message.startswith(f"Line 2: ARG {name} looks like a secret")


@pytest.mark.parametrize(
    "name",
    [
        "MONKEY",
        "OKAPI_KEY", "TOKENIZERS", "TOKENIZERS_PARALLELISM", "KEYBOARD", "KEY", "KEYS", "GPG_KEY",
        "PUBLIC_KEY", "SECRETARY", "PASS", "COMPASS", "PATH", "NODE_ENV", "CGO_ENABLED", "GOFLAGS",
        "ZONEINFO", "PORT", "NGINX_VERSION", "PKG_RELEASE", "NODE_VERSION", "YARN_VERSION",
        "SOURCE_DATE_EPOCH", "TARGETARCH", "_", "PWD", "AUTH", "TOKEN_FILE", "SECRET_PATH",
        "POSTGRES_PASSWORD_FILE", "SECRETS_DIR", "TOKEN_URL", "tokenFile", "Tokenizer",
        "PASSWORD_MIN_LENGTH", "TOKEN_LIFETIME", "ACCESS_TOKEN_TTL", "BY_PASS", "OLD_PWD", "BYPASS",
        "OLDPWD", "MAX_TOKENS", "passwordMinLength", "SECRET_NAME", "USE_AUTH", "SSHKEYGEN",
        "SECRETKEYRING", "TOKENIZER", "JWT_TOKEN_EXPIRES",
    ],
)  # fmt: skip
def test_a_name_that_only_sounds_like_a_secret_is_none(name: str) -> None:
    assert not looks_secret(name)
    assert judged(f"FROM scratch\nARG {name}=1\nENV {name}=1\n").passed


@given(st.text())
def test_any_name_is_judged(name: str) -> None:
    assert looks_secret(name) in (True, False)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ARG NPM_TOKEN\nFROM scratch\n", 1),
        ("FROM a:1 AS build\nARG VERSION=1 NPM_TOKEN=x\nFROM scratch\n", 2),
        ("FROM a:1 AS build\nENV A=1 \\\n  API_KEY=x\nFROM scratch\n", 2),
        ("FROM scratch\nENV TOKEN value with blanks\n", 2),
        ("from scratch\nenv token=x\n", 2),
        ("FROM scratch\nENV TOKEN=$OTHER\n", 2),
        ("FROM scratch\nENV TOKEN=\n", 0),
        ('FROM scratch\nENV TOKEN=""\n', 0),
        ("FROM scratch\nENV TOKEN='' API_KEY=x\n", 2),
        ("FROM scratch\nENV A=TOKEN\n", 0),
        ("FROM scratch\nLABEL TOKEN=x\n", 0),
        ("FROM a:1\nRUN --mount=type=secret,id=token TOKEN=$(cat /run/secrets/token) x\n", 0),
        ("FROM a:1\nRUN --mount=type=secret,id=token,env=TOKEN x\n", 0),
        ("FROM scratch\n# ARG TOKEN\n", 0),
        ("FROM a:1\nRUN <<EOF\nARG TOKEN\nEOF\n", 0),
    ],
)
def test_the_dockerfile_is_read_in_every_stage(text: str, line: int) -> None:
    found = judged(text)
    assert found.passed is (line == 0), found.message
    assert not line or found.message.startswith(f"Line {line}: ")


def test_the_environment_that_the_image_has_is_read_whoever_set_it() -> None:
    found = judged(archive=image(config={"Env": ["PATH=/bin", "NPM_TOKEN=abc"]}))
    assert found.message == "The image's environment has NPM_TOKEN."
    assert "abc" not in found.message
    for harmless in (["PATH=/secret/token", "GPG_KEY=1"], ["TOKEN="], ["TOKEN"]):
        assert judged(archive=image(config={"Env": harmless})).passed


@pytest.mark.parametrize(
    ("created_by", "passed"),
    [
        ("RUN |1 NPM_TOKEN=abc /bin/sh -c npm ci # buildkit", False),
        ("|1 NPM_TOKEN=abc /bin/sh -c npm ci", False),
        ("|2 VERSION=1 NPM_TOKEN=a b c /bin/sh -c npm ci", False),
        ("RUN |2 VERSION= NPM_TOKEN=abc /bin/sh -c npm ci # buildkit", False),
        ("RUN |2 NPM_TOKEN= VERSION=1 /bin/sh -c npm ci # buildkit", True),  # declared, not given
        ("RUN |1 VERSION=1 /bin/bash -c TOKEN=$(cat /run/secrets/t) npm ci", True),
        ("RUN |1 VERSION=1 /bin/ash -eo pipefail -c TOKEN=x npm ci", True),
        ("RUN |1 VERSION=1 /bin/sh -c npm ci # buildkit", True),
        ("RUN |1 VERSION=1 /bin/sh -c TOKEN=$(cat /run/secrets/t) npm ci # buildkit", True),
        ("RUN /bin/sh -c TOKEN=$(cat /run/secrets/t) npm ci # buildkit", True),
        ("/bin/sh -c TOKEN=$(cat /run/secrets/t) npm ci", True),
        ("/bin/sh -c #(nop)  ENV PATH=/bin", True),
        ("COPY /app/dist /usr/share/nginx/html # buildkit", True),
        ("", True),
        (None, True),
    ],
)
def test_the_values_that_a_builder_wrote_into_the_history_are_found(
    created_by: str | None, passed: bool
) -> None:
    found = judged(archive=image(history=[{"created_by": "CMD x"}, {"created_by": created_by}]))
    assert found.passed is passed
    if not passed:
        assert found.message == "The image's history has the value of NPM_TOKEN."


@pytest.mark.parametrize(
    ("path", "passed"),
    [
        ("app/.env", False), (".env", False), ("app/.env.local", False),
        ("app/.env.production", False), ("app/.env.example", True), ("app/.env.sample", True),
        ("app/.env.template", True), ("app/env", True), ("app/x.env", True),
        ("app/.envrc", True), ("root/.npmrc", False), ("root/.netrc", False),
        ("root/.pypirc", False), ("root/.git-credentials", False), ("root/.ssh/id_rsa", False),
        ("root/.ssh/id_ed25519", False), ("root/.ssh/id_rsa.pub", True),
        ("etc/ssl/private/server.key", False), ("etc/ssl/certs/ca-certificates.crt", True),
        ("root/.aws/credentials", False), ("root/.docker/config.json", False),
        ("app/config.json", True), ("etc/apk/keys/alpine-devel.rsa.pub", True),
        ("usr/local/lib/node_modules/npm/.npmrc", True), ("usr/share/dns/root.key", True),
        ("usr/lib/python3/test/x.key", True), ("app/keyboard", True), ("etc/x.key/readme", True),
        ("usr/share/nginx/html/assets/index-1.js", True),
    ],
)  # fmt: skip
def test_files_that_hold_secrets_are_found_by_their_names(path: str, passed: bool) -> None:
    found = judged(archive=image("server", path))
    assert found.passed is passed
    assert found.message == (
        "Nothing looks like one." if passed else f"/{path} is in a layer of the image."
    )


def test_an_empty_file_or_a_link_is_no_secret() -> None:
    assert judged(archive=image("app/.env", size=0)).passed


def test_a_secret_in_any_layer_is_found_though_a_later_one_deletes_it() -> None:
    layers = [
        MeasuredLayer("sha256:0", 0, 0, "app", (File(path, 5, 0o644),))
        for path in ("a", "app/.env", "b")
    ]
    assert not judged(archive=ImageArchive({}, tuple(layers))).passed


def test_the_dockerfile_is_told_first_because_it_can_be_mended() -> None:
    archive = image(".env", config={"Env": ["TOKEN=1"]})
    assert judged("FROM scratch\nENV TOKEN=1\n", archive).message.startswith("Line 2: ")


@pytest.mark.parametrize(
    "config", [{}, {"config": None}, {"config": {"Env": None}}, {"history": None}]
)
def test_an_image_without_configuration_has_no_secret(config: dict[str, Any]) -> None:
    assert judged(archive=ImageArchive(config, ())).passed


@given(st.lists(st.text()), st.lists(st.text()), st.lists(st.text()))
def test_whatever_an_image_says_is_judged(
    env: list[str], history: list[str], paths: list[str]
) -> None:
    entries: list[Any] = [{"created_by": f"RUN |1 {line}"} for line in history]
    archive = image(*paths, config={"Env": env}, history=[*entries, None, "x"])
    assert check_secrets(parse(PLAIN), archive).passed in (True, False)


@given(st.text())
def test_whatever_a_dockerfile_declares_is_judged(text: str) -> None:
    try:
        model = parse(f"FROM scratch\nARG {text}\nENV {text}\n")
    except DockerfileError:
        return
    assert check_secrets(model, image()).passed in (True, False)
