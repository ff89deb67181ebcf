"""The size meter on archives made here: order, compression and padding must not matter."""

import gzip
import hashlib
import io
import json
import tarfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from multistage.errors import UsageError
from multistage.images import (
    ImageArchive,
    final_files,
    folders,
    left_behind,
    read_archive,
    read_path,
)
from multistage.images.layers import file_kind, measure_layer
from multistage.images.streams import ForwardStream, tar_entries
from tests.unit.made import made_tar as tar_of
from tests.unit.test_hostile_layers import CASES, Case, patched, pax, size, sparse
from tests.unit.test_unpack import file, hard, link
from tests.unit.test_unpack import layer as layer_of

Files = dict[str, bytes]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image_members(layers: list[bytes], stored: list[bytes] | None = None) -> Files:
    """Return the members of an archive as ``docker save`` of Engine 26 writes them."""
    config = {"rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}
    config_data = json.dumps(config).encode()
    blobs = {digest(blob): blob for blob in stored or layers}
    blobs[digest(config_data)] = config_data
    members = {f"blobs/sha256/{name[7:]}": blob for name, blob in blobs.items()}
    manifest = [{"Config": f"blobs/sha256/{digest(config_data)[7:]}", "Layers": []}]
    return {**members, "manifest.json": json.dumps(manifest).encode()}


names = st.text("abc/", min_size=1, max_size=20).map(lambda s: s.strip("/") or "a")
layer_files = st.dictionaries(names, st.binary(max_size=3000), max_size=8)


@given(st.lists(layer_files, min_size=1, max_size=4))
def test_unpacked_size_is_the_sum_of_all_files(layers: list[Files]) -> None:
    tars = [tar_of(files) for files in layers]
    image = read_archive(io.BytesIO(tar_of(image_members(tars))))
    assert image.unpacked_size == sum(len(data) for files in layers for data in files.values())
    assert [layer.digest for layer in image.layers] == [digest(tar) for tar in tars]


@given(layer_files)
def test_the_answer_is_the_same_however_the_layer_is_stored(files: Files) -> None:
    tar = tar_of(files)
    plain = measure_layer(io.BytesIO(tar))
    assert measure_layer(io.BytesIO(gzip.compress(tar))) == plain
    assert measure_layer(io.BytesIO(gzip.compress(tar[:700]) + gzip.compress(tar[700:]))) == plain
    assert measure_layer(io.BytesIO(zstandard.compress(tar))) == plain


@given(layer_files, st.randoms(use_true_random=False))
def test_the_order_of_the_members_does_not_matter(files: Files, random: object) -> None:
    members = list(image_members([tar_of(files)]).items())
    random.shuffle(members)  # type: ignore[attr-defined]
    image = read_archive(io.BytesIO(tar_of(dict(members))))
    assert image.unpacked_size == sum(map(len, files.values()))


def test_compressed_size_does_not_depend_on_how_the_data_arrives() -> None:
    tar = tar_of({"a": bytes(range(256)) * 9000})

    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    assert measure_layer(Dripping(tar)) == measure_layer(io.BytesIO(tar))


def test_compressed_size_is_near_gzips_own() -> None:
    sources = Path(json.__file__).parent.parent.glob("*.py")
    tar = tar_of({path.name: path.read_bytes() for path in sources})
    assert 0.8 < measure_layer(io.BytesIO(tar)).compressed_size / len(gzip.compress(tar)) < 1.25


def test_a_hard_link_is_counted_once() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
        link = tarfile.TarInfo("b")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        archive.addfile(link)
    assert measure_layer(io.BytesIO(buffer.getvalue())).unpacked_size == 5


def test_an_oci_layout_on_disk_measures_like_its_archive(tmp_path: Path) -> None:
    layer = tar_of({"app/server": b"x" * 5000})
    members = image_members([layer], [gzip.compress(layer)])
    config = next(name for name, data in members.items() if b"diff_ids" in data)
    manifest = json.dumps({"config": {"digest": f"sha256:{config.rsplit('/', 1)[1]}"}}).encode()
    members[f"blobs/sha256/{digest(manifest)[7:]}"] = manifest
    members["index.json"] = json.dumps({"manifests": [{"digest": digest(manifest)}]}).encode()
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    del members["manifest.json"]
    for name, data in members.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert read_path(tmp_path) == read_archive(io.BytesIO(tar_of(members)))


@pytest.mark.parametrize(
    "data",
    [b"", b"not a tar at all", tar_of({"a": b"b"}), bytes(10240)],
    ids=["empty", "text", "no config", "zeros"],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="not an image archive"):
        read_archive(io.BytesIO(data))


def test_a_layer_cut_short_is_refused() -> None:
    layer = tar_of({"a": b"x" * 90_000})
    for stored in (layer[:50_000], gzip.compress(layer)[:100]):
        with pytest.raises(UsageError):
            read_archive(io.BytesIO(tar_of(image_members([layer], [stored]))))


@pytest.mark.parametrize("rootfs", [{"diff_ids": None}, {"diff_ids": []}, {}])
def test_an_image_without_layers_is_one_all_the_same(rootfs: object) -> None:
    config = json.dumps({"rootfs": rootfs}).encode()
    manifest = json.dumps([{"Config": "config.json", "Layers": None}]).encode()
    archive = tar_of({"config.json": config, "manifest.json": manifest})
    assert read_archive(io.BytesIO(archive)).layers == ()


def test_a_layer_with_another_digest_is_refused() -> None:
    members = image_members([tar_of({"a": b"right"})], [tar_of({"a": b"wrong"})])
    with pytest.raises(UsageError, match="missing or damaged"):
        read_archive(io.BytesIO(tar_of(members)))


def test_a_bomb_is_stopped_at_its_limit() -> None:
    stream = ForwardStream(io.BytesIO(bytes(5 << 20)), limit=1 << 20)
    with pytest.raises(tarfile.ReadError, match="unpacks to more"):
        stream.drain()


def test_upper_layers_replace_and_hide_files_of_lower_ones() -> None:
    lower = {"etc/a": b"1", "opt/x/y": b"22", "opt/z": b"333", "var/log/l": b"4"}
    upper = {"etc/a": b"55555", "opt/.wh.x": b"", "var/.wh..wh..opq": b"", "var/new": b"6"}
    image = read_archive(
        io.BytesIO(tar_of(image_members([tar_of(lower), tar_of(upper)]))), keep_files=True
    )
    assert final_files(image) == {"etc/a": 5, "opt/z": 3, "var/new": 1}
    assert image.unpacked_size == 7 + 6  # deleting in a later layer frees nothing


def test_what_takes_a_folders_place_hides_all_that_was_in_it() -> None:
    lower = layer_of(file("d/big", b"12345"), file("d/e/f", b"1"), file("data", b"2"))
    upper = layer_of(link("d", "/tmp"))
    image = read_archive(io.BytesIO(tar_of(image_members([lower, upper]))), keep_files=True)
    assert final_files(image) == {"d": 0, "data": 1}


def test_a_folder_takes_the_place_of_a_file_or_a_link() -> None:
    lower = layer_of(file("d", b"12345"), link("bin", "usr/bin"), file("data", b"2"))
    upper = layer_of(file("d/e/f", b"1"), file("bin/sh", b"22"))
    image = read_archive(io.BytesIO(tar_of(image_members([lower, upper]))), keep_files=True)
    assert final_files(image) == {"d/e/f": 1, "bin/sh": 2, "data": 1}


def test_folders_are_summed_and_the_largest_comes_first() -> None:
    found = folders({"usr/lib/a/b": 10, "usr/lib/c": 5, "usr/bin/d": 7, "e": 1})
    assert [(f.path, f.unpacked_size, f.files) for f in found] == [
        ("/usr/lib", 15, 2),
        ("/usr/bin", 7, 1),
        ("/", 1, 1),
    ]


def test_what_is_left_behind_is_what_the_after_image_is_without() -> None:
    assert left_behind({"a": 1, "b": 2}, {"b": 2, "c": 3}) == {"a": 1}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("app/node_modules/react/index.js", "dependencies"),
        ("usr/local/go/bin/go", "dependencies"),
        ("root/.cache/go-build/00/x", "dependencies"),
        ("usr/share/nginx/html/index.html", "app"),
        ("server", "app"),
        ("etc/ssl/certs/ca-certificates.crt", "config"),
    ],
)
def test_a_path_tells_what_a_file_is_there_for(path: str, kind: str) -> None:
    assert file_kind(path) == kind


def header(member: tarfile.TarInfo) -> tuple[object, ...]:
    return member.name, member.size, member.mode, member.type, member.linkname


tar_names = st.text("aé/.", min_size=1, max_size=180).map(lambda name: name.strip("/") or "a")


@given(
    st.lists(
        st.tuples(
            tar_names,
            st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
            st.integers(0, 0o7777),
            tar_names,
            st.binary(max_size=700),
        ),
        max_size=6,
    ),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_headers_are_read_as_tarfile_reads_them(
    members: list[tuple[str, bytes, int, str, bytes]], form: int
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, kind, mode, target, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, mode
            member.linkname = target if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            member.size = len(data) if kind == tarfile.REGTYPE else 0
            with suppress(ValueError):  # ustar does not take every name
                archive.addfile(member, io.BytesIO(data))
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        expected = [header(member) for member in archive]
    stream = ForwardStream(io.BytesIO(buffer.getvalue()))
    assert [header(member) for member in tar_entries(stream)] == expected


def test_a_damaged_header_is_refused() -> None:
    tar = bytearray(tar_of({"a": b"content"}))
    tar[0] ^= 1
    with pytest.raises(tarfile.TarError):
        list(tar_entries(ForwardStream(io.BytesIO(bytes(tar)))))


def test_what_an_engine_hands_out_is_named_by_its_digest() -> None:
    layers = [tar_of({"a": b"one"}), tar_of({"b": b"two"})]
    archive = tar_of(image_members(layers))
    assert read_archive(io.BytesIO(archive), from_engine=True) == read_archive(io.BytesIO(archive))


def test_a_compressed_layers_name_is_not_taken_for_its_digest() -> None:
    layers = [tar_of({"a": b"one"})]
    archive = tar_of(image_members(layers, [gzip.compress(layers[0])]))
    image = read_archive(io.BytesIO(archive), from_engine=True)
    assert image.layers[0].digest == digest(layers[0])


def test_a_file_whose_names_lie_is_refused() -> None:
    layer = tar_of({"a": b"one"})
    members = image_members([layer])
    members[f"blobs/sha256/{digest(layer)[7:]}"] = tar_of({"a": b"something else"})
    with pytest.raises(UsageError, match="missing or damaged"):
        read_archive(io.BytesIO(tar_of(members)))


def image_with(**changes: object) -> bytes:
    """Return an image archive with other things in its config or manifest."""
    layer = tar_of({"a": b"one"})
    members = image_members([layer])
    config = {"rootfs": {"type": "layers", "diff_ids": [digest(layer)]}, **changes}
    data = json.dumps(config).encode()
    members[f"blobs/sha256/{digest(data)[7:]}"] = data
    manifest = [{"Config": f"blobs/sha256/{digest(data)[7:]}", "Layers": []}]
    members["manifest.json"] = json.dumps(manifest).encode()
    return tar_of(members)


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": []},
        {"rootfs": None},
        {"rootfs": {"diff_ids": 7}},
        {"rootfs": {"diff_ids": [{}]}},
        {"config": "x"},
        {"history": 5},
    ],
)
def test_a_config_that_means_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_archive(io.BytesIO(image_with(**changes)))


@pytest.mark.parametrize(
    "document",
    [b"[" * 200_000, b'{"manifests": 5}', b'{"manifests": [{"digest": "index.json"}]}', b"[5]"],
)
def test_an_index_that_leads_nowhere_is_refused(document: bytes) -> None:
    with pytest.raises(UsageError):
        read_archive(io.BytesIO(tar_of({"index.json": document})))


def test_an_extended_header_beyond_all_reason_is_refused() -> None:
    member = tarfile.TarInfo("pax")
    member.type, member.size = b"x", 3 << 30
    with pytest.raises(tarfile.TarError, match="extended header"):
        list(tar_entries(ForwardStream(io.BytesIO(member.tobuf() + bytes(4096)))))


def test_a_file_that_says_it_is_larger_than_any_layer_is_refused() -> None:
    member = tarfile.TarInfo("large")
    member.size = 1 << 60
    with pytest.raises(UsageError, match="says that it has"):
        measure_layer(io.BytesIO(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))


def test_links_are_listed_with_the_files() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("bin/sh", tarfile.SYMTYPE), ("bin/ls", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "bin/busybox"
            archive.addfile(member)
    buffer.seek(0)
    layer = measure_layer(buffer, keep_files=True)
    assert [(file.path, file.size) for file in layer.files] == [("bin/sh", 0), ("bin/ls", 0)]


def test_many_whiteouts_hide_what_they_name_and_no_more() -> None:
    lower = tar_of({f"d{n % 50}/f{n}": b"x" for n in range(5000)})
    upper = tar_of({f"d{n}/.wh..wh..opq": b"" for n in range(49)} | {"d49/.wh.f49": b""})
    image = read_archive(io.BytesIO(tar_of(image_members([lower, upper]))), keep_files=True)
    assert set(final_files(image)) == {f"d49/f{n}" for n in range(99, 5000, 50)}


def digests_of(layer: bytes) -> dict[str, str]:
    measured = measure_layer(io.BytesIO(layer), keep_files=True, keep_digests=True)
    return {file.path: file.digest for file in measured.files}


@given(st.lists(layer_files, min_size=1, max_size=3))
def test_files_have_the_digest_of_their_content_where_it_is_asked_for(layers: list[Files]) -> None:
    archive = tar_of(image_members([tar_of(files) for files in layers]))
    image = read_archive(io.BytesIO(archive), keep_files=True, keep_digests=True)
    found = [{file.path: file.digest for file in layer.files} for layer in image.layers]
    assert found == [{path: digest(data) for path, data in files.items()} for files in layers]
    plain = read_archive(io.BytesIO(archive), keep_files=True)
    assert not any(file.digest for layer in plain.layers for file in layer.files)


def test_only_the_list_of_users_keeps_its_content_and_only_with_digests() -> None:
    users = b"app:x:0:0\n" * 1000
    layer = layer_of(
        file("./etc/passwd", users), file("app/etc/passwd", b"x"), file("etc/group", b"x"),
        hard("etc/passwd-", "etc/passwd"),
    )  # fmt: skip
    kept = measure_layer(io.BytesIO(layer), keep_files=True, keep_digests=True).files
    assert {f.path: f.content for f in kept if f.content} == {
        "etc/passwd": users,
        "etc/passwd-": users,
    }
    assert kept[0].digest == digest(users)
    assert not any(f.content for f in measure_layer(io.BytesIO(layer), keep_files=True).files)


def test_a_list_of_users_beyond_all_reason_is_not_kept() -> None:
    layer = tar_of({"etc/passwd": bytes((1 << 20) + 1)})
    [found] = measure_layer(io.BytesIO(layer), keep_files=True, keep_digests=True).files
    assert (found.content, found.digest) == (b"", digest(bytes((1 << 20) + 1)))


def test_a_file_of_many_blocks_is_hashed_to_its_end() -> None:
    data = bytes(range(256)) * (3 << 12)
    assert digests_of(gzip.compress(tar_of({"a": data, "b": b"b"}))) == {
        "a": digest(data),
        "b": digest(b"b"),
    }


def test_a_hard_link_has_the_digest_of_what_it_names() -> None:
    assert digests_of(
        layer_of(
            file("./bin/a", b"one"),
            hard("bin/b", "bin/a"),
            hard("bin/c", "/bin/b"),
            link("bin/d", "a"),
            hard("bin/e", "bin/d"),
            hard("bin/f", "of/a/lower/layer"),
            file("bin/a", b"two"),
            hard("bin/g", "bin/a"),
        )
    ) == {
        **dict.fromkeys(("bin/b", "bin/c"), digest(b"one")),
        **dict.fromkeys(("bin/d", "bin/e", "bin/f"), ""),
        **dict.fromkeys(("bin/a", "bin/g"), digest(b"two")),
    }


# A size in a header for all files is wrong for the next one, too.
LIARS = {
    "larger": (layer_of(file("lies", b"data", pax_headers={"GNU.sparse.realsize": "9999"})), "1"),
    "smaller": (layer_of(file("lies", b"data", pax_headers={"GNU.sparse.realsize": "0"})), "1"),
    "for all": (pax(b"13 size=9999\n", file("lies", b"data"), kind=tarfile.XGLTYPE), ""),
    "sparse": (sparse("100,4", 300), "1"),
    "old sparse": (
        patched(layer_of(file("lies", type=tarfile.GNUTYPE_SPARSE)), 483, size(1 << 30)),
        "1",
    ),
}


@pytest.mark.parametrize("name", LIARS)
def test_a_size_that_is_not_what_follows_gives_no_digest_and_harms_no_other_file(name: str) -> None:
    lying, hashed = LIARS[name]
    used = -(-len(lying.rstrip(b"\0")) // 512) * 512  # without the archive's end
    found = digests_of(lying[:used] + layer_of(file("x", b"1")))
    assert list(found.values()) == ["", digest(hashed.encode()) if hashed else ""]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_asking_for_digests_changes_nothing_else_of_a_hostile_layer(case: Case) -> None:
    assert outcome(case.data, keep_digests=True) == outcome(case.data, keep_digests=False)


def outcome(layer: bytes, *, keep_digests: bool) -> object:
    """Return a layer without its digests, or the error that reading it ends in."""
    try:
        found = measure_layer(io.BytesIO(layer), keep_files=True, keep_digests=keep_digests)
    except UsageError as error:
        return error.what
    return replace(found, files=tuple(replace(file, digest="") for file in found.files))


def test_a_file_cut_short_is_refused_with_and_without_digests() -> None:
    layer = tar_of({"a": b"x" * 5000})[:2000]
    for keep_digests in (True, False):
        with pytest.raises(UsageError, match="cannot be read"):
            measure_layer(io.BytesIO(layer), keep_files=True, keep_digests=keep_digests)


def two_images() -> tuple[Files, list[dict[str, object]]]:
    """Return the members of two images but for the document that names both, and its entries."""
    members: Files = {}
    entries: list[dict[str, object]] = []
    for text in (b"one", b"two"):
        own = image_members([tar_of({"a": text})])
        entries += json.loads(own.pop("manifest.json"))
        members |= own
    return members, entries


def read_entries(document: str, entries: list[dict[str, object]]) -> ImageArchive:
    members, configs = two_images()
    for entry, config in zip(entries, configs, strict=False):
        entry.setdefault("Config", config["Config"])
    if document == "index.json":
        for entry in entries:
            name = str(entry.pop("Config")).rpartition("/")[2]
            manifest = json.dumps({"config": {"digest": f"sha256:{name}"}}).encode()
            entry["digest"] = digest(manifest)
            members[f"blobs/sha256/{digest(manifest)[7:]}"] = manifest
    listed: object = entries if document == "manifest.json" else {"manifests": entries}
    members[document] = json.dumps(listed).encode()
    return read_archive(io.BytesIO(tar_of(members)))


NAME = "org.opencontainers.image.ref.name"
ATTESTATION = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}


@pytest.mark.parametrize(
    ("document", "entries"),
    [
        ("manifest.json", [{"RepoTags": ["a:1"]}, {"RepoTags": ["b:1"]}]),
        ("manifest.json", [{"RepoTags": None}, {"RepoTags": None}]),  # saved by their IDs
        ("index.json", [{"annotations": {NAME: "a"}}, {"annotations": {NAME: "b"}}]),
        ("index.json", [{}, {}]),
        ("index.json", [{"platform": {"os": "linux"}}, {"platform": {"os": "linux"}}]),
    ],
)
def test_an_archive_of_several_images_is_refused(
    document: str, entries: list[dict[str, object]]
) -> None:
    with pytest.raises(UsageError, match="holds several images") as caught:
        read_entries(document, entries)
    assert "Save one alone" in caught.value.mend


@pytest.mark.parametrize(
    ("document", "entries"),
    [
        ("manifest.json", [{"RepoTags": ["a:1"]}, {"RepoTags": ["a:1"]}]),
        ("index.json", [{"platform": {"architecture": "amd64"}}, {"platform": {"os": "linux"}}]),
        ("index.json", [{}, {**ATTESTATION, "platform": {"os": "unknown"}}]),
        ("index.json", [{"annotations": {NAME: "a"}}]),
    ],
)
def test_platforms_and_attestations_do_not_make_several_images_of_one(
    document: str, entries: list[dict[str, object]]
) -> None:
    assert read_entries(document, entries).unpacked_size == 3


def test_two_names_of_one_image_are_one(tmp_path: Path) -> None:
    members = image_members([tar_of({"a": b"one"})])
    [entry] = json.loads(members["manifest.json"])
    named = [{**entry, "RepoTags": [name]} for name in ("a:1", "b:1")]
    members["manifest.json"] = json.dumps(named).encode()
    assert read_archive(io.BytesIO(tar_of(members))).unpacked_size == 3


def test_what_an_engine_hands_out_is_one_image_whatever_it_lists() -> None:
    members, entries = two_images()
    members["manifest.json"] = json.dumps(entries).encode()
    assert read_archive(io.BytesIO(tar_of(members)), from_engine=True).unpacked_size == 3
