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

    Upper layers replace files of lower ones, and hide them with whiteouts:
    https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
    """
    tree: dict[str, File] = {}
    for layer in image.layers:
        whiteouts = _whiteouts(layer.files)
        if whiteouts:
            tree = {path: f for path, f in tree.items() if not _is_hidden(path, whiteouts)}
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
    """Return the paths that a layer hides; with a slash behind a folder whose content it hides."""
    hidden = set()
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name == _OPAQUE:
            hidden.add(f"{folder}/")
        elif name.startswith(_WHITEOUT):
            hidden.add(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
    return hidden


def _is_hidden(path: str, whiteouts: set[str]) -> bool:
    parts = path.split("/")
    ancestors = ["/".join(parts[:depth]) for depth in range(len(parts))]
    return path in whiteouts or any(a in whiteouts or f"{a}/" in whiteouts for a in ancestors)


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
