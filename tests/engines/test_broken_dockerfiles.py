"""A broken Dockerfile ends with exit code 1, its line, what to do, and no traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.conftest import BASE

pytestmark = pytest.mark.docker

BROKEN: dict[str, tuple[bytes, int]] = {
    "no FROM": (b"RUN ls\n", 1),
    "empty": (b"", 1),
    "unknown stage": (b"FROM scratch AS builder\nFROM scratch\nCOPY --from=buidler / /\n", 3),
    "circle": (b"FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n", 2),
    "open here-document": (f"FROM {BASE}\nRUN <<EOF\nls\n".encode(), 2),
    "bad flag": (b"FROM scratch\n\nCOPY --form=builder / /\n", 3),
    "binary": (b"FROM scratch\n\x7fELF\0\0", 2),
    "10 MB of text": (b"FROM scratch\n" + b"# long\n" * 1_500_000, 1),
    "not UTF-8": (b"FROM scratch\n# caf\xe9\n", 2),
    "missing COPY source": (f"FROM {BASE}\n\nCOPY nowhere.txt /\n".encode(), 3),
    "RUN that fails": (f"FROM {BASE}\nRUN true\nRUN exit 7\n".encode(), 3),
    "base that does not exist": (b"FROM scratch\nFROM no.such.host.invalid/base:1\nRUN ls\n", 2),
    "base without a stand-in": (b"FROM multistage-course/no-such-image:1\nRUN ls\n", 1),
    "comment behind an instruction": (b"FROM scratch # empty base = minimal\nCOPY . /\n", 1),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_dockerfile_says_where_and_what_to_do(
    tmp_path: Path, case: tuple[bytes, int]
) -> None:
    text, line = case
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_bytes(text)
    done = subprocess.run(
        [sys.executable, "-m", "multistage", "build", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.strip().splitlines()
    place = next((n for n, words in enumerate(said) if words == f"{dockerfile}:{line}"), None)
    assert place is not None, done.stderr
    assert place > 0, "what is wrong comes first"
    assert re.search(r"\w", "".join(said[place + 1 :])), "what to do is missing"
