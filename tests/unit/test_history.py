"""Which instruction made a layer: history entries as real builders write them."""

import json

import pytest

from multistage.dockerfile import parse
from multistage.images import ImageArchive, attribute, is_made_by
from multistage.images.layers import MeasuredLayer

# As Docker Engine 20.10 and 26 write them, with buildx 0.13 and with their classic builder.
BUILDKIT = [
    ("RUN npm ci", "RUN /bin/sh -c npm ci # buildkit"),
    ("ARG A\nRUN npm ci", "RUN |1 A=b c /bin/sh -c npm ci # buildkit"),
    ('RUN ["npm", "ci"]', "RUN npm ci # buildkit"),
    ('SHELL ["/bin/ash", "-ec"]\nRUN npm ci', "RUN /bin/ash -ec npm ci # buildkit"),
    ("RUN a && \\\n    b", "RUN /bin/sh -c a &&     b # buildkit"),
    ("RUN <<EOF\na\nb\nEOF", "RUN /bin/sh -c a\nb\n # buildkit"),
    ("RUN --mount=type=cache,target=/x npm ci", "RUN /bin/sh -c npm ci # buildkit"),
    ("COPY --from=y --link a b /c/", "COPY a b /c/ # buildkit"),
    ('COPY ["a", "/c d"]', "COPY a /c d # buildkit"),
    ("COPY --chown=1:1 a $TO/b", "COPY --chown=1:1 a /to/b # buildkit"),
    ('COPY <<-"EOF" a /b/\nx\nEOF', "COPY a <<EOF /b/ # buildkit"),
    ("COPY --chown=1:1 a /b", "COPY a /b # buildkit"),  # Docker Engine 20.10
    ("ADD a.tar /b", "ADD a.tar /b # buildkit"),
    ("WORKDIR /app", "WORKDIR /app"),
    ("WORKDIR app", "WORKDIR /srv/app"),
]
CLASSIC = [
    ("RUN npm ci", "/bin/sh -c npm ci"),
    ("ARG A\nRUN npm ci", "|1 A=b /bin/sh -c npm ci"),
    ('RUN ["npm", "ci"]', "npm ci"),
    ("COPY a b /c/", f"/bin/sh -c #(nop) COPY multi:{'0' * 64} in /c/ "),
    ("COPY --chown=1:1 a $TO", f"/bin/sh -c #(nop) COPY --chown=1:1 file:{'0' * 64} in /b "),
    ("COPY --chown=1:1 a /b", f"/bin/sh -c #(nop) COPY --chown=1:1file:{'0' * 64} in /b "),
    ("ADD a.tar /b", f"/bin/sh -c #(nop) ADD file:{'0' * 64} in /b "),
    ("WORKDIR /a//b/", "/bin/sh -c #(nop) WORKDIR /a/b"),
    ('SHELL ["/bin/ash", "-ec"]\nWORKDIR /a', "/bin/ash -ec #(nop) WORKDIR /a"),
    (
        'SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nWORKDIR /a',
        "/bin/bash -o pipefail -c #(nop) WORKDIR /a",
    ),
]
OTHERS = [
    ("RUN ci", "RUN /bin/sh -c npm ci # buildkit"),
    ("RUN npm", "RUN /bin/sh -c npm ci # buildkit"),
    ("RUN npm ci", "/bin/sh -c npm ci --omit=dev"),
    ("RUN npm ci", "stand-in alpine: musl and busybox from Debian; no apk"),
    ('RUN ["npm", "ci"]', "RUN /bin/sh -c npm ci # buildkit"),
    ("RUN <<EOF\na\nEOF", "RUN /bin/sh -c a\nb\n # buildkit"),
    ("COPY a /b", "COPY c /b # buildkit"),
    ("COPY a /b", "COPY a /c # buildkit"),
    ("COPY a $TO/b", "COPY a /to/c # buildkit"),
    ("COPY a b$TO/b", "COPY a b/b # buildkit and more"),
    ("COPY ab$A $B", "COPY ab # buildkit"),
    ("COPY --chown=1:1 a /b", "COPY --chown=2:1 a /b # buildkit"),
    ("COPY a /b", "COPY --chown=1:1 a /b # buildkit"),
    ("COPY a /b", f"/bin/sh -c #(nop) COPY file:{'0' * 64} in /c "),
    ("ADD a /b", "COPY a /b # buildkit"),
    ("WORKDIR /app", "WORKDIR /ap"),
    ("WORKDIR app", "WORKDIR /srv/apps"),
]
BASE = "stand-in alpine: musl and busybox from Debian; no apk"


def image(*created_by: str) -> ImageArchive:
    """Return an image with a layer for each of its history's entries but those of the config."""
    config_alone = ("ARG ", "CMD ", "ENV ", "SHELL ", "USER ")
    history = [
        {"created_by": text, "empty_layer": text.startswith(config_alone)} for text in created_by
    ]
    layers = tuple(
        MeasuredLayer(f"sha256:{n}", 1, 1, "app")
        for n, entry in enumerate(history)
        if not entry["empty_layer"]
    )
    return ImageArchive({"history": history}, layers)


def last_line(text: str, created_by: str) -> int | None:
    model = parse(f"FROM scratch AS y\nFROM alpine\n{text}\n")
    above = [f"SHELL {json.dumps(i.values)}" for i in model.final.instructions[:-1]]
    above = [entry.replace("SHELL", model.final.instructions[0].keyword) for entry in above]
    return attribute(image(BASE, *above, created_by), model)[-1].line


@pytest.mark.parametrize(("text", "created_by"), [*BUILDKIT, *CLASSIC])
def test_an_entry_is_known_by_its_text(text: str, created_by: str) -> None:
    line = 3 + (text.startswith(("ARG", "SHELL")))
    assert last_line(text, created_by) == line


@pytest.mark.parametrize(("text", "created_by"), OTHERS)
def test_an_entry_with_another_text_has_no_line(text: str, created_by: str) -> None:
    assert last_line(text, created_by) is None


BUILT = image(
    BASE, "WORKDIR /app", "COPY . . # buildkit", "RUN /bin/sh -c make # buildkit", 'CMD ["/a"]'
)
DOCKERFILE = 'FROM alpine\nWORKDIR /app\nCOPY . .\nRUN make\nCMD ["/a"]\n'


def explained(text: str) -> list[tuple[int | None, str]]:
    return [(layer.line, layer.kind) for layer in attribute(BUILT, parse(text))]


def test_below_the_first_instruction_lies_the_base_image() -> None:
    assert explained(DOCKERFILE) == [(None, "base"), (2, "app"), (3, "app"), (4, "app")]
    assert is_made_by(BUILT, parse(DOCKERFILE))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("RUN make", "RUN make all", [None, None, None, None]),
        ("COPY . .", "COPY src .", [None, None, None, 4]),
        ("COPY . .", "RUN a\nCOPY . .", [None, None, 4, 5]),
        ("WORKDIR /app", "WORKDIR /app\nRUN a\nRUN b", [None, None, 5, 6]),
        ("CMD", "USER 1\nCMD", [None, None, None, None]),
    ],
)
def test_what_a_changed_dockerfile_does_not_explain_is_said_to_be_nobodys(
    old: str, new: str, lines: list[int | None]
) -> None:
    text = DOCKERFILE.replace(old, new)
    assert explained(text) == [(line, "app") for line in lines]
    assert not is_made_by(BUILT, parse(text))


def test_no_more_entries_than_there_are_are_looked_at() -> None:
    assert explained(f"{DOCKERFILE}CMD a\n" * 3)[0] == (None, "app")
    assert not is_made_by(image(), parse(DOCKERFILE))
    assert is_made_by(image(), parse("FROM alpine\n"))


def test_a_dockerfile_that_is_known_to_be_the_one_is_matched_by_its_keywords() -> None:
    model = parse(DOCKERFILE.replace("make", "a command that is told in other words"))
    unsure, sure = (attribute(BUILT, model, sure=known) for known in (False, True))
    assert [layer.line for layer in unsure] == [None] * 4
    assert [(layer.line, layer.kind) for layer in sure] == explained(DOCKERFILE)
