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
        """The texts that the example's content is optimised for; one at least is checked."""

    @abstractmethod
    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        """Combine the strands' losses into one loss a row.

        Args:
            nll: [J] float32, nats, mean over each target's tokens.
            strands: which row (`strands.row` [J]), mode (`strands.modes`) and weight
                (`strands.weight` [J]) each has, and what a random choice is drawn from
                (`strands.draw` [R], if `draws`).

        Returns:
            [R] float32, R = `strands.rows`. Row r must depend on row r's strands alone.
        """

    @property
    def draws(self) -> bool:
        """Whether `loss` reads `strands.draw`, which is made only then."""
        return False

    @property
    def combines(self) -> bool:
        """Whether the gradients of a row's modes are made one by `combine`, and not added."""
        return False

    def combine(self, gradients: Tensor) -> Tensor:
        """The gradient of each row, of those of its modes; asked if `combines` says so.

        Args:
            gradients: [R, M, K, D] float32, of the loss in the content, by way of one mode's
                strands each; zeros where a row has fewer than M modes.

        Returns:
            [R, K, D] float32. Row r depends on row r of the argument alone.
        """
        # One after the other: a sum over an axis takes an order that depends on its length.
        total = gradients[:, 0]
        for mode in range(1, gradients.shape[1]):
            total = total + gradients[:, mode]
        return total

    def penalty(self, content: Tensor) -> Tensor | None:
        """A further term from `content` [R, K, D]: [R] float32, or None for none."""
        return None
