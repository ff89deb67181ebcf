"""Unpacking layers: what the image specification says, and what tar archives may hold."""

import gzip
import hashlib
import io
import os
import resource
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from multistage.engines.daemonless.layers.rooted import Misplaced, Rooted
from multistage.engines.daemonless.layers.unpack import Limits, Unpacked, unpack_layer
from multistage.errors import MachineError

Entry = tuple[tarfile.TarInfo, bytes]
IS_ROOT = os.geteuid() == 0


def made(name: str, data: bytes, fields: Mapping[str, object]) -> Entry:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, data


def file(name: str, data: bytes = b"", mode: int = 0o644, **fields: object) -> Entry:
    return made(name, data, {"size": len(data), "mode": mode, **fields})


def folder(name: str, mode: int = 0o755, **fields: object) -> Entry:
    return made(name, b"", {"mode": mode, "type": tarfile.DIRTYPE, **fields})


def link(name: str, target: str, **fields: object) -> Entry:
    return made(name, b"", {"type": tarfile.SYMTYPE, "linkname": target, **fields})


def hard(name: str, target: str) -> Entry:
    return file(name, type=tarfile.LNKTYPE, linkname=target)


def layer(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as archive:
        for member, data in entries:
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unpack(
    root: Path, *layers: bytes, whiteouts: bool = True, limits: Limits | None = None
) -> Unpacked:
    """Unpack layers one after the other, without owners; return what the last one gave."""
    root.mkdir(exist_ok=True)
    owners: Mapping[str, tuple[int, int]] = {}
    done = None
    for one in layers:
        done = unpack_layer(
            io.BytesIO(one),
            root,
            owners=False,
            whiteouts=whiteouts,
            limits=limits or Limits(),
            owners_below=owners,
        )
        owners = done.owners
    assert done is not None
    return done


def tree(root: Path) -> dict[str, object]:
    """Return what is below a folder: content of files, targets of links, ``None`` for folders."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_files_folders_and_links(root: Path) -> None:
    tar = layer(
        folder("bin", 0o1777, mtime=1_000),
        file("bin/su", b"su", 0o4755, mtime=2_000),
        link("bin/sh", "su", mtime=3_000),
        hard("bin/also", "bin/su"),
        hard("bin/link", "bin/sh"),
        file("fifo", type=tarfile.FIFOTYPE, mode=0o640),
    )
    done = unpack(root, tar)
    assert (done.files, done.unpacked_size, done.left_out) == (5, 2, ())
    assert done.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert (mode(root / "bin"), mode(root / "bin/su")) == (0o1777, 0o4755)
    assert (root / "bin").stat().st_mtime == 1_000
    assert (root / "bin/su").stat().st_mtime == 2_000
    assert (root / "bin/sh").lstat().st_mtime == 3_000
    assert (root / "bin/sh").readlink() == Path("su") == (root / "bin/link").readlink()
    assert (root / "bin/also").samefile(root / "bin/su")
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert mode(root / "fifo") == 0o640


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_compressed_layers(root: Path, pack: object) -> None:
    tar = layer(file("a", os.urandom(3_000_000)))
    done = unpack(root, pack(tar))  # type: ignore[operator]
    assert done.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert (root / "a").stat().st_size == 3_000_000


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_same_tree_as_tarfiles(root: Path, tmp_path: Path, form: int) -> None:
    source, expected = tmp_path / "source", tmp_path / "expected"
    source.mkdir()
    for place in ("one/two/three", "n" * 200, "o" * 60 + "/" + "p" * 90, "Ümläute"):
        (source / place).mkdir(parents=True)
        (source / place / "file").write_text(place, "utf-8")
    (source / "one/link").symlink_to("two/three")
    (source / "one/hard").hardlink_to(source / "one/two/three/file")
    (source / "one/two").chmod(0o750)
    os.utime(source / "one", (1_234_567, 1_234_567))
    with tarfile.open(tmp_path / "tar", "w", format=form) as archive:
        archive.add(source, "")
    with tarfile.open(tmp_path / "tar") as archive:
        # Old releases of Python have no filters, new ones have another default.
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        archive.extractall(expected)
    unpack(root, (tmp_path / "tar").read_bytes())
    assert tree(root) == tree(expected)
    for path in expected.rglob("*"):
        mine, theirs = (root / path.relative_to(expected)).lstat(), path.lstat()
        assert (mine.st_mode, mine.st_nlink) == (theirs.st_mode, theirs.st_nlink)
        assert mine.st_mtime == pytest.approx(theirs.st_mtime, abs=1)


@pytest.mark.skipif(not shutil.which("tar"), reason="GNU tar is missing")
@pytest.mark.parametrize(
    "form",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax"],
    ],
)
def test_sparse_files(root: Path, tmp_path: Path, form: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as out:
        for place in range(60):
            out.seek(place << 16)
            out.write(b"x" * 5000)
        out.truncate(8 << 20)
    (source / "next").write_text("after", "utf-8")
    tar = ["tar", "-S", "-C", str(source), "-cf", "-", *form]
    made = subprocess.run([*tar, "holes", "next"], capture_output=True, check=True)
    assert len(made.stdout) < 1 << 20, "the archive is not sparse"
    done = unpack(root, made.stdout)
    assert tree(root) == tree(source)
    assert done.unpacked_size == (8 << 20) + 5
    assert (root / "holes").stat().st_blocks * 512 < 4 << 20


def test_times_to_the_nanosecond(root: Path) -> None:
    tar = layer(
        file("a", pax_headers={"mtime": "1700000000.123456789"}),
        file("b", pax_headers={"mtime": "-5.5"}),
        file("c", pax_headers={"mtime": "1e999"}),
        file("d", pax_headers={"mtime": "99999999999999999"}),
        folder("e", pax_headers={"mtime": "1600000000.5"}),
        file("e/later"),
    )
    unpack(root, tar)
    times = [(root / name).stat().st_mtime_ns for name in "abcde"]
    assert times == [1700000000123456789, 0, 0, 0, 1600000000500000000]


@pytest.mark.parametrize("name", ["./x/a", "/x/a", "x//a", "x/./a", "x/a/", ".//x/a"])
def test_spellings_of_a_name(root: Path, name: str) -> None:
    unpack(root, layer(file(name, b"1")))
    assert tree(root) == {"x": None, "x/a": b"1"}
    assert mode(root / "x") == 0o755


@pytest.mark.parametrize("name", ["./", ".", "/", ""])
def test_the_root_entry(root: Path, name: str) -> None:
    unpack(root, layer(folder(name, 0o711, mtime=77), file("a")))
    assert (mode(root), root.stat().st_mtime) == (0o711, 77)


def test_names_that_are_not_utf8(root: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        name = f"caf\udce9{form}"
        done = unpack(root, layer(file(name, b"1", uid=7), link(f"l{form}", name), form=form))
        assert (root / name).read_bytes() == b"1"
        assert done.owners == {name: (7, 0)}
        assert (root / f"l{form}").read_bytes() == b"1"


def test_owners_are_recorded(root: Path) -> None:
    lower = layer(
        folder("home", uid=0, gid=5),
        file("home/a", uid=1000, gid=1000),
        hard("home/b", "home/a"),
        link("home/l", "a", uid=3),
        file("gone", uid=4),
        file("mine", uid=5),
        file("twice", uid=6),
        file("twice", uid=0),
        folder("./", uid=9),
    )
    owners = unpack(root, lower).owners
    assert owners == {
        ".": (9, 0),
        "home": (0, 5),
        "home/a": (1000, 1000),
        "home/b": (1000, 1000),
        "home/l": (3, 0),
        "gone": (4, 0),
        "mine": (5, 0),
    }
    shutil.rmtree(root)
    upper = layer(file(".wh.gone"), file("mine"), file("home", b"now a file"))
    assert unpack(root, lower, upper).owners == {".": (9, 0)}


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owners_are_set(root: Path) -> None:
    root.mkdir()
    tar = layer(
        folder("d", 0o2750, uid=11, gid=12),
        file("d/f", b"x", 0o6755, uid=13, gid=14),
        link("d/l", "f", uid=15, gid=16),
        file("d/p", type=tarfile.FIFOTYPE, uid=17, gid=18),
    )
    done = unpack_layer(io.BytesIO(tar), root, owners=True)
    assert done.owners == {}
    for name, uid, gid in (("d", 11, 12), ("d/f", 13, 14), ("d/l", 15, 16), ("d/p", 17, 18)):
        found = (root / name).lstat()
        assert (found.st_uid, found.st_gid) == (uid, gid)
    assert (mode(root / "d"), mode(root / "d/f")) == (0o2750, 0o6755)


def xattrs(**values: str) -> dict[str, str]:
    return {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in values.items()}


def test_extended_attributes(root: Path) -> None:
    root.mkdir()
    try:
        os.setxattr(root, "user.probe", b"1")
    except OSError:
        pytest.skip("the file system takes no attributes")
    headers = xattrs(user__note="hallo \udcff", user__overlay__opaque="y", trusted__x="1")
    done = unpack(
        root,
        layer(
            file("a", mode=0o444, pax_headers=headers),
            folder("d", 0o555, pax_headers=headers),
            link("l", "a", pax_headers=headers),
        ),
    )
    assert done.attributes_left_out == 2 + 2 + 3
    for name in ("a", "d"):
        assert os.listxattr(root / name) == ["user.note"]
        assert os.getxattr(root / name, "user.note") == b"hallo \xff"


LOWER = layer(
    folder("d", 0o750),
    file("d/old", b"old"),
    folder("d/sub"),
    file("d/sub/old", b"old"),
    file("f", b"f"),
    link("l", "d"),
)


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([file(".wh.f")], {"d", "d/old", "d/sub", "d/sub/old", "l"}),
        ([file(".wh.d")], {"f", "l"}),
        ([file(".wh.l")], {"d", "d/old", "d/sub", "d/sub/old", "f"}),
        ([file(".wh.nothing"), file("no/.wh.thing")], None),
        ([file("f/.wh.x")], None),
        ([file("d/.wh..wh..opq")], {"d", "f", "l"}),
        ([file("l/.wh.old")], {"d", "d/sub", "d/sub/old", "f", "l"}),
        ([file(".wh..wh..opq"), file("f", b"new")], {"f"}),
        ([file("f", b"new"), file(".wh..wh..opq")], {"f"}),
        ([file("f", b"new"), file(".wh.f")], {"d", "d/old", "d/sub", "d/sub/old", "f", "l"}),
        ([file(".wh.f"), file("f", b"new")], {"d", "d/old", "d/sub", "d/sub/old", "f", "l"}),
        (
            [file("d/sub/new"), file(".wh.d"), file("d/.wh..wh..opq")],
            {"d", "d/sub", "d/sub/new", "f", "l"},
        ),
        ([file(".wh.d"), file("d/sub/new")], {"d", "d/sub", "d/sub/new", "f", "l"}),
        ([file("l/new"), file("d/.wh..wh..opq")], {"d", "d/new", "f", "l"}),
    ],
)
def test_whiteouts(root: Path, upper: list[Entry], expected: set[str] | None) -> None:
    unpack(root, LOWER, layer(*upper))
    assert set(tree(root)) == (expected or {"d", "d/old", "d/sub", "d/sub/old", "f", "l"})


def test_whiteouts_of_an_archive_are_files(root: Path) -> None:
    done = unpack(root, layer(file("a"), file(".wh.a"), file(".wh..wh..opq")), whiteouts=False)
    assert set(tree(root)) == {"a", ".wh.a", ".wh..wh..opq"}
    assert done.files == 3


def test_names_that_aufs_reserved_are_left_out(root: Path) -> None:
    done = unpack(root, layer(folder(".wh..wh.plnk"), file(".wh..wh.plnk/1"), file("a/.wh.b/c")))
    assert tree(root) == {}
    assert [path for path, _ in done.left_out] == [".wh..wh.plnk", ".wh..wh.plnk/1", "a/.wh.b/c"]
    assert done.files == 0


def test_what_replaces_what(root: Path) -> None:
    unpack(root, LOWER, layer(file("d", b"now a file")))
    assert tree(root) == {"d": b"now a file", "f": b"f", "l": "-> d"}
    unpack(root, layer(folder("d", 0o700), file("l", b"1"), link("f", "l")))
    assert tree(root) == {"d": None, "f": "-> l", "l": b"1"}
    unpack(root, layer(file("d/in"), folder("d", 0o711), folder("f"), link("d", "x")))
    assert tree(root) == {"d": "-> x", "f": None, "l": b"1"}


def test_a_folder_over_a_folder_keeps_what_is_in_it(root: Path) -> None:
    unpack(root, LOWER, layer(folder("d", 0o711, mtime=42)))
    assert set(tree(root)) == {"d", "d/old", "d/sub", "d/sub/old", "f", "l"}
    assert (mode(root / "d"), (root / "d").stat().st_mtime) == (0o711, 42)


def test_a_folder_over_a_link_leaves_the_links_target_alone(root: Path) -> None:
    unpack(root, LOWER, layer(folder("l", 0o700), file("l/x")))
    assert (root / "l").is_dir()
    assert not (root / "l").is_symlink()
    assert mode(root / "d") == 0o750
    assert not (root / "d/x").exists()


def test_a_new_file_does_not_write_through_a_hard_link(root: Path) -> None:
    unpack(root, layer(file("a", b"old"), hard("b", "a")), layer(file("b", b"new")))
    assert tree(root) == {"a": b"old", "b": b"new"}


def test_links_as_parents_stay_inside(root: Path) -> None:
    unpack(
        root,
        layer(
            folder("usr/lib"),
            link("lib", "usr/lib"),
            link("up", "../../../usr"),
            link("abs", "/usr/lib"),
            link("dangling", "made/here"),
            file("lib/a"),
            file("up/b"),
            file("abs/c"),
            file("dangling/d"),
        ),
    )
    links = {"lib", "up", "abs", "dangling"}
    assert set(tree(root)) - links == {
        "usr", "usr/lib", "usr/lib/a", "usr/b", "usr/lib/c", "made", "made/here", "made/here/d",
    }  # fmt: skip


def test_a_link_that_changes_its_target_is_followed_anew(root: Path) -> None:
    tar = layer(
        folder("a"), folder("b"), link("l", "a"), file("l/1"), link("l", "b"), file("l/2"),
        folder("l"), file("l/3"), file("l"), folder("l"), file("l/4"),
    )  # fmt: skip
    unpack(root, tar)
    assert set(tree(root)) == {"a", "a/1", "b", "b/2", "l", "l/4"}


@pytest.mark.parametrize("closed", [0o555, 0o000, 0o300])
def test_closed_folders_can_be_filled_and_emptied(ordinary: Path, closed: int) -> None:
    root = ordinary / "root"
    lower = layer(
        folder("d", closed, mtime=9), file("d/a"), folder("d/e", closed), file("d/e/b"),
        folder("g", closed), file("g/x"), folder("./", 0o555),
    )  # fmt: skip
    unpack(root, lower)
    assert (mode(root), mode(root / "d")) == (0o555, closed)
    upper = layer(file("d/new"), file("d/e/.wh.b"), file(".wh.g"))
    unpack(root, upper)
    assert (mode(root), mode(root / "d")) == (0o555, closed)
    root.chmod(0o755)
    (root / "d").chmod(0o755)
    assert mode(root / "d/e") == closed
    (root / "d/e").chmod(0o755)
    assert set(tree(root)) == {"d", "d/a", "d/e", "d/new"}


def test_modes_do_not_depend_on_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        unpack(root, layer(file("x/y/a", mode=0o666), folder("d", 0o777)))
    finally:
        os.umask(before)
    assert [mode(root / n) for n in ("x", "x/y", "x/y/a", "d")] == [0o755, 0o755, 0o666, 0o777]


def test_many_folders_and_no_descriptor_left(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    names = [f"{a}/{b}/{c}/f" for a in range(10) for b in range(10) for c in range(10)]
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 300, most))
    try:
        unpack(root, layer(*map(file, names)), layer(file(".wh.3"), *map(file, names[::-1])))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    assert len([path for path in root.rglob("f") if path.is_file()]) == 1000
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_disk_that_fails_is_no_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        unpack(root, layer(file("a", b"1")))


def test_a_source_that_fails_is_no_damage(root: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(5, "Input/output error")
            return super().read(min(size or 0, 600))

    root.mkdir()
    with pytest.raises(OSError, match="Input/output"):
        unpack_layer(Failing(layer(file("a", bytes(5000)))), root, owners=False)


def test_rooted_refuses_ways_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    with Rooted(tmp_path) as rooted:
        assert rooted.find(b"none/below") is None
        assert rooted.find(b"file/below") is None
        with pytest.raises(Misplaced):
            rooted.find(b"loop/x")
        with pytest.raises(Misplaced):
            rooted.folder(b"file/below")
        assert rooted.folder(b"").path == b""


def test_an_empty_layer(root: Path) -> None:
    assert unpack(root, bytes(1024)).files == 0
    with pytest.raises(MachineError, match="damaged"):
        unpack(root, b"")
