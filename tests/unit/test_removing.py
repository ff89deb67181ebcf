"""Folders are removed whole, and nothing beside them."""

from __future__ import annotations

import os
from pathlib import Path

from multistage.engines.daemonless.removing import remove_tree


def test_folders_go_deeper_than_python_nests_calls_and_paths_are_long(deep_folder: Path) -> None:
    folder = deep_folder / "folder"
    folder.mkdir()
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(2500):  # 5,000 bytes of path: the system takes 4,096 in one piece
        os.mkdir("d", dir_fd=inner)
        above, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(above)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
    os.close(inner)
    remove_tree(folder)
    assert not folder.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x", "utf-8")
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "link").symlink_to(kept)
    (folder / "a" / "link").symlink_to("../../kept")
    (folder / "a" / "file").symlink_to(kept / "file")
    remove_tree(folder)
    assert not folder.exists()
    assert (kept / "file").read_text("utf-8") == "x"


def test_a_folder_that_is_a_link_stays_with_what_it_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x", "utf-8")
    link = tmp_path / "link"
    link.symlink_to(kept)
    remove_tree(link)
    assert (kept / "file").exists()


def test_what_its_files_forbid_an_ordinary_user_is_removed_all_the_same(ordinary: Path) -> None:
    folder = ordinary / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("x", "utf-8")
    (folder / "a" / "c").mkdir()
    os.mkfifo(folder / "a" / "pipe")
    for path in (folder / "a" / "b", folder / "a" / "c", folder / "a", folder):
        path.chmod(0)
    remove_tree(folder)
    assert not list(ordinary.iterdir())


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "no")
    (tmp_path / "file").write_text("x", "utf-8")
    remove_tree(tmp_path / "file")
    assert (tmp_path / "file").exists()
