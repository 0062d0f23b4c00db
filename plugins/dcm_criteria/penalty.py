"""PenaltyBelow: the objective's penalty has come down."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from dcm import ConvergenceCriterion, Observation, State


@attrs.frozen
class PenaltyBelow(ConvergenceCriterion):
    """The objective's penalty is at most `limit`; it holds where the objective has none.

    Beside another criterion it keeps a row going after its first exact step, until the penalty has
    come down as well: `Exact() & PenaltyBelow(0.1)`. A row that is exact but never gets there ends
    by its steps; of its exact contents the one with the smallest penalty is kept and certified.

    Attributes:
        limit: the largest penalty, in what the objective's `penalty` gives.
    """

    limit: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        if seen.penalty is None:
            return state, torch.ones_like(seen.loss, dtype=torch.bool)
        return state, seen.penalty <= self.limit
