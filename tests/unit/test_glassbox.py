"""The glass box: the crate that travels, as an archive that leaves nothing behind."""

import gc
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multistage import glassbox
from multistage.errors import MachineError
from tests.unit.made import MadeEngine, made_tar

LAB: Any = SimpleNamespace(image_id=lambda: "sha256:0", engine=MadeEngine({"server": b"x" * 700}))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that temporary files are made in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def with_index(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made_tar({"index.json": b"{}", "blobs/sha256/1": b"x" * 5000})
    monkeypatch.setattr("tests.unit.made.made_archive", lambda _files, _config: archive)


def test_a_crate_is_read_as_long_as_it_is_there_and_leaves_no_file(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_index(monkeypatch)
    crate = glassbox.crate(LAB)
    gc.collect()
    assert crate.getnames() == ["index.json", "blobs/sha256/1"]
    file: Any = crate.fileobj
    content = crate.extractfile("blobs/sha256/1")
    assert content is not None
    assert content.read() == b"x" * 5000
    del crate, content
    gc.collect()
    assert file.closed
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows shows an open file until it is closed")
def test_a_crate_is_gone_also_where_the_kernel_is_killed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_index(monkeypatch)
    crate = glassbox.crate(LAB)
    assert list(temporary.iterdir()) == []
    assert crate.getnames()


def test_an_archive_of_the_time_before_oci_is_said_to_be_one(temporary: Path) -> None:
    with pytest.raises(MachineError, match="before OCI"):
        glassbox.crate(LAB)
    assert list(temporary.iterdir()) == []
