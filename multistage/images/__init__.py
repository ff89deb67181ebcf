"""The size meter, and what is inside an image: read from the layers, knowing no engine."""

from multistage.images.archive import ImageArchive, read_archive, read_path
from multistage.images.attribution import Layer, attribute
from multistage.images.contents import Folder, final_files, folders, left_behind
from multistage.images.layers import KINDS, File, MeasuredLayer

__all__ = [
    "KINDS",
    "File",
    "Folder",
    "ImageArchive",
    "Layer",
    "MeasuredLayer",
    "attribute",
    "final_files",
    "folders",
    "left_behind",
    "read_archive",
    "read_path",
]
