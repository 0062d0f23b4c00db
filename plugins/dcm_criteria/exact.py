"""Exact: the target is what the model would say."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from dcm import ConvergenceCriterion, Observation, State


@attrs.frozen
class Exact(ConvergenceCriterion):
    """Every token of every target is the argmax, teacher-forced, by at least a margin.

    Without a margin an exact row need not decode: decoding runs other kernels, whose logits
    differ a little.

    Attributes:
        margin: smallest (target logit - best other logit); None takes the generator's own
            `logit_noise`, above which decoding is safe.
    """

    margin: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )

    def chosen(self, logit_noise: float) -> Mapping[str, float]:
        return {"margin": logit_noise}

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        margin = seen.logit_noise if self.margin is None else self.margin
        return state, seen.exact & (seen.margin >= margin)
