"""Criteria that compare a loss with a baseline loss of the same target."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from dcm import ConvergenceCriterion, Observation, State


@attrs.frozen
class RatioToRandom(ConvergenceCriterion):
    """Every target's loss is below `ratio` times its loss under random contents.

    Attributes:
        ratio: the share.
    """

    ratio: float = attrs.field(default=0.3, validator=attrs.validators.gt(0))

    @property
    def needs_baselines(self) -> bool:
        return True

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state, seen.every(seen.nll < self.ratio * seen.random)


@attrs.frozen
class WithinFullContext(ConvergenceCriterion):
    """Every target's loss is below `factor` times its loss after plain text.

    Attributes:
        factor: the multiple.
    """

    factor: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))

    @property
    def needs_baselines(self) -> bool:
        return True

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state, seen.every(seen.nll < self.factor * seen.full_context)


@attrs.frozen
class SeedRule(ConvergenceCriterion):
    """Each target's loss is below `ratio` x random or below `factor` x full context.

    The rule of the experiment's plan. It is lenient: on the bundled model it calls contents
    converged that generate nothing of the target, so report `exact` and `certified` beside it.
    Unlike `RatioToRandom() | WithinFullContext()`, it lets one target pass by one half of the
    rule and another by the other half.

    Attributes:
        ratio: share of the loss under random contents.
        factor: multiple of the loss after plain text.
    """

    ratio: float = attrs.field(default=0.3, validator=attrs.validators.gt(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))

    @property
    def needs_baselines(self) -> bool:
        return True

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        near_random = seen.nll < self.ratio * seen.random
        near_text = seen.nll < self.factor * seen.full_context
        return state, seen.every(near_random | near_text)
