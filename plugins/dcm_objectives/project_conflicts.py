"""Gradients of modes that fight, each without what it has against the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dcm import Example, Objective, Strands, Target
from dcm_objectives.joint import Joint

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class ProjectConflicts(Objective):
    """Another objective, whose modes' gradients are projected where they conflict.

    Where the gradients of two modes in a row's content have a negative inner product, each loses
    its part along the other; then they are added. The losses are those of the other objective.
    With two modes this is PCGrad (Yu et al. 2020, arXiv 2001.06782), per row; with more, each mode
    meets the others in one order and not in a random one.

    Attributes:
        objective: whose losses; default `joint`.
    """

    objective: Objective = attrs.field(
        factory=Joint, validator=attrs.validators.instance_of(Objective)
    )

    def targets(self, example: Example) -> tuple[Target, ...]:
        return self.objective.targets(example)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return self.objective.loss(nll, strands)

    @property
    def draws(self) -> bool:
        return self.objective.draws

    def penalty(self, content: Tensor) -> Tensor | None:
        return self.objective.penalty(content)

    @property
    def combines(self) -> bool:
        return True

    def combine(self, gradients: Tensor) -> Tensor:
        modes = gradients.unbind(1)
        projected = []
        for place, mode in enumerate(modes):
            own = mode
            for other_place, other in enumerate(modes):
                if other_place != place:
                    length = _inner(other, other)
                    along = _inner(own, other).clamp(max=0) / length.where(length > 0, 1)
                    own = own - along[:, None, None] * other
            projected.append(own)
        total = projected[0]
        for each in projected[1:]:
            total = total + each
        return total


def _inner(first: Tensor, second: Tensor) -> Tensor:
    """[R] inner products of [R, K, D], slot by slot, so that no row depends on their number."""
    return (first * second).sum(-1).sum(-1)
