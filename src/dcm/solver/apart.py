"""The gradients of a row's modes, one by one, from a single backward pass."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from dcm.sending import send
from dcm.strands import Strands


@attrs.frozen(eq=False)
class ModesApart:
    """Strands of R rows laid out so that each mode of a row has a copy of the content.

    With the layout `prefix` no two modes share a position, since the content sees the mode
    vector: scoring copies computes the same and costs the same, and the gradient in a copy is
    that mode's own. With `suffix` the modes of a row share the content's positions, which are then
    computed once a mode.

    Attributes:
        strands: the strands, over G copies.
        row: [G] int64, the row of each copy.
        mode: [G] int64, which of its row's modes, in the order in which they are first seen.
        rows: R.
        modes: M, most modes of a row.
    """

    strands: Strands
    row: Tensor
    mode: Tensor
    rows: int
    modes: int

    @classmethod
    def of(cls, strands: Strands) -> ModesApart:
        """Lay strands out; they name their modes."""
        copies: dict[tuple[int, str], int] = {}
        seen: dict[int, int] = {}
        mode, owners = [], []
        for key in zip(strands.owners, strands.modes, strict=True):
            if key not in copies:
                copies[key] = len(copies)
                mode.append(seen.setdefault(key[0], 0))
                seen[key[0]] += 1
            owners.append(copies[key])
        device = strands.row.device
        own = attrs.evolve(
            strands, row=send(torch.tensor(owners), device), rows=len(copies), owners=owners
        )
        row = send(torch.tensor([row for row, _ in copies]), device)
        places = send(torch.tensor(mode), device)
        return cls(own, row, places, strands.rows, max(seen.values()))

    def spread(self, content: Tensor) -> Tensor:
        """The copies [G, K, D] of contents [R, K, D], a leaf of autograd."""
        return content.detach().index_select(0, self.row).requires_grad_()

    def gather(self, gradients: Tensor) -> Tensor:
        """[R, M, K, D]: the gradients [G, K, D] by row and mode, zeros where a row has fewer."""
        shape = (self.rows, self.modes, *gradients.shape[1:])
        return gradients.new_zeros(shape).index_put((self.row, self.mode), gradients)


def mean_cosine(gradients: Tensor) -> Tensor:
    """[R] the mean over pairs of modes of the cosine of their gradients, from [R, M, K, D].

    0 where a row has a single mode, or a gradient is zero. Below 0 the step that helps one mode
    harms the other, to first order. Source: gradient conflict in PCGrad (arXiv 2001.06782).
    """
    total = gradients.new_zeros(len(gradients))
    pairs = gradients.new_zeros(len(gradients))
    lengths = [inner(each, each) for each in gradients.unbind(1)]
    for first in range(gradients.shape[1]):
        for second in range(first):
            there = (lengths[first] > 0) & (lengths[second] > 0)
            product = inner(gradients[:, first], gradients[:, second])
            scale = lengths[first].sqrt() * lengths[second].sqrt()
            total = total + torch.where(there, product / scale, 0)
            pairs = pairs + there
    return total / pairs.clamp(min=1)


def inner(first: Tensor, second: Tensor) -> Tensor:
    """[R] inner products of [R, K, D]."""
    # Slot by slot, so that no thread's share depends on the number of rows.
    return (first * second).sum(-1).sum(-1)


def mixed(numbers: Tensor, steps: Tensor) -> Tensor:
    """[R] int64 >= 0: a number that looks random, of a row's number and its step, both [R] int64.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), whose products wrap around.
    """
    value = numbers + (steps + 1) * -7046029254386353131
    value = (value ^ _shifted(value, 30)) * -4658895280553007687
    value = (value ^ _shifted(value, 27)) * -7723592293110705685
    return (value ^ _shifted(value, 31)) & 0x7FFFFFFFFFFFFFFF


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills up with zeros."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
