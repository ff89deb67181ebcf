"""The size meter on archives made here: order, compression and padding must not matter."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from multistage.errors import UsageError
from multistage.images import final_files, folders, left_behind, read_archive, read_path
from multistage.images.layers import file_kind, measure_layer
from multistage.images.streams import ForwardStream

Files = dict[str, bytes]


def tar_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


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
