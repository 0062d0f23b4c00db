"""The joint objective: one content for the question and the answer."""

from __future__ import annotations

import attrs
from torch import Tensor

from dcm import Example, Objective, Strands, Target


@attrs.frozen
class Joint(Objective):
    """c* = argmin_c  L(question | question mode, c) + L(answer | answer mode, c).

    Attributes:
        question_weight: factor of the question's loss.
        answer_weight: factor of the answer's loss.
    """

    question_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    answer_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def targets(self, example: Example) -> tuple[Target, ...]:
        return (
            Target("question", example.question, self.question_weight),
            Target("answer", example.answer, self.answer_weight),
        )

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)
