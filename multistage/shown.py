"""How results show themselves in a notebook."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from multistage.text import plain

if TYPE_CHECKING:
    from multistage.plots import Picture

# JupyterLab breaks plain text anywhere, also within words; HTML can say otherwise.
_WRAPPED = (
    "word-break:normal;overflow-wrap:anywhere;"
    "margin:0;padding:5px 0 0 7px;font-size:var(--jp-code-font-size)"  # as JupyterLab has text
)
_FRAMED = "max-width:100%;box-sizing:border-box;border:1px solid #D0D4DA;border-radius:6px"
_DOTS_PER_INCH = 200  # sharp on screens that show two dots where others show one


class Shown:
    """A result that shows itself in a notebook: text everywhere, HTML where there is room."""

    def __init__(self, text: str, rich: str | None = None, image: bytes | None = None) -> None:
        self._bundle: dict[str, Any] = {
            "text/plain": plain(text),
            "text/html": wrapped(text) if rich is None else rich,
        }
        if image is not None:
            self._bundle["image/png"] = image

    def __str__(self) -> str:
        return str(self._bundle["text/plain"])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_options: object) -> dict[str, Any]:
        return self._bundle


def wrapped(text: str) -> str:
    """Return text as HTML that breaks its lines between words."""
    return f'<pre style="{_WRAPPED}">{html.escape(plain(text))}</pre>'


def drawn(picture: Picture) -> Shown:
    """Return a figure as a notebook shows it: with its text, for those who cannot see it."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    rich = (
        f'<img alt="{html.escape(picture.text)}" width="800" '
        f'style="{_FRAMED}" src="data:image/png;base64,{data}">'
    )
    return Shown(picture.text, rich, buffer.getvalue())
