"""Editors save in many ways: each save is seen once, and never half-written."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multistage.errors import UsageError
from multistage.labs import LabFolder, read_lab
from multistage.watch.feedback import Save
from multistage.watch.saves import is_of_an_editor, saves
from tests.unit.made import SINGLE_STAGE, TWO_STAGES, write_lab

SECONDS = 20
QUIET = 0.8  # seconds without another save


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    lab = read_lab(write_lab(tmp_path, "made") / "lab.toml")
    (lab.app / "main.go").write_text("package main\n", "utf-8")
    (lab.app / ".dockerignore").write_text("*.md\nDockerfile\ndist\n.dockerignore\n", "utf-8")
    return lab


class Watched:
    """The saves of a lab, as they are seen, each with what the Dockerfile held at that moment."""

    def __init__(self, lab: LabFolder) -> None:
        self.lab = lab
        self._stop = threading.Event()
        self._seen: queue.Queue[tuple[Save, str | None]] = queue.Queue()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        for save in saves(self.lab, self._stop):
            file = self.lab.dockerfile
            self._seen.put((save, file.read_text("utf-8") if file.exists() else None))

    def next(self) -> tuple[Save, str | None]:
        return self._seen.get(timeout=SECONDS)

    def nothing_more(self) -> bool:
        time.sleep(QUIET)
        return self._seen.empty()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def watched(lab: LabFolder) -> Iterator[Watched]:
    """Return a watch that has begun."""
    watched = Watched(lab)
    assert watched.next() == (Save(), SINGLE_STAGE)
    assert watched.nothing_more()
    yield watched
    watched.stop()


def in_place(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")


def renamed_over(file: Path, text: str) -> None:
    """Save as vim and JupyterLab do: another file, renamed over the old one."""
    other = file.with_name(f".~{file.name}")
    other.write_text(text, "utf-8")
    other.replace(file)


def emptied_first(file: Path, text: str) -> None:
    """Save as editors do that empty the file, and write to it a moment later."""
    with file.open("w", encoding="utf-8") as out:
        time.sleep(0.3)
        out.write(text)


def gone_for_a_moment(file: Path, text: str) -> None:
    """Save as editors do that keep the old file as a backup, and write a new one."""
    file.replace(file.with_name(f"{file.name}~"))
    time.sleep(0.3)
    file.write_text(text, "utf-8")


def in_pieces(file: Path, text: str) -> None:
    """Save as a slow disk does."""
    with file.open("w", encoding="utf-8", buffering=1) as out:
        for line in text.splitlines(keepends=True):
            out.write(line)
            out.flush()
            time.sleep(0.01)


def of_another_name(file: Path, text: str) -> None:
    """Save as ``sed -i`` does."""
    other = file.with_name("sedB4x1Qz")
    other.write_text(text, "utf-8")
    other.replace(file)


@pytest.mark.parametrize(
    "save",
    [in_place, renamed_over, emptied_first, gone_for_a_moment, in_pieces, of_another_name],
)
def test_a_save_of_the_dockerfile_is_seen_once_and_whole(
    watched: Watched, save: Callable[[Path, str], None]
) -> None:
    for text in (TWO_STAGES, SINGLE_STAGE):
        save(watched.lab.dockerfile, text)
        assert watched.next() == (Save(("Dockerfile",)), text)
        assert watched.nothing_more()


def test_a_save_is_seen_at_once(watched: Watched) -> None:
    began = time.monotonic()
    in_place(watched.lab.dockerfile, TWO_STAGES)
    watched.next()
    assert time.monotonic() - began < 1  # 0.06 s on a machine that does nothing else


def test_a_dockerfile_that_stays_empty_or_gone_is_said_in_the_end(watched: Watched) -> None:
    watched.lab.dockerfile.write_text("", "utf-8")
    assert watched.next() == (Save(("Dockerfile",)), "")
    watched.lab.dockerfile.unlink()
    assert watched.next() == (Save(("Dockerfile",)), None)
    in_place(watched.lab.dockerfile, TWO_STAGES)
    assert watched.next() == (Save(("Dockerfile",)), TWO_STAGES)


def test_a_file_of_the_build_context_is_seen_also_when_it_goes(watched: Watched) -> None:
    for change in (
        lambda: (watched.lab.app / "main.go").write_text("package other\n", "utf-8"),
        (watched.lab.app / "main.go").unlink,
    ):
        change()
        save, _ = watched.next()
        assert save == Save(("main.go",), context_changed=True)
        assert watched.nothing_more()


def test_what_a_build_does_not_see_is_no_save(watched: Watched) -> None:
    app = watched.lab.app
    (app / "README.md").write_text("ignored", "utf-8")
    (app / "dist").mkdir()
    (app / "dist" / "page.html").write_text("ignored", "utf-8")
    (app / ".Dockerfile.swp").write_text("an editor's", "utf-8")
    (app / ".ipynb_checkpoints").mkdir()
    (app / ".ipynb_checkpoints" / "Dockerfile-checkpoint").write_text("an editor's", "utf-8")
    watched.lab.dockerfile.read_text("utf-8")
    assert watched.nothing_more()


def test_the_rules_count_as_they_are_now(watched: Watched) -> None:
    (watched.lab.app / ".dockerignore").write_text("main.go\n.dockerignore\n", "utf-8")
    save, _ = watched.next()
    assert save == Save((".dockerignore",), context_changed=True)
    (watched.lab.app / "main.go").write_text("package other\n", "utf-8")
    assert watched.nothing_more()
    (watched.lab.app / "README.md").write_text("no longer ignored", "utf-8")
    assert watched.next()[0] == Save(("README.md",), context_changed=True)


def test_rules_that_cannot_be_read_ignore_nothing(watched: Watched) -> None:
    (watched.lab.app / ".dockerignore").write_text("[\n", "utf-8")
    assert watched.next()[0].names == (".dockerignore",)
    (watched.lab.app / "README.md").write_text("seen", "utf-8")
    assert watched.next()[0].names == ("README.md",)


def test_a_save_without_a_word_from_the_system_is_found_by_looking(
    lab: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    def silent(*_paths: object, stop_event: threading.Event, **_how: object) -> Iterator[set[int]]:
        while not stop_event.wait(0.05):
            yield set()

    monkeypatch.setattr(watchfiles, "watch", silent)
    watched = Watched(lab)
    assert watched.next() == (Save(), SINGLE_STAGE)
    emptied_first(lab.dockerfile, TWO_STAGES)
    assert watched.next() == (Save(("Dockerfile",)), TWO_STAGES)
    assert watched.nothing_more()
    watched.stop()


def test_a_lab_whose_folder_is_gone_is_said(lab: LabFolder) -> None:
    lab.app.rename(lab.folder / "elsewhere")
    with pytest.raises(UsageError, match="no folder"):
        next(saves(lab, threading.Event()))


@pytest.mark.parametrize(
    ("name", "is_an_editors"),
    [
        (".Dockerfile.swp", True),
        ("4913", True),
        (".~Dockerfile", True),
        ("Dockerfile~", True),
        ("src/.#main.go", True),
        ("main.go", False),
        ("src/App.jsx", False),
        ("Dockerfile.dev", False),
        ("swap.txt", False),
        ("#notes.txt", False),
    ],
)
def test_files_of_editors_are_told_by_their_names(name: str, is_an_editors: bool) -> None:
    assert is_of_an_editor(name) is is_an_editors
