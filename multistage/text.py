"""Text from elsewhere, made safe to show: logs, image metadata, answers of containers."""

from __future__ import annotations

import re

# ECMA-48 control sequences and strings ("ESC [ … m" colours text, "ESC ] …" can set a title or
# fill the clipboard), then every other control character but tab and line feed.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def plain(text: str) -> str:
    """Return the text without what would steer a terminal, or reorder a line.

    Half a surrogate pair, which no file, font or page can have, is a question mark.
    """
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("", whole.replace("\r\n", "\n"))
