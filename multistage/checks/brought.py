"""Hints for a file that a request needs and that came along, to where the program does not look."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from multistage.checks.starting import chain, workdir
from multistage.dockerfile import Dockerfile
from multistage.images import ImageArchive, final_tree
from multistage.labs import LabFolder, Request


def with_brought_files(lab: LabFolder, model: Dockerfile, image: ImageArchive) -> LabFolder:
    """Return the lab with other hints for each request whose file lies at another place."""
    if not any(request.file for request in lab.requests):
        return lab
    paths = set(final_tree(image))
    return replace(lab, requests=tuple(_request(r, model, paths) for r in lab.requests))


def _request(request: Request, model: Dockerfile, paths: set[str]) -> Request:
    if not request.file:
        return request
    for stage in chain(model):
        for copy in reversed(stage.instructions):
            *sources, destination = copy.values or ("",)
            if copy.keyword == "COPY" and request.file in map(posixpath.basename, sources):
                place = posixpath.join(workdir(model, stage), destination)
                there = _file(place, request.file, paths)
                if not there or request.hints[-1].endswith(f" {there}"):
                    return request  # nobody knows where, or it is where it should be
                nudge = f"Line {copy.line} copies {request.file} to {there}. Who looks there?"
                hints = (hint.replace("{there}", there) for hint in request.file_hints)
                return replace(request, hints=(nudge, *hints))
    return request


def _file(place: str, name: str, paths: set[str]) -> str:
    """Return the copied file's path, where it is there: in a folder it keeps its name."""
    found = (posixpath.normpath(path) for path in (posixpath.join(place, name), place))
    return next((path for path in found if path.lstrip("/") in paths), "")
