"""Layers made to harm: nothing outside of the root changes, and each ends as it should."""

import gzip
import os
import random
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from multistage.engines.daemonless.layers.unpack import Limits
from multistage.errors import CourseError, MachineError
from tests.unit.test_unpack import Entry, file, folder, hard, layer, link, mode, tree, unpack

Snapshot = dict[str, tuple[int, int, int, object]]
LOWER = layer(folder("dir"), file("dir/kept", b"lower"), file("old", b"lower"))
LOWER_TREE: dict[str, object] = {"dir": None, "dir/kept": b"lower", "old": b"lower"}
SMALL = Limits(entries=50, total_bytes=1 << 20, path_bytes=200, name_bytes=100, depth=10)


def snapshot(base: Path) -> Snapshot:
    """Return all that is outside of the root: mode, links, time of change and content."""
    found: Snapshot = {}
    for place, names, files in os.walk(base):
        if Path(place) == base:
            names.remove("root")
        for path in (Path(place) / name for name in [*names, *files]):
            at = path.lstat()
            data = path.read_bytes() if stat.S_ISREG(at.st_mode) else None
            found[str(path)] = at.st_mode, at.st_nlink, at.st_mtime_ns, data
    at = base.lstat()
    return found | {"": (at.st_mode, at.st_nlink, at.st_mtime_ns, None)}


def beside(base: Path) -> Path:
    """Make the root with a lower layer in it, and what is beside it; return the root."""
    (base / "outside/deep").mkdir(parents=True)
    for name in ("secret", "outside/file", "outside/deep/file", "old", "x"):
        (base / name).write_text("sentinel", "utf-8")
    (base / "outside/link").symlink_to("file")
    unpack(base / "root", LOWER)
    return base / "root"


def discard(base: Path) -> None:
    for place, _, _ in os.walk(base):
        for path in (Path(place), *Path(place).iterdir()):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(base)


def patched(entry: bytes, place: int, data: bytes) -> bytes:
    """Return a tar with its first header changed, and the checksum set right."""
    head = bytearray(entry[:512])
    head[place : place + len(data)] = data
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + entry[512:]


def size(number: int) -> bytes:
    """Return a size field in base 256 (GNU tar manual, "Basic Tar Format")."""
    data = bytearray(number.to_bytes(12, "big", signed=True))
    data[0] |= 0x80
    return bytes(data)


def pax(text: bytes, *rest: Entry, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header with this text, and what follows."""
    head = layer(file("pax", text, type=kind), form=tarfile.GNU_FORMAT)
    return head[: 512 + -(-len(text) // 512) * 512] + layer(*rest)


def sparse(spans: str, real: int, data: bytes = b"data") -> bytes:
    headers = {"GNU.sparse.map": spans, "GNU.sparse.size": str(real)}
    return layer(file("s", data, pax_headers=headers))


@dataclass(frozen=True)
class Case:
    """A layer, and how it ends: in an error that says ``error``, or with ``tree`` above LOWER."""

    name: str
    data: bytes
    error: str = ""
    tree: dict[str, object] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


OUT = link("out", "../outside")
ABS = link("abs", "/outside")
TAR = layer(file("a", bytes(range(256)) * 20), file("b", b"b"))
GZIP = gzip.compress(layer(file("a", random.Random(1).randbytes(9000))))
# Its first block, of 128 KiB, holds the first file and no more.
ZSTD = zstandard.compress(layer(file("a", bytes((128 << 10) - 512)), file("b", os.urandom(9000))))
DEEP = "/".join("d" * 9)
CASES = [
    Case("absolute name", layer(file("/x", b"1")), tree={"x": b"1"}),
    Case("many slashes", layer(file("///x", b"1")), tree={"x": b"1"}),
    Case("dots", layer(file("../x", b"1")), "no file in an image"),
    Case("dots within", layer(file("dir/../../x", b"1")), "no file in an image"),
    Case("dots that come back", layer(file("dir/../x", b"1")), "no file in an image"),
    Case("dots as the last", layer(folder("dir/..", 0o777)), "no file in an image"),
    Case("dots alone", layer(folder("..", 0o777)), "no file in an image"),
    Case("slash dots", layer(file("/../x", b"1")), "no file in an image"),
    Case(
        "through a relative link",
        layer(OUT, file("out/file", b"1")),
        tree={"out": "-> ../outside", "outside": None, "outside/file": b"1"},
    ),
    Case(
        "through an absolute link",
        layer(ABS, file("abs/deep/file", b"1")),
        tree={"abs": "-> /outside", "outside": None, "outside/deep": None,
              "outside/deep/file": b"1"},
    ),
    Case(
        "through a chain of links",
        layer(link("1", "2"), link("2", "dir/3"), link("dir/3", "../../../.."), file("1/x", b"1")),
        tree={"1": "-> 2", "2": "-> dir/3", "dir/3": "-> ../../../..", "x": b"1"},
    ),
    Case(
        "a file over a link",
        layer(link("old", "../secret"), file("old", b"1")),
        tree={"old": b"1"},
    ),
    Case(
        "a folder over a link",
        layer(OUT, folder("out", 0o700), file("out/file")),
        tree={"out": None, "out/file": b""},
    ),
    Case(
        "a fifo over a link",
        layer(link("f", "../secret"), file("f", type=tarfile.FIFOTYPE)),
        tree={"f": None},
    ),
    Case("a loop of links", layer(link("a", "b"), link("b", "a"), file("a/x")), "circle"),
    Case("a link to itself", layer(link("a", "a"), file("a/x/y")), "circle"),
    Case(
        "links that multiply",
        layer(
            *[link(f"l{n}", f"l{n + 1}/" * 20 + ".") for n in range(30)],
            link("l30", "."), file("l0/x"),
        ),
        "circle",
    ),
    Case("a hard link out", layer(hard("h", "../secret")), "no file in an image"),
    Case("a hard link to an absolute name", layer(hard("h", "/secret")), "not there"),
    Case("a hard link through a link", layer(OUT, hard("h", "out/file")), "not there"),
    Case(
        "a hard link to a link, then a file",
        layer(link("l", "../secret"), hard("h", "l"), file("h", b"1")),
        tree={"l": "-> ../secret", "h": b"1"},
    ),
    Case(
        "a mode for a hard link to a link",
        layer(link("l", "../secret"), file("h", type=tarfile.LNKTYPE, linkname="l", mode=0o6777)),
        tree={"l": "-> ../secret", "h": "-> ../secret"},
    ),
    Case("a hard link to a folder", layer(hard("h", "dir")), "not there"),
    Case("a hard link to the root", layer(hard("h", "./")), "not there"),
    Case("a hard link to nothing", layer(hard("h", "nothing")), "not there"),
    Case("a hard link to itself", layer(hard("old", "old"))),
    Case("a hard link to what it replaces", layer(hard("dir", "dir/kept")), "not there"),
    Case("a whiteout of ..", layer(file("dir/.wh...")), "cannot have a name"),
    Case("a whiteout of .", layer(file("dir/.wh..")), "cannot have a name"),
    Case("a whiteout of nothing", layer(file("dir/.wh.")), "cannot have a name"),
    Case("a whiteout above", layer(file("../.wh.secret")), "no file in an image"),
    Case(
        "a whiteout through a link",
        layer(OUT, file("out/.wh.file")),
        tree={"out": "-> ../outside"},
    ),
    Case(
        "a whiteout through a link to the root",
        layer(link("up", "../.."), file("up/.wh.old")),
        tree={"up": "-> ../.."},
        gone=("old",),
    ),
    Case("an opaque folder through a link", layer(OUT, file("out/.wh..wh..opq")),
         tree={"out": "-> ../outside"}),
    Case("an opaque root", layer(file(".wh..wh..opq")), gone=tuple(LOWER_TREE)),
    Case("a whiteout of a link", layer(OUT, file(".wh.out")), tree={"out": "-> ../outside"}),
    Case(
        "a whiteout in a loop of links", layer(link("a", "a"), file("a/.wh.x")), "circle"
    ),
    Case(
        "a whiteout as a folder",
        layer(folder(".wh.dir"), file(".wh.dir/x")),
        gone=("dir", "dir/kept"),
        left_out=(".wh.dir/x",),
    ),
    Case("an overlay whiteout", layer(file("old", type=tarfile.CHRTYPE)),
         gone=("old",), left_out=("old",)),
    Case("a block device", layer(file("sda", type=tarfile.BLKTYPE, devmajor=8)),
         left_out=("sda",)),
    Case(
        "a hard link to a device",
        layer(file("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=1), hard("mem", "dev")),
        left_out=("dev", "mem"),
    ),
    Case("an unknown kind", layer(file("odd", b"12", type=b"Z"), file("x")),
         tree={"x": b""}, left_out=("odd",)),
    Case("the root as a file", layer(file("./", b"1")), "root folder"),
    Case("the root as a link", layer(link(".", "../outside")), "root folder"),
    Case("the root as a hard link", layer(hard("/", "old")), "root folder"),
    Case("a file as a parent", layer(file("a"), file("a/b")), "has to be a folder"),
    Case(
        "a file replaces the parent of a later entry",
        layer(folder("dir"), file("dir", b"1"), file("dir/x")),
        "has to be a folder",
    ),
    Case("a fifo as a parent", layer(file("a", type=tarfile.FIFOTYPE), file("a/b")), "a folder"),
    Case(
        "the same name again and again",
        layer(file("a", b"1"), link("a", "../x"), folder("a"), hard("a", "old"), file("a", b"2")),
        tree={"a": b"2"},
    ),
    Case("NUL in a name", layer(file("x", pax_headers={"path": "a\0b"})), "no file in an image"),
    Case("NUL in a target", layer(link("x", "", pax_headers={"linkpath": "a\0b"})), "no link has"),
    Case("an empty target", layer(link("x", "")), "no link has"),
    Case("too long a target", layer(link("x", "a/" * 2500)), "no link has"),
    Case("an endless name in a target", layer(link("x", "a" * 300), file("x/y")), "too long"),
    Case("too long a name", layer(file("n" * 256)), "too long a name"),
    Case("too long a path", layer(file("p" * 99 + ("/" + "p" * 99) * 41)), "too long a path"),
    Case("too deep a path", layer(file("d/" * 300 + "f")), "too long a path"),
    Case(
        "deeper and deeper through links",
        layer(
            *[e for n in range(12) for e in (
                folder(f"l{n - 1}/" * (n > 0) + "/".join(["d" * 200] * 15)),
                link(f"l{n}", f"l{n - 1}/" * (n > 0) + "/".join(["d" * 200] * 15)),
            )]
        ),
        "too long a path",
    ),
    Case("a size that lies", patched(layer(file("a", b"1")), 124, b"00777777777\0"), "damaged"),
    Case("an enormous size", patched(layer(file("a", b"1")), 124, size(1 << 60)), "more than"),
    Case("a negative size", patched(layer(file("a", b"1")), 124, size(-1024)), "damaged"),
    Case("a negative size in pax", layer(file("a", pax_headers={"size": "-512"})), "damaged"),
    Case("a negative size of a pax header",
         patched(pax(b"9 path=x\n", file("a")), 124, size(-512)), "damaged"),
    Case("too long a pax header", pax(b"x" * (2 << 20), file("a")), "beyond all reason"),
    Case("a pax header and no file", pax(b"9 path=x\n"), "damaged"),
    Case("a thousand pax headers", b"".join(
        [pax(b"9 path=x\n")[:1024]] * 3000) + layer(file("a")), "damaged"),
    Case("a global name", pax(b"15 path=../xyz\n", file("a", b"1"), kind=tarfile.XGLTYPE),
         tree={"a": b"1"}),
    Case("too long a GNU name", layer(file("a", b"y" * (2 << 20), type=b"L")), "beyond all reason"),
    Case("a user that cannot exist", layer(file("a", pax_headers={"uid": str(1 << 40)})), "users"),
    Case("a user below 0", layer(file("a", pax_headers={"uid": "-1"})), "users"),
    Case("a map of holes that lies", sparse("0,4,2,2", 100), "damaged"),
    Case("a map of holes beyond the end", sparse("0,4,200,2", 100), "damaged"),
    Case("a negative hole", sparse("-4,4", 100), "damaged"),
    Case("a map of holes that is none", sparse("zero", 100), "damaged"),
    Case("a map of more than there is", sparse("0,100000", 1 << 20, b"1" * 512), "damaged"),
    Case("a bomb of holes", sparse("0,4", 1 << 50), "more than"),
    Case("a map of holes without an end",
         patched(layer(file("s", b"1", type=tarfile.GNUTYPE_SPARSE)), 482, b"\1")[:512]
         + (bytes(504) + b"\1" + bytes(7)) * 20_000, "beyond all reason"),
    Case("a map of holes that is cut short",
         patched(layer(file("s", b"1", type=tarfile.GNUTYPE_SPARSE)), 482, b"\1")[:512],
         "damaged"),
    Case("too many entries", layer(*[file(str(n)) for n in range(51)]), "more than 50",
         limits=SMALL),
    Case("too many bytes", layer(file("a", bytes(1 << 20)), file("b", b"1")), "more than",
         limits=SMALL),
    Case("too many bytes after the end", layer(file("a")) + bytes(2 << 20), "more than",
         limits=SMALL),
    Case("a gzip bomb", gzip.compress(layer(file("a", bytes(9 << 20)))), "more than",
         limits=SMALL),
    Case("bad checksum", b"b" + TAR[1:], "damaged"),
    Case("bad checksum further on", TAR[:5632] + b"x" + TAR[5633:], "damaged"),
    Case("garbage", random.Random(2).randbytes(5000), "damaged"),
    Case("garbage in gzip", gzip.compress(random.Random(2).randbytes(5000)), "damaged"),
    Case("cut short in a file", TAR[:3000], "damaged"),
    Case("cut short in a header", TAR[:5700], "damaged"),
    Case("gzip cut short", GZIP[:-2000], "damaged"),
    Case("gzip without its end", GZIP[:-8], "damaged"),
    Case("gzip with a bad checksum", GZIP[:-8] + b"1234" + GZIP[-4:], "damaged"),
    Case("gzip with a bad byte", GZIP[:5000] + bytes(50) + GZIP[5050:], "damaged"),
    Case("zstd cut short", zstandard.compress(TAR)[:-9], "damaged"),
    Case("zstd cut short between two entries", ZSTD[:-40],
         "damaged"),
    Case("zstd garbage", b"\x28\xb5\x2f\xfd" + b"\xff" * 600, "damaged"),
]  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    beside(tmp_path)
    before = snapshot(tmp_path)
    yield tmp_path
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_hostile_layer(base: Path, case: Case) -> None:
    if case.error:
        with pytest.raises(MachineError, match=case.error) as caught:
            unpack(base / "root", case.data, limits=case.limits)
        assert caught.value.mend
        str(caught.value).encode()
        return
    done = unpack(base / "root", case.data, limits=case.limits)
    expected = {k: v for k, v in LOWER_TREE.items() if k not in case.gone} | case.tree
    assert tree(base / "root") == expected
    assert tuple(path for path, _ in done.left_out) == case.left_out


def test_a_pax_header_without_a_record(base: Path) -> None:
    with suppress(MachineError):  # as Python's releases have it
        unpack(base / "root", pax(b"nonsense", file("a", b"1")))
        assert tree(base / "root") == {**LOWER_TREE, "a": b"1"}


def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 36


@pytest.mark.parametrize("name", ["trusted.overlay.opaque", "user.overlay.opaque", "security.ima"])
def test_attributes_that_would_change_what_is_seen(base: Path, name: str) -> None:
    headers = {f"SCHILY.xattr.{name}": "y", "SCHILY.xattr.user.big": "x" * 500_000}
    done = unpack(base / "root", layer(folder("dir", pax_headers=headers)))
    assert done.attributes_left_out == 2
    assert os.listxattr(base / "root/dir") == []


def test_set_user_id_is_a_mode_and_no_more(base: Path) -> None:
    unpack(base / "root", layer(link("s", "../secret"), file("s", mode=0o6755)))
    assert mode(base / "root/s") == 0o6755


def test_a_root_that_is_reached_through_a_link(base: Path) -> None:
    (base / "root/way").symlink_to(base / "root/dir")
    with pytest.raises(MachineError):
        unpack(base / "root/way", layer(file("../x")))
    unpack(base / "root/way", layer(link("up", ".."), file("up/x", b"1")))
    assert (base / "root/dir/x").read_bytes() == b"1"


def test_many_whiteouts_of_one_large_folder_take_no_time(base: Path) -> None:
    files = [file(f"dir/{n}") for n in range(3000)]
    opaque = [file(f"dir/.wh..wh..opq{'/' * (n % 2)}") for n in range(3000)]
    start = time.monotonic()
    unpack(base / "root", layer(*files, *opaque, *[file(".wh.dir")] * 3000))
    assert time.monotonic() - start < 5
    assert len(list((base / "root/dir").iterdir())) == 3000


NAMES = st.lists(
    st.sampled_from(
        ["a", "b", "..", ".", "", "outside", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..."]
    ),
    min_size=1,
    max_size=4,
).map("/".join)
TARGETS = st.one_of(
    NAMES, NAMES.map(lambda name: f"../{name}"), st.sampled_from(["/", "../..", "/a"])
)
ENTRIES = st.builds(
    lambda name, kind, target, bits: file(
        name, b"hostile" * (kind == b"0"), bits, type=kind, linkname=target, mtime=bits
    ),
    NAMES,
    st.sampled_from([b"0", b"1", b"2", b"2", b"5", b"5", b"6", b"3"]),
    TARGETS,
    st.sampled_from([0o644, 0o755, 0o4777, 0o000, 0o1777]),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(ENTRIES, max_size=12), min_size=1, max_size=3), st.booleans())
def test_no_sequence_of_entries_reaches_outside(layers: list[list[Entry]], whiteouts: bool) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        beside(base)
        before = snapshot(base)
        for entries in layers:
            # One by one, so that an entry that is refused does not hide those after it.
            for entry in entries:
                with suppress(CourseError):
                    unpack(base / "root", layer(entry), whiteouts=whiteouts)
            with suppress(CourseError):
                unpack(base / "root", layer(*entries), whiteouts=whiteouts)
        assert snapshot(base) == before
    finally:
        discard(base)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_told_as_damage(data: st.DataObject) -> None:
    whole = bytearray(sparse("0,4,60,0", 100) + layer(file("ü" * 120, b"1", mtime=1.5), OUT))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    base = Path(tempfile.mkdtemp())
    try:
        beside(base)
        before = snapshot(base)
        with suppress(MachineError):
            unpack(base / "root", bytes(whole))
        assert snapshot(base) == before
    finally:
        discard(base)
