"""The size meter, and what is inside an image: read from the layers, knowing no engine."""

from multistage.images.archive import ImageArchive, read_archive, read_path
from multistage.images.attribution import Layer, attribute, is_made_by
from multistage.images.contents import Folder, final_files, final_tree, folders, left_behind
from multistage.images.layers import KINDS, File, MeasuredLayer
from multistage.images.surface import (
    PARTS,
    Surface,
    package_managers_in,
    parts_of,
    shells_in,
    surface,
)

__all__ = [
    "KINDS",
    "PARTS",
    "File",
    "Folder",
    "ImageArchive",
    "Layer",
    "MeasuredLayer",
    "Surface",
    "attribute",
    "final_files",
    "final_tree",
    "folders",
    "is_made_by",
    "left_behind",
    "package_managers_in",
    "parts_of",
    "read_archive",
    "read_path",
    "shells_in",
    "surface",
]
