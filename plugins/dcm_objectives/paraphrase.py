"""The paraphrase objective: the joint one, and the question's variants beside it."""

from __future__ import annotations

import attrs
from torch import Tensor

from dcm import Example, Objective, Strands, Target


@attrs.frozen
class Paraphrase(Objective):
    """c* = argmin_c  L(question) + L(answer) + weight x mean over the variants of L(variant).

    Other wordings of the question keep the content from being made for one wording alone: a
    regularisation for runs in which question and answer fight. A content cannot generate two
    texts under one mode, so the variants have modes of their own, `variant_1`, `variant_2` and so
    on, and a row is exact when it generates these too. An example without variants has the
    targets of `joint`.

    Attributes:
        weight: factor of the mean over the variants.
        most: how many of the first variants to use at most; None for all.
        question_weight: factor of the question's loss.
        answer_weight: factor of the answer's loss.
    """

    weight: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))
    most: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    question_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    answer_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def targets(self, example: Example) -> tuple[Target, ...]:
        variants = example.variants[: self.most]
        return (
            Target("question", example.question, self.question_weight),
            Target("answer", example.answer, self.answer_weight),
            *(
                Target(f"variant_{number}", variant, self.weight / len(variants))
                for number, variant in enumerate(variants, start=1)
            ),
        )

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)
