"""Restarts: several starts per example."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Tensor

from dcm import Optimizer, RowKey, Space, State, fields
from dcm_optimizers.adam import Adam


@attrs.frozen
class Restarts(Optimizer):
    """Gives an example whose attempt failed another start of the wrapped optimiser.

    Attributes:
        inner: the optimiser of each attempt.
        count: most attempts at an example.
    """

    inner: Optimizer = attrs.field(factory=Adam, converter=fields.optimizer)
    count: int = attrs.field(default=5, validator=attrs.validators.ge(1))

    @property
    def attempts(self) -> int:
        return self.count * self.inner.attempts

    def temperature(self, slots: int) -> float:
        return self.inner.temperature(slots)

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        return self.inner.start(keys, space, texts)

    def init(self, content: Tensor, space: Space) -> State:
        return self.inner.init(content, space)

    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return self.inner.step(content, gradient, state)
