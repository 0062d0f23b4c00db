"""Adam over rows: each row has its own moments, its own step count and its own learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm import Space
from dcm_optimizers.from_text import Defaults, FromText


class AdamState(NamedTuple):
    """What a row remembers.

    First and second moments and the last direction [R, K, D] float32; the learning rate, and how
    steep a first gradient it is made for, 0 for any, [R] float32 each; and how much of the moments'
    zero start is left in them, beta ** steps taken, [R] float64 each.

    These powers are multiplied up step by step: `pow` takes another routine for the last elements
    of a tensor on a CPU, so a row's last bits would depend on how many rows there are.
    """

    first: Tensor
    second: Tensor
    direction: Tensor
    rate: Tensor
    usual: Tensor
    first_left: Tensor
    second_left: Tensor


_Table = Mapping[int, tuple[float, ...]]
"""K -> values."""


def _betas(value: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(beta) for beta in value)


def _two_below_one(instance: object, attribute: object, value: tuple[float, ...]) -> None:
    if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
        raise ValueError(f"betas must be two numbers, each at least 0 and below 1, not {value}")


# K -> learning rate, hypergradient, noise beside the texts, noise alone, texts, temperature: what
# took few steps on models from 6 to 270 million parameters, see docs/results/convergence.md. A
# single slot starts from noise: the sum of all tokens makes it no faster. Its way is the least
# even, and its learning rate must not follow every bend.
_TABLE: _Table = {
    1: (14.5, 0.05, 9.0, 16.0, 0.0, 0.5),
    4: (2.61, 0.16, 3.41, 5.98, 1.5, 0.5),
    8: (1.1, 0.67, 0.86, 4.75, 3.5, 0.35),
    32: (0.2, 0.6, 0.795, 2.99, 1.94, 1.0),
    128: (0.0577, 0.5, 0.301, 1.88, 1.98, 1.0),
}

# K -> how steep a first gradient from texts is on models that the rate above suits. With fewer
# slots what a first gradient says helped some models and harmed others.
_USUAL: _Table = {8: (13.3,), 32: (36.0,), 128: (39.0,)}

# How far a row's first gradient may be from what is usual, to change its rate: by a quarter to
# twice.
_GENTLEST, _STEEPEST = 1 / 4, 16


def _at(table: _Table, slots: int) -> list[float]:
    """A line of a table, between two of them in proportion, beyond the last one on its way."""
    known = sorted(table)
    above = next((k for k in known[1:] if k >= slots), known[-1])
    below = known[known.index(above) - 1]
    share = math.log(slots / below) / math.log(above / below)

    def between(one: float, other: float) -> float:
        even = one + share * (other - one)
        return one ** (1 - share) * other**share if one and other else even

    return [between(*pair) for pair in zip(table[below], table[above], strict=True)]


def follows(slots: int) -> float:
    """The default of `hypergradient` for K slots."""
    return min(0.8, _at(_TABLE, slots)[1])


def usual_steepness(slots: int) -> float:
    """Of a first gradient from texts: what the rate for K slots is made for, 0 for any.

    It is the gradient's size summed up, times the embeddings' scale.
    """
    return _at(_USUAL, slots)[0] if slots >= min(_USUAL) else 0.0


@attrs.frozen
class Adam(FromText):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), each row by itself, with a rate that it finds.

    Which learning rate is the best differs by model, dtype and text, by a factor of ten and more.
    So each row finds its own. From the texts, and with eight slots or more, it begins by its first
    gradient: the steeper that is, the smaller are its steps. And it corrects it: with every step
    the rate is multiplied by 1 + `hypergradient` * cos, where cos is the cosine between the new
    gradient and the direction of the last step. Where both agree the step was too short. Source:
    hypergradient descent (Baydin et al. 2018, arXiv 1703.04782), here in proportion and without
    units.

    The defaults take few steps to certified contents on models from 6 to 270 million parameters,
    see `docs/results/convergence.md`. They forget faster than Adam's usual ones (0.9, 0.999), since
    a content is found within tens of steps.

    Attributes:
        lr: learning rate that rows begin with, in units of the standard deviation of the model's
            input embeddings; None chooses one by K and a row's first gradient. A row whose
            gradient is n times as steep as is usual takes 1 / sqrt(n) of it, 1/4 to twice.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        hypergradient: how strongly a row's learning rate follows its gradients, below 1; 0 keeps
            it, None chooses by K.
        start_scale: standard deviation of the noise, in units of the standard deviation of the
            model's input embeddings; None chooses one by K.
        text_scale: factor of the embeddings of the texts' tokens; 0 starts from noise alone, None
            chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    betas: tuple[float, ...] = attrs.field(
        default=(0.7, 0.9), converter=_betas, validator=_two_below_one
    )
    eps: float = attrs.field(default=1e-8, validator=attrs.validators.gt(0))
    hypergradient: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional([attrs.validators.ge(0), attrs.validators.lt(1)]),
        kw_only=True,
    )

    def defaults(self, slots: int) -> Defaults:
        lr, _, noise, alone, texts, temperature = _at(_TABLE, slots)
        return Defaults(lr, noise, alone, texts, temperature)

    def chosen(self, slots: int) -> Mapping[str, float]:
        return {**super().chosen(slots), "hypergradient": follows(slots)}

    def init(self, content: Tensor, space: Space) -> AdamState:
        lr = self.defaults(space.slots).lr if self.lr is None else self.lr
        zeros = torch.zeros_like(content)
        ones = content.new_ones(len(content), dtype=torch.float64)
        rate = content.new_full((len(content),), lr * space.scale)
        steep = usual_steepness(space.slots) if self.lr is None and self.text_scale != 0 else 0.0
        usual = content.new_full((len(content),), steep / space.scale)
        return AdamState(zeros, zeros.clone(), zeros.clone(), rate, usual, ones, ones.clone())

    def step(self, content: Tensor, gradient: Tensor, state: AdamState) -> tuple[Tensor, AdamState]:
        beta1, beta2 = self.betas
        first_left, second_left = state.first_left * beta1, state.second_left * beta2
        first = state.first.lerp(gradient, 1 - beta1)
        second = torch.addcmul(state.second * beta2, gradient, gradient, value=1 - beta2)
        root = (second / (1 - second_left).float()[:, None, None]).sqrt_().add_(self.eps)
        direction = first / (1 - first_left).float()[:, None, None] / root
        rate = state.rate
        if self.lr is None:
            own = rate * gentleness(gradient, state.usual)
            rate = torch.where(state.first_left == 1, own, rate)
        share = follows(content.shape[1]) if self.hypergradient is None else self.hypergradient
        if share:
            rate = rate * (1 + share * _cosine(gradient, state.direction))
        moved = content - rate[:, None, None] * direction
        return moved, AdamState(
            first, second, direction, rate, state.usual, first_left, second_left
        )


def gentleness(gradient: Tensor, usual: Tensor) -> Tensor:
    """[R]: times its rate that a row with a first gradient [R, K, D] begins with."""
    steepness = gradient.abs().sum(2).sum(1) / usual
    return torch.where(usual > 0, 1 / steepness.clamp(_GENTLEST, _STEEPEST).sqrt(), 1.0)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """[R] of [R, K, D] each; 0 where one has no length. Line by line, so that a row's does not
    depend on how many there are."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(2).sum(1)

    lengths = (dot(one, one) * dot(other, other)).sqrt()
    return dot(one, other) / lengths.clamp(min=torch.finfo(one.dtype).tiny)
