"""SVG of figures, for files and for pages that may be dark."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#333333"
"""What the style draws texts, axes and grids in."""

_ID = re.compile(r'(\bid="|\burl\(#|\bhref="#)')
_FONT = re.compile(r"font-family: [^;\"]*")


def svg(figure: Figure) -> str:
    """A figure as an SVG file."""
    out = StringIO()
    # Without a date two drawings of one figure are the same.
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def inline(text: str, name: str, label: str) -> str:
    """An SVG file as an element of a page, in the page's own ink and font, without a background.

    Args:
        text: of the file.
        name: unique on the page: ids of different figures must not meet.
        label: what those hear who do not see it.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'<g id="patch_1">.*?</g>', "", element, count=1, flags=re.DOTALL)
    element = _ID.sub(rf"\g<1>{name}-", element)
    element = _FONT.sub("font-family: inherit", element).replace(INK, "currentColor")
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
