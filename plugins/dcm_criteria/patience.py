"""Patience: a criterion has to hold for a while."""

from __future__ import annotations

from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm import ConvergenceCriterion, Observation, State, fields
from dcm_criteria.exact import Exact


class PatienceState(NamedTuple):
    """How many steps in a row the wrapped criterion has held, [R] int64, and its own state."""

    held: Tensor
    inner: State


@attrs.frozen
class Patience(ConvergenceCriterion):
    """A row is done when the wrapped criterion has held for `steps` steps in a row.

    Attributes:
        inner: the wrapped criterion.
        steps: how many.
    """

    inner: ConvergenceCriterion = attrs.field(factory=Exact, converter=fields.criterion)
    steps: int = attrs.field(default=3, validator=attrs.validators.ge(1))

    @property
    def needs_baselines(self) -> bool:
        return self.inner.needs_baselines

    def init(self, rows: int, device: torch.device | None = None) -> PatienceState:
        held = torch.zeros(rows, dtype=torch.int64, device=device)
        return PatienceState(held, self.inner.init(rows, device))

    def update(self, state: PatienceState, seen: Observation) -> tuple[PatienceState, Tensor]:
        inner, holds = self.inner.update(state.inner, seen)
        held = torch.where(holds, state.held + 1, 0)
        return PatienceState(held, inner), held >= self.steps
