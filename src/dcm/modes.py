"""Modes: the named prompt vectors that say what to generate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dcm.generator import Generator
from dcm.sending import send

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.strands import Layout


def mode_words(mode: str) -> str:
    """The words of a mode as ordinary text: "Question:" for `question`."""
    return f"{mode.replace('_', ' ').capitalize()}:"


class Modes:
    """The mode vectors of a generator, made as they are asked for.

    A mode's vector is the mean input embedding of its words, so it depends on the model and the
    mode's name alone. Random vectors do as well (measured); these need no seed.

    Args:
        generator: the model they are for.
        layout: where the mode vector stands: before the content or behind it.
    """

    def __init__(self, generator: Generator, layout: Layout = "prefix") -> None:
        self.layout: Layout = layout
        self._generator = generator
        self._vectors: dict[str, Tensor] = {}

    def vector(self, mode: str) -> Tensor:
        """[D] float32 on the generator's device."""
        if mode not in self._vectors:
            ids = torch.tensor(self._generator.encode(mode_words(mode))[:-1])
            self._vectors[mode] = self._generator.embed(ids.to(self._generator.device)).mean(0)
        return self._vectors[mode]

    def vectors(self, modes: list[str]) -> Tensor:
        """[len(modes), D] float32 on the generator's device."""
        names = list(dict.fromkeys(modes))
        table = torch.stack([self.vector(mode) for mode in names])
        places = {mode: place for place, mode in enumerate(names)}
        chosen = send(torch.tensor([places[mode] for mode in modes]), table.device)
        return table.index_select(0, chosen)

    def as_dict(self) -> dict[str, Tensor]:
        """The vectors made so far, mode -> [D]."""
        return dict(self._vectors)
