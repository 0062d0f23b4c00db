"""Objective: which targets an example has, and how their losses make one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dcm.example import Example
from dcm.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.strands import Strands


class Objective(ABC):
    """What a row's content is optimised for. R rows, K slots, D width, J strands."""

    @abstractmethod
    def targets(self, example: Example) -> tuple[Target, ...]:
        """The texts that the example's content has to generate, at least one."""

    @abstractmethod
    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        """Combine the strands' losses into one loss a row.

        Args:
            nll: [J] float32, nats, mean over each target's tokens.
            strands: which row (`strands.row` [J]) and weight (`strands.weight` [J]) each has.

        Returns:
            [R] float32, R = `strands.rows`. Row r must depend on row r's strands alone.
        """

    def penalty(self, content: Tensor) -> Tensor | None:
        """A further term from `content` [R, K, D]: [R] float32, or None for none."""
        return None
