"""The joint objective, which also keeps contents small."""

from __future__ import annotations

import attrs
from torch import Tensor

from dcm import Example, Objective, Strands, Target


@attrs.frozen
class Decayed(Objective):
    """L(question | c) + L(answer | c) + decay * mean(c ** 2).

    Attributes:
        decay: weight of the content's mean square; 0 for none.
    """

    decay: float = attrs.field(default=1e-3, validator=attrs.validators.ge(0))

    def targets(self, example: Example) -> tuple[Target, ...]:
        return Target("question", example.question), Target("answer", example.answer)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)

    def penalty(self, content: Tensor) -> Tensor | None:
        return self.decay * content.square().mean((1, 2)) if self.decay else None
