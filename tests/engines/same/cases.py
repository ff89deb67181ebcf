"""What the folders of the cases cannot hold: options of the build, and files Git would mangle."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).parent
CONFIG_ALONE = ("scratch-config", "scratch-settings")
_NOT_AMONG_THE_OTHERS = {"address", *CONFIG_ALONE}
NAMES = sorted(
    folder.name
    for folder in CASES.iterdir()
    if (folder / "Dockerfile").is_file() and folder.name not in _NOT_AMONG_THE_OTHERS
)
SERVED = b"served\n"
BASE = "same-base"
ONBUILD_BASE = "same-onbuild"

# alpine's stand-in with a few users. No user of the machine has these numbers.
BASE_DOCKERFILE = """\
FROM alpine:latest
RUN printf 'app:x:1000:1000:App:/home/app:/bin/sh\\nother:x:1001:1002::/home/other:/bin/sh\\n' \\
      >> /etc/passwd && \\
    printf 'app:x:1000:\\nother:x:1002:\\nextra:x:3000:app,other\\nmore:x:3001:app\\n' \\
      >> /etc/group && \\
    mkdir -p /home/app && chown app:app /home/app && ln -sf busybox /bin/vi
ENV BASE=yes
"""
ONBUILD_DOCKERFILE = f"""\
FROM {BASE}
ONBUILD ARG NAME=triggered
ONBUILD COPY one /triggered/
ONBUILD RUN echo $NAME  "two blanks" > /ran
ONBUILD USER app
"""


@dataclass(frozen=True)
class Options:
    """How a case is built. ``prepare`` adds to a copy of its folder."""

    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    secret: bytes | None = None
    prepare: Callable[[Path], None] = lambda folder: None


def _links(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "real-folder" / "below").mkdir(parents=True)
    (folder / "real-folder" / "inner").write_text("inner\n")
    (folder / "real-folder" / "below" / "deep").write_text("deep\n")
    for name, target in {
        "link": "one",
        "linked-folder": "real-folder",
        "folder/link": "../one",
        "folder/dangling": "nowhere",
        "folder/absolute": "/etc/passwd",
        "lost": "folder/dangling-too",
    }.items():
        (folder / name).symlink_to(target)
    (folder / "folder" / "dangling-too").write_text("x\n")


def _empty(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "nested" / "a" / "b").mkdir(parents=True)
    (folder / "zero").touch()


def _hard_links(folder: Path) -> None:
    (folder / "first").write_text("linked\n")
    (folder / "second").hardlink_to(folder / "first")
    (folder / "sub").mkdir()
    (folder / "sub" / "third").hardlink_to(folder / "first")


def _modes(folder: Path) -> None:
    (folder / "folder" / "closed").mkdir(parents=True)
    for name, mode in {
        "script": 0o755,
        "secret": 0o600,
        "setuid": 0o4711,
        "sticky": 0o1644,
        "readonly": 0o444,
        "closed/inner": 0o640,
    }.items():
        (folder / "folder" / name).write_text(f"{name}\n")
        (folder / "folder" / name).chmod(mode)
    (folder / "folder" / "closed").chmod(0o2750)


def _attributes(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "marked").write_text("marked\n")
    for name in ("marked", "folder"):
        os.setxattr(folder / name, "user.mark", b"here")


def _ignored(folder: Path) -> None:
    for place in (folder / "node_modules", folder / "sub" / "node_modules"):
        shutil.copytree(folder / "modules", place)
    (folder / "ignored-empty").mkdir()
    (folder / "trailing-file").write_text("x\n")
    (folder / "a*b").write_text("x\n")


def _archives(folder: Path) -> None:
    plain = made_archive()
    (folder / "plain.tar").write_bytes(plain)
    (folder / "gzip.tar.gz").write_bytes(gzip.compress(plain))
    (folder / "bzip2.tar.bz2").write_bytes(bz2.compress(plain))
    (folder / "xz.tar.xz").write_bytes(lzma.compress(plain))
    (folder / "single.gz").write_bytes(gzip.compress(b"one file, not an archive\n"))


def made_archive() -> bytes:
    """Return a tar archive with what archives can hold."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _member(archive, "sub", tarfile.DIRTYPE, mode=0o750, owner=(7, 8))
        _member(archive, "one", content=b"from the archive\n", mode=0o640, owner=(1000, 3000))
        _member(archive, "sub/two", content=b"two\n", mode=0o4755)
        _member(archive, "hard", tarfile.LNKTYPE, link="one", mode=0o640, owner=(1000, 3000))
        _member(archive, "soft", tarfile.SYMTYPE, link="sub/two", owner=(5, 5))
        _member(archive, "fifo", tarfile.FIFOTYPE, mode=0o600)
        _member(archive, "no/parents/three", content=b"three\n")
        _member(archive, "./dotted/four", content=b"four\n")
        _member(archive, "sub/.wh.name", content=b"no whiteout\n")
    return out.getvalue()


def _member(
    archive: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    content: bytes = b"",
    link: str = "",
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.size = kind, link, mode, len(content)
    member.uid, member.gid = owner
    member.mtime = 1_000_000_000
    archive.addfile(member, io.BytesIO(content))


OPTIONS: dict[str, Options] = {
    "add-archives": Options(prepare=_archives),
    "alone/add-xz": Options(prepare=_archives),
    "arg-build-args": Options(
        build_args={"BASE": BASE, "GIVEN": "given", "BARE": "bare", "EMPTY": "", "UNDECLARED": "x"}
    ),
    "arg-platform": Options(build_args={"TARGETSTAGE": "given"}),
    "arg-proxy": Options(build_args={"NO_PROXY": "example.com", "http_proxy": ""}),
    "copy-empty": Options(prepare=_empty),
    "copy-hard-links": Options(prepare=_hard_links),
    "copy-links": Options(prepare=_links),
    "copy-modes": Options(prepare=_modes),
    "extended-attributes": Options(prepare=_attributes),
    "ignore": Options(prepare=_ignored),
    "mount-secret": Options(secret=b"s3cret-of-the-case"),
    "target": Options(target="second"),
}

# What the other sandboxes cannot do, by case, and why: building such a case is refused or fails.
REFUSED: dict[str, dict[str, str]] = {
    "chroot": {
        "network-none": "a chroot has no network of its own",
        "special-devices": "a device would lead out of a chroot, so mknod is not allowed in it",
    },
    "user-namespaces": {"special-devices": "the kernel wants the machine's own root for mknod"},
    "proot": {"network-none": "proot has no network of its own"},
}

# And the files that differ because commands wrote what they saw: a case's name, the files.
_Differing = dict[str, tuple[str, ...]]
# overlayfs copies one name alone of a file that changes or gets another name, and so parts hard
# links to files of lower layers. A copy of all files does not, and is the more faithful one.
_COPIES: _Differing = {
    "copy-hard-links": ("all/first", "all/second", "all/sub/third", "all/third"),
    "special-files": ("second", "sub/third"),
}
# Neither has a file system of its own in /dev, nor a host name of its own.
# proot shows the image's own folder where /proc is bound.
_NO_NAMESPACES: _Differing = {"devices-and-system": ("devices", "host", "listed")}
# One user owns all files there, and a process has one group: nothing else can be shown to it.
_ONE_USER: _Differing = {
    "mount-bind": ("tools",),
    "mount-cache": ("listed",),
    "mount-secret": ("target",),
    "run-on-scratch": ("three",),
    "run-shell": ("identity",),
    "user": (
        "tmp/app-extra-id", "tmp/app-id", "tmp/app-number-id", "tmp/group-only", "tmp/number-id",
        "tmp/numbers-id", "tmp/other-id",
    ),
    "workdir-user": ("tmp/seen", "tmp/who"),
}  # fmt: skip
# proot needs variables of its own, and what it runs inherits them.
_VARIABLES: _Differing = {
    "arg-build-args": ("environment",),
    "arg-platform": ("environment",),
    "env-forms": ("environment",),
    "run-shell": ("environment", "identity"),
}
DIFFERING: dict[str, _Differing] = {
    "chroot": {**_COPIES, **_NO_NAMESPACES},
    "user-namespaces": _ONE_USER,
    "proot": {**_COPIES, **_NO_NAMESPACES, **_ONE_USER, **_VARIABLES},
}

# What no two builds of a lab have alike, not even two of Docker.
VOLATILE: tuple[str, ...] = (
    "root/.npm/*",  # npm's cache and logs: named by the time of day, and they hold it
    "tmp/node-compile-cache/*",  # V8's compiled code: what was hot when the process ended
    "root/.cache/go-build/*-a",  # Go's notes on its cache hold the time of day
    "root/.cache/go-build/trim.txt",  # and so does this one
    "root/.config/go/telemetry/*",  # counters, and a day of the week that is drawn by lot
)

# What a learner may write and no engine builds. The context: one, two, and folder/taken/.
FAILING = (
    "RUN touch /file\nCOPY folder /file",
    "RUN touch /file\nCOPY one /file/",
    "RUN touch /taken\nCOPY folder /",
    "RUN mkdir /one\nCOPY . /",
    "RUN ln -s /etc /taken\nCOPY folder /",
    "COPY one folder /x",
    "COPY no-such-file /x",
    "COPY --from=0 /no-such /x",
    "COPY [[ /x",
    "COPY one no-such/[ /x/",
    r'COPY ["a\u0000b", "/x"]',
    r'COPY ["one", "/x\u0000y"]',
    r'COPY ["\ud800", "/x"]',
    f"COPY one /{'x' * 300}",
    f"WORKDIR /{'x' * 300}",
    "ADD https://[x/y /z",
    "RUN touch /file\nWORKDIR /file",
    "USER nobody-such\nRUN true",
    "RUN --mount=source=no-such,target=/x true",
    "RUN --mount=type=secret,id=absent,required=true true",
    "RUN --mount=type=no-such,target=/x true",
    f"RUN --mount=type=cache,target=/{'x' * 300} true",
    f"RUN --mount=type=tmpfs,target=/{'x' * 300} true",
    r'RUN ["echo", "a\u0000b"]',
    f"WORKDIR /{'x/' * 3000}",
    "RUN exit 3",
    'RUN ["no-such-program"]',
    "EXPOSE abc",
    "EXPOSE 70000",
    "EXPOSE 80/icmp",
    "EXPOSE 90-80",
    "STOPSIGNAL NO-SUCH",
    "HEALTHCHECK --interval=1 CMD true",
    "HEALTHCHECK --interval=0.5ms CMD true",
    "HEALTHCHECK --interval=-1s CMD true",
    "HEALTHCHECK --retries=-1 CMD true",
    "HEALTHCHECK --retries=x CMD true",
    "HEALTHCHECK NONE true",
    'VOLUME [""]',
    "ENV A=${NO_SUCH:?is needed}",
    "ONBUILD ONBUILD RUN true",
)

# What Engine 26 builds and this engine refuses on purpose, with what to do instead.
STRICTER = (
    "COPY --chown=nobody-such one /x",  # Docker gives the file to root and says nothing
    "COPY --chown=app:nobody-such one /x",
    "COPY --chmod=u+x one /x",  # Docker 26 takes no notice of it; later releases honour it
)
# What looks as if it could not be built, and is. The same context.
LENIENT = (
    "COPY one two /x",
    "COPY no-such-* /x",
    "COPY no-such-* one /x/",
    "COPY no-such-* /x/",
    "RUN mkdir /x\nCOPY one two /x",
    "USER nobody-such\nWORKDIR /x",
    "WORKDIR $EMPTY\nRUN pwd > /where",
    "USER $EMPTY",
    "COPY <<EOF <<EOF /x\nEOF\nEOF",
)
