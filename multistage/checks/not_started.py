"""What to try where the container does not start: from the Dockerfile, the image and the log."""

from __future__ import annotations

import json
import posixpath
import re

from multistage.checks.requests import (
    BACKGROUND_HINT,
    C_LIBRARY_HINT,
    START_HINT,
    NoAnswerError,
    nudge,
    start_hint,
)
from multistage.checks.starting import (
    commands,
    in_foreground,
    trailing_comment,
    without_cgo,
    words_of,
)
from multistage.dockerfile import Dockerfile, Instruction
from multistage.errors import LearnerError
from multistage.images import File, ImageArchive, final_tree
from multistage.labs import LabFolder

_EXECUTABLE = 0o111
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # where an image says none
_DENIED = re.compile(r"^(?!.*\bexec:? ).*permission denied", re.IGNORECASE | re.MULTILINE)
_SPLIT = re.compile(r'invalid option: "off;?"')


def start_hints(
    lab: LabFolder, model: Dockerfile, image: ImageArchive, error: LearnerError
) -> tuple[str, ...]:
    """Return the hints for a container that ended, was refused or did not answer."""
    if isinstance(error, NoAnswerError):
        return (
            f"The lab asks on port {lab.port}. Who listens there?",
            f"The program must listen on port {lab.port} of all addresses: on 127.0.0.1 alone it "
            "is not reached from outside. EXPOSE does not change where it listens.",
            "Leave port and address as the app or the base image has them.",
        )
    hints = (
        _not_allowed(lab, image, error)
        or _split_in_words(model, error)
        or _looked_for_elsewhere(lab, model, image, error)
        or _usual(model, error)
    )
    line = trailing_comment(model)
    comment = f"Line {line}: behind an instruction a comment is part of it. Give it its own line."
    return (*hints, comment) if line else hints


def _not_allowed(lab: LabFolder, image: ImageArchive, error: LearnerError) -> tuple[str, ...]:
    """Return what a user needs whom the running program's log says to lack a right."""
    if not (lab.nonroot_hints and image.user and _DENIED.search(error.said)):
        return ()
    happened = f"The program runs as {image.user}, and this user may not write what it writes."
    return (happened, *lab.nonroot_hints[1:])


def _split_in_words(model: Dockerfile, error: LearnerError) -> tuple[str, ...]:
    if not _SPLIT.search(error.what):
        return ()
    return (
        "How many words does nginx get behind -g?",
        "daemon off; must be one word. Without brackets and quotes around it a shell makes two of "
        "it, and takes the semicolon for itself.",
        in_foreground(model) or 'CMD ["nginx", "-g", "daemon off;"]',
    )


def _looked_for_elsewhere(
    lab: LabFolder, model: Dockerfile, image: ImageArchive, error: LearnerError
) -> tuple[str, ...]:
    """Return where the program is that was not found, and the line that names it there."""
    command = _first(model)
    words = words_of(command) if command else []
    if command is None or not words or not _not_found(words[0], error.what):
        return ()
    program, name = words[0], posixpath.basename(words[0])
    files = [file for path, file in final_tree(image).items() if posixpath.basename(path) == name]
    if _is_there(program, files, image):
        return ()
    if not files:
        # The line that is there already is no help: the lab's own base would start nginx.
        is_other = lab.start_line and not lab.start_line.endswith(command.original)
        return (
            f"Is {program} in the final image? It has its base image and what COPY brings.",
            f"The final image has no {name}: start what it has, or copy it there.",
            *([f"Line {command.line}: {lab.start_line}"] if is_other else []),
        )
    best = min(files, key=lambda file: (not file.mode & _EXECUTABLE, len(file.path)))
    found = f"/{best.path}"
    why = f"{program} is not in the image."
    if "/" not in program:
        why = f"A word without a slash is looked up in PATH, which has no {program}."
    array = json.dumps([found, *words[1:]], ensure_ascii=False)
    return (
        f"Where in the final image is {name}, and where is it looked for?",
        f"{why} {found} is there: name it with its whole path.",
        f"Line {command.line}: {command.keyword} {array}",
    )


def _first(model: Dockerfile) -> Instruction | None:
    """Return the instruction whose first word is started: ENTRYPOINT, else CMD."""
    found = {command.keyword: command for command in commands(model)}
    return found.get("ENTRYPOINT") or found.get("CMD")


def _not_found(program: str, said: str) -> bool:
    sign = rf'(?<![\w./-]){re.escape(program)}"?: .*?(?:not found|no such file)'
    return bool(program) and re.search(sign, f"{said} ", re.IGNORECASE) is not None


def _is_there(program: str, files: list[File], image: ImageArchive) -> bool:
    """Return whether one of the files is where the program is looked for, through links or not."""
    config = image.config.get("config") or {}
    if "/" in program:
        places = {posixpath.join(str(config.get("WorkingDir") or "/"), program)}
    else:
        said = [str(v) for v in config.get("Env") or [] if str(v).startswith("PATH=")]
        path = said[-1].removeprefix("PATH=") if said else _PATH
        places = {posixpath.join("/", folder, program) for folder in path.split(":")}
    paths = {posixpath.normpath(place) for place in places}
    paths |= {f"/usr{path}" for path in paths}  # in most images /bin is a link to /usr/bin
    return any(f"/{file.path}" in paths for file in files)


def _usual(model: Dockerfile, error: LearnerError) -> tuple[str, ...]:
    hint = start_hint(error.what)
    idea = error.mend if hint == START_HINT and error.mend else hint
    line = ""
    if idea == C_LIBRARY_HINT:
        line = without_cgo(model)
    elif idea == BACKGROUND_HINT:
        line = in_foreground(model)
    return (nudge(idea), idea, *([line] if line else []))
