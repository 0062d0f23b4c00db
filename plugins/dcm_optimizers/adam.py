"""Adam over rows: each row has its own moments and its own step count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm import Optimizer, RowKey, Space


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


def learning_rate(slots: int) -> float:
    """The default learning rate for K slots: few slots must move far, many share the way."""
    return float(1.2 * slots ** (-2 / 3))


def start_scale(slots: int) -> float:
    """The default scale of the start for K slots, in units of the embeddings' scale."""
    return float(9.5 * slots ** (-1 / 3))


def temperature(slots: int) -> float:
    """The default cross-entropy temperature for K slots.

    One or two slots can hardly hold a text, so that no gradient may be spent on tokens that are
    the argmax already.
    """
    return min(1.0, slots / 4)


_OPTIONAL_POSITIVE = attrs.validators.optional(attrs.validators.gt(0))


@attrs.frozen
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), each row by itself.

    The defaults take the fewest steps to certified contents on the bundled model, see
    `docs/results/convergence.md`. They forget faster than Adam's usual ones (0.9, 0.999), since
    a content is found within tens of steps.

    Attributes:
        lr: learning rate, constant; None chooses one by K.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        start_scale: standard deviation of the normal start, in units of the standard deviation
            of the model's input embeddings; None chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    lr: float | None = attrs.field(default=None, validator=_OPTIONAL_POSITIVE)
    betas: tuple[float, ...] = attrs.field(
        default=(0.6, 0.9), converter=_betas, validator=_two_below_one
    )
    eps: float = attrs.field(default=1e-8, validator=attrs.validators.gt(0))
    start_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    gradient_temperature: float | None = attrs.field(default=None, validator=_OPTIONAL_POSITIVE)

    def temperature(self, slots: int) -> float:
        return (
            temperature(slots) if self.gradient_temperature is None else self.gradient_temperature
        )

    def start(self, keys: Sequence[RowKey], space: Space) -> Tensor:
        shape = (space.slots, space.width)
        noise = torch.stack([torch.randn(shape, generator=key.random()) for key in keys])
        scale = start_scale(space.slots) if self.start_scale is None else self.start_scale
        return (noise * (space.scale * scale)).to(space.device)

    def init(self, content: Tensor) -> AdamState:
        zeros = torch.zeros_like(content)
        ones = content.new_ones(len(content), dtype=torch.float64)
        return AdamState(zeros, zeros.clone(), ones, ones.clone())

    def step(self, content: Tensor, gradient: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        lr = learning_rate(content.shape[1]) if self.lr is None else self.lr
        beta1, beta2 = self.betas
        first_left, second_left = state.first_left * beta1, state.second_left * beta2
        first = state.first.lerp(gradient, 1 - beta1)
        second = torch.addcmul(state.second * beta2, gradient, gradient, value=1 - beta2)
        size = (lr / (1 - first_left)).float()[:, None, None]
        root = (second / (1 - second_left).float()[:, None, None]).sqrt_().add_(self.eps)
        return content - size * first / root, AdamState(first, second, first_left, second_left)
