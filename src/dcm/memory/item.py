"""MemoryItem: one kept content, with its texts and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import UsageError
from dcm.memory.contents import Shards, unpack

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.memory.memory import Memory
    from dcm.strands import Layout


@attrs.frozen(eq=False)
class MemoryItem:
    """One kept content, with its texts and figures. Reading it loads no torch before `content`.

    Attributes:
        id: the example's id.
        line: its line of results.jsonl, as the page on design describes it.
    """

    id: str
    line: Mapping[str, Any]
    _memory: Memory = attrs.field(repr=False)
    _shards: Shards = attrs.field(repr=False)

    @property
    def texts(self) -> Mapping[str, str]:
        """mode -> the text that the content was certified to generate, or did generate."""
        known = {mode: self.line[mode] for mode in ("question", "answer") if self.line.get(mode)}
        return {**known, **self.line["decoded"]}

    @property
    def certified(self) -> bool:
        """Whether the content, read back, generated every target verbatim."""
        return self.line["certified"] is True

    @property
    def content(self) -> Tensor:
        """[K, D] float32 on the CPU, whatever it is kept in."""
        return unpack(self.packed)

    @property
    def slots(self) -> int:
        """K."""
        return self._shards.slots(self.line["content"])

    @property
    def layout(self) -> Layout:
        """Where the mode vector stands: `prefix` is [mode, c], `suffix` is [c, mode]."""
        return "suffix" if self._shards.layout(self.line["content"]) == "suffix" else "prefix"

    @property
    def bytes(self) -> int:
        """What the content takes; texts and mode vectors not counted."""
        return int(self.packed.numel() * self.packed.element_size())

    def mode_vector(self, mode: str) -> Tensor | None:
        """[D] float32 on the CPU, the vector that the content was optimised with."""
        return self._shards.mode(self.line["content"], mode)

    @property
    def packed(self) -> Tensor:
        """The content as it is kept, see `dcm.memory.contents.pack`."""
        return self._shards.packed(self.line["content"])

    def generate(self, mode: str = "answer", max_new_tokens: int = 256) -> str:
        """What the model generates behind this content under a mode, greedily.

        Raises:
            UsageError: the content was not optimised for that mode.
        """
        return self._memory.generate([self.id], mode, max_new_tokens)[0]


def mode_vector(item: MemoryItem, mode: str) -> Tensor:
    """The vector [D] float32 of a mode that an item's content was optimised for.

    Raises:
        UsageError: it was not.
    """
    vector = item.mode_vector(mode) if mode in item.line["losses"] else None
    if vector is None:
        asked = f"item {item.id!r} was not optimised for the mode {mode!r}"
        there = f"It has {', '.join(item.line['losses']) or 'none'}"
        raise UsageError(asked, there, "Use one of these")
    return vector
