"""The texts in a model's reply."""

from __future__ import annotations

import json
import re

_ITEM = re.compile(r"^\s*(?:\d+\s*[.):]|[-*•])\s+(.+?)\s*$", re.MULTILINE)


def texts_of(reply: str) -> list[str] | None:
    """The texts that a reply lists; None where it lists none.

    A JSON list of strings, wherever it stands in the reply, or else the items of a numbered or
    bulleted list, which small models write whatever they are asked.
    """
    start, stop = reply.find("["), reply.rfind("]")
    if 0 <= start < stop:
        try:
            found = json.loads(reply[start : stop + 1])
        except ValueError:
            found = None
        if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
            return [each for each in map(_tidy, found) if each]
    items = [_tidy(each) for each in _ITEM.findall(reply)]
    return [each for each in items if each] or None


def _tidy(text: str) -> str:
    """Without line ends, and without what small models put around an item."""
    text = " ".join(text.encode("utf-8", "ignore").decode().split())
    text = text.rstrip(",").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text
