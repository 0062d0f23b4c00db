"""Muon over rows: momentum whose directions are made equally long."""

from __future__ import annotations

from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm import Space
from dcm_optimizers.from_text import Defaults, FromText

# Coefficients of the quintic iteration and the number of rounds, from the source below.
_ROUNDS, _A, _B, _C = 5, 3.4445, -4.7750, 2.0315

# A batched product takes another kernel for a single matrix than for several.
_LEAST_MATRICES = 2

# And another for some sizes (9 x 9 and 11 x 11, measured) where a matrix does not begin at a
# multiple of 64 bytes, which an odd number of rows makes every other matrix of a batch do.
_ROWS = 4


class MuonState(NamedTuple):
    """Momentum [R, K, D] float32, the first learning rate [R] float32, and how many steps were
    taken, [R] float32."""

    momentum: Tensor
    rate: Tensor
    steps: Tensor


@attrs.frozen
class Muon(FromText):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), each row by itself.

    The momentum of a content, a K x D matrix, is replaced by the nearest matrix whose singular
    values are one (by five Newton-Schulz rounds, about), so that no few directions take the whole
    step. Texts of hundreds of tokens need about half as many steps as with Adam, short ones no
    fewer: see `docs/results/convergence.md`.

    Attributes:
        lr: learning rate of the first step, in units of the standard deviation of the model's input
            embeddings; None chooses one by K.
        momentum: share of the momentum that a step keeps.
        decay: after so many steps the learning rate is half of what it was, after twice as many a
            third, and so on.
        start_scale: standard deviation of the noise, in units of the standard deviation of the
            model's input embeddings; None chooses one by K.
        text_scale: factor of the embeddings of the texts' tokens; 0 starts from noise alone, None
            chooses one by K.
        gradient_temperature: cross-entropy temperature of the gradients; None chooses one by K.
    """

    momentum: float = attrs.field(
        default=0.6, validator=[attrs.validators.ge(0), attrs.validators.lt(1)]
    )
    decay: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))

    def defaults(self, slots: int) -> Defaults:
        return Defaults(
            lr=12 * slots**-0.4,
            noise=9 * slots**-0.7,
            alone=9.5 * slots ** (-1 / 3),
            texts=2 - 2 / slots,
            temperature=min(1.0, slots**0.5 / 4),
        )

    def init(self, content: Tensor, space: Space) -> MuonState:
        lr = self.defaults(space.slots).lr if self.lr is None else self.lr
        rate = content.new_full((len(content),), lr * space.scale)
        return MuonState(torch.zeros_like(content), rate, torch.zeros_like(rate))

    def step(self, content: Tensor, gradient: Tensor, state: MuonState) -> tuple[Tensor, MuonState]:
        momentum = state.momentum.lerp(gradient, 1 - self.momentum)
        # Entries as large as Adam's: about one.
        size = state.rate * max(content.shape[1:]) ** 0.5 / (1 + state.steps / self.decay)
        moved = content - size[:, None, None] * orthogonal(momentum)
        return moved, MuonState(momentum, state.rate, state.steps + 1)


def orthogonal(matrices: Tensor) -> Tensor:
    """[R, K, D]: matrices with the same singular vectors, whose singular values are about one."""
    count, rows, columns = matrices.shape
    if rows > columns:
        return orthogonal(matrices.mT).mT
    copies = -(-_LEAST_MATRICES // count)
    # Line by line, so that a row's norm does not depend on how many there are.
    norms = matrices.square().sum(2).sum(1).sqrt()
    found = (matrices / (norms + 1e-30)[:, None, None]).repeat(copies, 1, 1)
    # Rows of zeros stay zero and change no other.
    found = torch.nn.functional.pad(found, (0, 0, 0, -rows % _ROWS))
    for _ in range(_ROUNDS):
        gram = found @ found.mT
        found = _A * found + (_B * gram + _C * (gram @ gram)) @ found
    return found[:count, :rows]
