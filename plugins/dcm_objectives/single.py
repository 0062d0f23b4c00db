"""The single-target objective: can this model be steered to one text at all?"""

from __future__ import annotations

import attrs
from torch import Tensor

from dcm import Example, Objective, Strands, Target
from dcm.fields import one_of


@attrs.frozen
class Single(Objective):
    """c* = argmin_c  L(text | mode, c) for the question or the answer alone.

    Attributes:
        mode: `question` or `answer`.
    """

    mode: str = attrs.field(default="answer", validator=one_of("question", "answer"))

    def targets(self, example: Example) -> tuple[Target, ...]:
        return (Target(self.mode, example.question if self.mode == "question" else example.answer),)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)
