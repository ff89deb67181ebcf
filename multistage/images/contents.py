"""What is inside an image: its final file tree, and where its bytes lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from multistage.images.archive import ImageArchive
from multistage.images.layers import File

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and the bytes of all files in and below it."""

    path: str
    unpacked_size: int
    files: int


def final_tree(image: ImageArchive) -> dict[str, File]:
    """Return every file that a container of this image would see, by its path.

    Upper layers replace files of lower ones, a folder and all in it by a file or a link, and a
    file or a link by a folder; and they hide them with whiteouts:
    https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
    """
    tree: dict[str, File] = {}
    above: set[str] = set()  # the folders so far
    for layer in image.layers:
        own = {file.path for file in layer.files}
        folders = {folder for path in own for folder in _folders_above(path)}
        hidden = _whiteouts(layer.files) | (own & above)
        if hidden or folders & tree.keys():
            tree = {
                path: file
                for path, file in tree.items()
                if path not in folders and not _is_hidden(path, hidden)
            }
        above |= folders
        tree.update(
            (file.path, file)
            for file in layer.files
            if not file.path.rpartition("/")[2].startswith(_WHITEOUT)
        )
    return tree


def final_files(image: ImageArchive) -> dict[str, int]:
    """Return path and size of every file that a container of this image would see."""
    return {path: file.size for path, file in final_tree(image).items()}


def _whiteouts(files: Iterable[File]) -> set[str]:
    """Return what a layer says to be gone; with a slash where it is a folder's content."""
    hidden = set()
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name == _OPAQUE:
            hidden.add(f"{folder}/")
        elif name.startswith(_WHITEOUT):
            hidden.add(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
    return hidden


def _folders_above(path: str) -> list[str]:
    """Return the folders that a path lies in, the root (the empty path) among them."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts))]


def _is_hidden(path: str, hidden: set[str]) -> bool:
    above = _folders_above(path)
    return path in hidden or any(a in hidden or f"{a}/" in hidden for a in above)


def folders(files: dict[str, int], depth: int = 2) -> tuple[Folder, ...]:
    """Return the folders ``depth`` levels down, the largest first."""
    sizes: dict[str, list[int]] = {}
    for path, size in files.items():
        parts = path.split("/")
        name = "/" + "/".join(parts[:depth] if len(parts) > depth else parts[:-1])
        entry = sizes.setdefault(name, [0, 0])
        entry[0] += size
        entry[1] += 1
    rows = (Folder(name, size, count) for name, (size, count) in sizes.items())
    return tuple(sorted(rows, key=lambda folder: (-folder.unpacked_size, folder.path)))


def left_behind(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the files of ``before`` that ``after`` does not have at the same path."""
    return {path: size for path, size in before.items() if path not in after}
