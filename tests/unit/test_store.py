"""The store, the deltas and their locks: what is written, found again, and refused."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from multistage.errors import MachineError

if sys.platform == "win32":
    pytest.skip("this engine is for Linux", allow_module_level=True)

from multistage.engines.daemonless.files import locked, sweep, unfinished, write_whole
from multistage.engines.daemonless.snapshots import Snapshots, read_note, write_note
from multistage.engines.daemonless.store import CONFIG, LAYER, MANIFEST, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots")


def an_image(store: Store, layer: bytes = b"layer", **labels: str) -> dict[str, Any]:
    config, config_size = store.put_json({"config": {"Labels": labels}})
    digest = store.put(layer)
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config, "size": config_size},
        "layers": [{"mediaType": LAYER, "digest": digest, "size": len(layer)}],
    }


def test_a_blob_is_found_by_its_digest(store: Store) -> None:
    digest = store.put(b"text")
    assert digest == f"sha256:{hashlib.sha256(b'text').hexdigest()}"
    assert store.read(digest) == b"text"
    assert store.has(digest, 4)
    assert not store.has(digest, 5)


@pytest.mark.parametrize("digest", ["", "sha256:x", "sha256:../../x", "sha256:" + "a" * 64 + "\n"])
def test_what_is_no_digest_is_no_path(store: Store, digest: str) -> None:
    with pytest.raises(MachineError, match="is no digest"):
        store.blob(digest)


def test_a_damaged_blob_is_removed_and_said(store: Store) -> None:
    digest = store.put(b"text")
    store.blob(digest).write_bytes(b"tent")
    with pytest.raises(MachineError, match="is damaged"):
        store.read(digest)
    assert not store.has(digest)
    assert store.read(store.put(b"text")) == b"text"


def test_a_damaged_blob_is_replaced_when_it_is_put_again(store: Store) -> None:
    digest = store.put(b"text")
    store.blob(digest).write_bytes(b"tent")
    store.put(b"text")
    assert store.read(digest) == b"text"


def test_an_image_is_found_by_its_name_and_by_its_id(store: Store) -> None:
    image = store.add("a/b:c", an_image(store, x="y"))
    assert store.image("a/b:c") == store.image("docker.io/a/b:c") == store.image(image.id) == image
    assert image.labels == {"x": "y"}
    assert store.image("a/b:d") is None


def test_a_name_leaves_its_last_image_which_stays_by_id(store: Store) -> None:
    first = store.add("a:b", an_image(store, n="1"))
    second = store.add("a:b", an_image(store, n="2"))
    assert store.image("a:b") == second
    assert store.image(first.id) == first
    assert len(store.names()) == 1


def test_an_image_whose_layer_is_gone_is_not_there(store: Store) -> None:
    image = store.add("a:b", an_image(store))
    store.blob(image.manifest["layers"][0]["digest"]).unlink()
    assert store.image("a:b") is None
    with pytest.raises(MachineError, match="has not all of a:b"):
        store.add("a:b", image.manifest)
    assert any("cannot be read" in text for text in store.verify())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"manifests": {}}', '{"manifests": [1, {}, {"digest": 1}]}']
)
def test_a_damaged_index_is_an_empty_one(store: Store, text: str) -> None:
    store.add("a:b", an_image(store))
    (store.folder / "index.json").write_text(text, "utf-8")
    assert store.image("a:b") is None
    assert store.manifests() == []
    assert store.verify() == []
    store.add("a:b", an_image(store))
    assert store.image("a:b") is not None


def test_incoming_bytes_are_gone_unless_adopted(store: Store) -> None:
    with store.incoming() as out:
        out.write(b"text")
        name = Path(out.name)
        store.sweep()  # of another process: this one is being written
        assert name.exists()
    assert not name.exists()


def test_what_a_killed_process_was_writing_is_swept(store: Store) -> None:
    blobs = store.folder / "blobs" / "sha256"
    for left in (blobs / ".incoming-x", store.folder / ".index.json-x", blobs / "x.lock"):
        left.write_bytes(b"half")
    store.put(b"whole")
    store.sweep()
    assert [path.name for path in store.folder.rglob(".*")] == []
    assert len(list(blobs.iterdir())) == 1


def a_scratch(folder: Path, content: str = "a") -> Path:
    (folder / "fs").mkdir(parents=True)
    (folder / "fs" / "a").write_text(content, "utf-8")
    return folder


def test_a_delta_is_found_again(snapshots: Snapshots, tmp_path: Path) -> None:
    made = snapshots.commit(
        a_scratch(tmp_path / "x"), removed=frozenset("ab"), owner=(1, 2), owners={"a": (3, 4)}
    )
    found = snapshots.delta(made.id)
    assert found is not None
    assert (found.removed, found.owner, found.owners) == (made.removed, (1, 2), {"a": (3, 4)})
    assert snapshots.verify() == []


def test_the_first_of_two_deltas_with_one_name_stays(snapshots: Snapshots, tmp_path: Path) -> None:
    first = snapshots.commit(a_scratch(tmp_path / "x", "first"), identifier="base-1")
    second = snapshots.commit(a_scratch(tmp_path / "y", "second"), identifier="base-1")
    assert first.id == second.id
    assert Path(f"{second.files}/a").read_text("utf-8") == "first"
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}",
        "[]",
        '{"owner": 1, "owners": {}, "removed": []}',
        '{"owner": null, "owners": [], "removed": []}',
        '{"owner": null, "owners": {"a": [1]}, "removed": []}',
    ],
)
def test_a_damaged_delta_is_none_and_is_replaced(
    snapshots: Snapshots, text: str | None, tmp_path: Path
) -> None:
    snapshots.commit(a_scratch(tmp_path / "x", "first"), identifier="base-1")
    place = snapshots.deltas / "base-1" / "delta.json"
    place.unlink() if text is None else place.write_text(text, "utf-8")
    assert snapshots.delta("base-1") is None
    assert snapshots.verify() == ["the delta base-1 is damaged"]
    second = snapshots.commit(a_scratch(tmp_path / "y", "second"), identifier="base-1")
    assert Path(f"{second.files}/a").read_text("utf-8") == "second"
    assert snapshots.verify() == []


def test_a_step_is_cached_as_long_as_its_delta_is_there(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    made = snapshots.commit(a_scratch(tmp_path / "x"))
    snapshots.remember("key", made)
    snapshots.remember("nothing", None)
    cached, nothing = snapshots.cached("key"), snapshots.cached("nothing")
    assert cached is not None
    assert cached.delta == made or (cached.delta is not None and cached.delta.id == made.id)
    assert nothing is not None
    assert nothing.delta is None
    assert snapshots.cached("other") is None
    (made.folder / "fs").rename(tmp_path / "gone")
    assert snapshots.cached("key") is None


@pytest.mark.parametrize(
    "document", [[], {}, {"delta": 1}, {"delta": "../x"}, {"delta": ""}, {"delta": []}, "x"]
)
def test_a_damaged_record_is_no_record(snapshots: Snapshots, document: object) -> None:
    snapshots.remember("key", None)
    (snapshots.folder / "steps" / "key.json").write_text(json.dumps(document), "utf-8")
    assert snapshots.cached("key") is None


def test_a_note_stands_beside_a_delta(snapshots: Snapshots, tmp_path: Path) -> None:
    made = snapshots.commit(a_scratch(tmp_path / "x"))
    assert read_note(made, "layer") is None
    write_note(made, "layer", {"size": 1})
    assert read_note(made, "layer") == {"size": 1}
    (made.folder / "layer.json").write_text("[1", "utf-8")
    assert read_note(made, "layer") is None


def test_a_session_is_swept_when_its_process_is_gone(snapshots: Snapshots) -> None:
    left = snapshots.folder / "sessions" / "dead"
    (left / "locked").mkdir(parents=True)
    (left / "locked").chmod(0)
    (snapshots.folder / "sessions" / "dead.lock").touch()
    (snapshots.folder / "sessions" / "alone.lock").touch()
    with snapshots.session() as first, snapshots.session() as second:
        assert not left.exists()
        assert first.is_dir()
        assert second.is_dir()
    assert list((snapshots.folder / "sessions").iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_whole(file, b"old")
    with pytest.raises(OSError):
        write_whole(tmp_path / "none" / "a", b"new")
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_only_what_nobody_writes_is_swept(tmp_path: Path) -> None:
    with unfinished(tmp_path, ".x-") as (_handle, name), locked(tmp_path / "held.lock"):
        (tmp_path / "free.lock").touch()
        (tmp_path / ".left").touch()
        (tmp_path / "kept").touch()
        sweep(tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {name.name, "held.lock", "kept"}


def test_a_lock_that_was_removed_keeps_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with locked(file, remove=True), pytest.raises(BlockingIOError), locked(file, wait=False):
        pass
    assert not file.exists()
    with locked(file, remove=True), locked(tmp_path / "b.lock", remove=True):
        assert file.exists()


def test_whoever_waits_for_a_lock_can_be_told_to_stop(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    file = tmp_path / "a.lock"
    with locked(file):
        with pytest.raises(InterruptedError), locked(file, check=stop):
            pass
        with pytest.raises(BlockingIOError), locked(file, shared=True, wait=False):
            pass
    with locked(file, shared=True), locked(file, shared=True, wait=False):
        pass
