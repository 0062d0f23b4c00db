"""Adam over rows: each row has its own moments and its own step count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm_optimizers.from_text import FromText


class AdamState(NamedTuple):
    """First and second moments [R, K, D] float32, and how much of their zero start is left in
    them, beta ** steps taken, [R] float64 each.

    These powers are multiplied up step by step: `pow` takes another routine for the last elements
    of a tensor on a CPU, so a row's last bits would depend on how many rows there are.
    """

    first: Tensor
    second: Tensor
    first_left: Tensor
    second_left: Tensor


def _betas(value: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(beta) for beta in value)


def _two_below_one(instance: object, attribute: object, value: tuple[float, ...]) -> None:
    if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
        raise ValueError(f"betas must be two numbers, each at least 0 and below 1, not {value}")


@attrs.frozen
class Adam(FromText):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), each row by itself.

    The defaults take the fewest steps to certified contents on the bundled model, see
    `docs/results/convergence.md`. They forget faster than Adam's usual ones (0.9, 0.999), since
    a content is found within tens of steps.

    Attributes:
        lr: learning rate, constant; None chooses one by K.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        start_scale: standard deviation of the noise, in units of the standard deviation of the
            model's input embeddings; None chooses one by K.
        text_scale: factor of the embeddings of the texts' tokens; 0 starts from noise alone, None
            chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    betas: tuple[float, ...] = attrs.field(
        default=(0.6, 0.9), converter=_betas, validator=_two_below_one
    )
    eps: float = attrs.field(default=1e-8, validator=attrs.validators.gt(0))

    def learning_rate(self, slots: int) -> float:
        """The default learning rate for K slots: few slots must move far, many share the way."""
        return float(2.4 * slots**-0.85)

    def init(self, content: Tensor) -> AdamState:
        zeros = torch.zeros_like(content)
        ones = content.new_ones(len(content), dtype=torch.float64)
        return AdamState(zeros, zeros.clone(), ones, ones.clone())

    def step(self, content: Tensor, gradient: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        lr = self.learning_rate(content.shape[1]) if self.lr is None else self.lr
        beta1, beta2 = self.betas
        first_left, second_left = state.first_left * beta1, state.second_left * beta2
        first = state.first.lerp(gradient, 1 - beta1)
        second = torch.addcmul(state.second * beta2, gradient, gradient, value=1 - beta2)
        size = (lr / (1 - first_left)).float()[:, None, None]
        root = (second / (1 - second_left).float()[:, None, None]).sqrt_().add_(self.eps)
        return content - size * first / root, AdamState(first, second, first_left, second_left)
