"""What must stay behind: found by path, by a program's name, and by content under any name."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.checks.absent import Copies, copies_of, find, is_program, matches
from multistage.images import File
from multistage.images.layers import measure_layer
from multistage.labs import Absent, LabFolder, find_lab

NOWHERE = Path("no folder of this name")
TOOLCHAIN = Absent(
    "toolchain", "the Go toolchain", ("hint",), paths=("usr/local/go/bin",), programs=("go", "sh")
)
SOURCE = Absent("source", "the source", ("hint",), context=("*.go", "src/*.css"))


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def plain(path: str, data: bytes = b"x" * 100) -> File:
    return File(path, len(data), 0o644, digest(data))


def program(path: str, data: bytes = b"p" * 100) -> File:
    return File(path, len(data), 0o755, digest(data))


def link(path: str) -> File:
    return File(path, 0, 0o777)


def found(
    entry: Absent, *files: File, copies: Copies | None = None, context: Path = NOWHERE
) -> str:
    """Return the path of what is found, and the words for how."""
    path, words = find(entry, files, copies or Copies(), context)
    assert path or not words
    return f"{path}{words}"


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("usr/local/go/bin/go", "usr/local/go", True),
        ("usr/local/go", "usr/local/go", True),
        ("usr/local/gopher", "usr/local/go", False),
        ("app/usr/local/go", "usr/local/go", False),
        ("usr/local", "usr/local/go", False),
        ("src/main.go", "src", True),
        ("app/src/main.go", "src", False),
        ("app/main.go", "*.go", True),
        ("SRC/main.go", "src", False),
        ("app/a/node_modules/x", "app/*/node_modules", True),
        ("node_modules/x", "*/node_modules", False),
        ("my_node_modules/x", "*/node_modules", False),
        ("bin/sh", "bin/[bs]*", True),
        ("usr/bin/sh", "bin/sh", True),
        ("bin/sh", "usr/bin/sh", False),
    ],
)
def test_a_glob_names_a_path_and_all_below_it(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


names = st.text("ab.", min_size=1, max_size=5)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(paths, paths)
def test_a_path_matches_itself_and_what_is_above_it(folder: str, below: str) -> None:
    assert matches(folder, folder)
    assert matches(f"{folder}/{below}", folder)
    assert not matches(folder, f"{folder}/{below}")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (plain("usr/local/go/bin/README"), "usr/local/go/bin/README"),
        (program("opt/tools/go"), "opt/tools/go"),
        (program("go"), "go"),
        (link("usr/bin/sh"), "usr/bin/sh"),
        (program("bin/go.sh"), ""),
        (program("bin/gofmt"), ""),
        (program("bin/GO"), ""),
        (plain("share/go"), ""),
        (plain("go/pkg/x"), ""),
        (program("go/server"), ""),
        (plain("usr/local/go/lib/time/zoneinfo.zip"), ""),
    ],
)
def test_a_program_is_found_by_its_name_in_any_folder_and_a_file_by_its_path(
    file: File, said: str
) -> None:
    assert found(TOOLCHAIN, plain("server"), file) == said


def test_a_folder_that_is_called_like_a_program_is_none() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in (("opt/go", 0o755), ("opt/sh", 0o777)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("opt/go/readme"))
    buffer.seek(0)
    layer = measure_layer(buffer, keep_files=True, keep_digests=True)
    assert [file.path for file in layer.files] == ["opt/go/readme"]
    assert found(TOOLCHAIN, *layer.files) == ""


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o755, True), (0o700, True), (0o001, True), (0o644, False), (0, False)]
)
def test_what_nobody_may_run_is_no_program(mode: int, expected: bool) -> None:
    assert is_program(File("bin/go", 1, mode), ("go",)) is expected


# By content: what the before image has, under another name.


def test_a_program_of_the_before_image_is_found_under_another_name() -> None:
    before = [program("usr/local/go/bin/go", b"go" * 100), plain("etc/passwd")]
    copies = copies_of(TOOLCHAIN, before)
    assert copies == Copies(programs=frozenset({digest(b"go" * 100)}))
    said = found(TOOLCHAIN, plain("etc/passwd"), plain("data.bin", b"go" * 100), copies=copies)
    assert said == "data.bin: the Go toolchain, under another name"
    assert found(TOOLCHAIN, plain("etc/passwd"), copies=copies) == ""


def test_short_programs_are_alike_by_coincidence() -> None:
    assert copies_of(TOOLCHAIN, [program("bin/go", b"x" * 63)]) == Copies()
    assert copies_of(TOOLCHAIN, [program("bin/go", b"x" * 64)]).programs


def test_a_link_or_an_empty_file_is_no_copy() -> None:
    before = [link("usr/bin/sh"), File("usr/local/go/bin/x", 0, 0o755), program("bin/go", b"")]
    copies = copies_of(TOOLCHAIN, before)
    assert copies == Copies()
    assert found(TOOLCHAIN, link("etc/mtab"), plain("empty", b""), copies=copies) == ""


def test_an_entry_does_not_take_others_files_for_its_own() -> None:
    assert copies_of(SOURCE, [program("usr/local/go/bin/go"), plain("src/main.go")]) == Copies()


def files(folder: str, count: int) -> list[File]:
    return [plain(f"{folder}/{n}", bytes([n]) * 100) for n in range(count)]


def test_ten_files_alike_are_no_coincidence() -> None:
    copies = copies_of(TOOLCHAIN, files("usr/local/go/bin", 20))
    assert len(copies.files) == 20
    assert found(TOOLCHAIN, *files("opt", 9), copies=copies) == ""
    said = found(TOOLCHAIN, *files("opt", 10), copies=copies)
    assert said == "opt/0, and so are 9 more files of the Go toolchain"


@given(st.lists(st.sampled_from(["", "usr/local/go/bin/x", "bin/go", "a"]), max_size=4),
       st.lists(st.sampled_from(["a", "b", "c"]), max_size=12))  # fmt: skip
def test_what_has_no_digest_is_never_a_copy(before: list[str], after: list[str]) -> None:
    copies = copies_of(TOOLCHAIN, [File(path, 100, 0o755) for path in before])
    assert copies == Copies()
    assert found(TOOLCHAIN, *(File(path, 100, 0o755) for path in after), copies=copies) == ""


contents = st.binary(min_size=64, max_size=70)


@given(st.lists(contents, max_size=5), st.lists(contents, max_size=5), paths)
def test_a_program_is_found_just_where_its_content_is(
    programs: list[bytes], others: list[bytes], name: str
) -> None:
    before = [program(f"bin/{place}/go", data) for place, data in enumerate(programs)]
    copies = copies_of(TOOLCHAIN, before)
    after = [plain(f"x/{name}", data) for data in others]
    assert bool(found(TOOLCHAIN, *after, copies=copies)) is bool(set(programs) & set(others))


# By content: what the build context has.


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "main.go").write_text("package main\n", "utf-8")
    (tmp_path / "src" / "style.css").write_text("p {}\n", "utf-8")
    (tmp_path / "empty.go").touch()
    (tmp_path / "folder.go").mkdir()
    return tmp_path


def test_a_file_of_the_build_context_is_found_under_any_name(context: Path) -> None:
    said = found(SOURCE, plain("tmp/x", b"package main\n"), context=context)
    assert said == "tmp/x, and is main.go of your folder"
    said = found(SOURCE, plain("html/s.css", b"p {}\n"), context=context)
    assert said == "html/s.css, and is src/style.css of your folder"


@pytest.mark.parametrize(
    "file",
    [
        plain("main.go", b"another program\n"),
        plain("empty", b""),
        link("main.go"),
        plain("Dockerfile", b"FROM scratch\n"),
    ],
)
def test_other_files_are_none_of_the_build_context(context: Path, file: File) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n", "utf-8")
    assert found(SOURCE, file, context=context) == ""


def test_the_build_context_may_have_changed_or_be_gone(context: Path, tmp_path: Path) -> None:
    (context / "main.go").unlink()
    assert found(SOURCE, plain("x", b"package main\n"), context=context) == ""
    assert found(SOURCE, plain("x"), context=tmp_path / "gone") == ""


def test_an_image_without_files_lacks_everything(context: Path) -> None:
    assert found(TOOLCHAIN, context=context) == ""
    assert found(SOURCE, context=context) == ""


# What the labs of the course ask, on files that right and wrong images have.


def lacks(lab: LabFolder, *files: File) -> set[str]:
    return {entry.id for entry in lab.absent if found(entry, *files, context=lab.app)}


@pytest.mark.parametrize(
    ("lab", "file", "expected"),
    [
        ("go-scratch", program("usr/local/go/bin/go"), {"toolchain"}),
        ("go-scratch", program("usr/lib/go/bin/go"), {"toolchain"}),
        ("go-scratch", plain("root/.cache/go-build/00/x"), {"toolchain"}),
        ("go-scratch", program("bin/busybox"), {"shell"}),
        ("go-scratch", link("bin/sh"), {"shell"}),
        ("go-scratch", program("busybox/sh"), {"shell"}),
        ("go-scratch", plain("usr/local/go/lib/time/zoneinfo.zip"), set()),
        ("go-scratch", plain("usr/share/zoneinfo/Europe/Paris"), set()),
        ("go-scratch", plain("etc/ssl/certs/ca-certificates.crt"), set()),
        ("go-scratch", program("app/server"), set()),
        ("react-nginx", program("usr/local/bin/node"), {"toolchain"}),
        ("react-nginx", link("usr/bin/npm"), {"toolchain"}),
        ("react-nginx", plain("app/node_modules/react/index.js"), {"dependencies"}),
        ("react-nginx", plain("node_modules/react/index.js"), {"dependencies"}),
        ("react-nginx", link("app/node_modules/.bin/vite"), {"dependencies"}),
        ("react-nginx", plain("usr/share/nginx/html/assets/index-1.js"), set()),
        ("react-nginx", link("bin/sh"), set()),
        ("react-nginx", program("usr/sbin/nginx"), set()),
    ],
)
def test_the_labs_find_the_workshop_and_nothing_else(
    lab: str, file: File, expected: set[str]
) -> None:
    assert lacks(find_lab(lab), file) == expected


@pytest.mark.parametrize(
    ("lab", "name"),
    [
        ("go-scratch", "main.go"),
        ("go-scratch", "main_test.go"),
        ("go-scratch", "go.mod"),
        ("react-nginx", "src/App.jsx"),
        ("react-nginx", "src/style.css"),
        ("react-nginx", "package.json"),
        ("react-nginx", "package-lock.json"),
        ("react-nginx", "vite.config.js"),
    ],
)
def test_the_labs_find_their_source_under_any_name(lab: str, name: str) -> None:
    folder = find_lab(lab)
    file = plain("somewhere/else", (folder.app / name).read_bytes())
    assert lacks(folder, file) == {"source"}


def test_what_the_before_image_also_has_elsewhere_tells_nothing() -> None:
    entry = Absent("npm", "npm", ("hint",), paths=("lib/npm",))
    alone, shared = plain("lib/npm/a", b"a" * 100), plain("lib/npm/b", b"b" * 100)
    copies = copies_of(entry, [alone, shared, plain("app/node_modules/b", b"b" * 100)])
    assert copies.files == {alone.digest}


def test_a_place_may_be_left_to_another_entry() -> None:
    entry = Absent("packages", "packages", ("hint",), paths=("*/packages",), but=("usr/packages",))
    assert found(entry, plain("usr/packages/a")) == ""
    assert found(entry, plain("app/packages/a")) == "app/packages/a"
