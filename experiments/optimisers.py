"""Optimisers that are tried: a learning rate that falls, and contents of a map of low rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from dcm import Optimizer, RowKey, Space, State


class Counted(NamedTuple):
    """Steps taken, [R] float32, and the inner optimiser's state."""

    steps: Tensor
    inner: State


@attrs.frozen
class Decaying(Optimizer):
    """Steps of another optimiser, which grow smaller.

    Attributes:
        inner: the other optimiser.
        half: after so many steps one is half as long as at first, after twice as many a third.
    """

    inner: Optimizer
    half: float

    def temperature(self, slots: int) -> float:
        return self.inner.temperature(slots)

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        return self.inner.start(keys, space, texts)

    def init(self, content: Tensor, space: Space) -> Counted:
        return Counted(content.new_zeros(len(content)), self.inner.init(content, space))

    def step(self, content: Tensor, gradient: Tensor, state: Counted) -> tuple[Tensor, Counted]:
        moved, inner = self.inner.step(content, gradient, state.inner)
        share = 1 / (1 + state.steps / self.half)
        return content + share[:, None, None] * (moved - content), Counted(state.steps + 1, inner)


class LowRankState(NamedTuple):
    """W [R, r, D], z [R, K, r] and b [R, K, D], and the states of their optimisers."""

    map: Tensor
    coordinates: Tensor
    offset: Tensor
    of_map: State
    of_coordinates: State
    of_offset: State


@attrs.frozen
class LowRank(Optimizer):
    """Contents z W + b, of which a row trains all three (Progressive Cramming, arXiv 2607.21231).

    A content has the same entries as before: what differs is how a gradient moves it.

    Attributes:
        inner: the optimiser of each of the three.
        rank: r.
    """

    inner: Optimizer
    rank: int

    def temperature(self, slots: int) -> float:
        return self.inner.temperature(slots)

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        return self.inner.start(keys, space, texts)

    def init(self, content: Tensor, space: Space) -> LowRankState:
        rows, slots, width = content.shape
        # The same for every row, so that a row depends on itself alone; z = 0 leaves the start be.
        drawn = torch.randn(self.rank, width, generator=torch.Generator().manual_seed(0))
        map_ = (drawn / self.rank**0.5).to(content.device).expand(rows, -1, -1).clone()
        zeros = content.new_zeros(rows, slots, self.rank)
        of_map, of_zeros, of_content = (
            self.inner.init(each, space) for each in (map_, zeros, content)
        )
        return LowRankState(map_, zeros, content, of_map, of_zeros, of_content)

    def step(
        self, content: Tensor, gradient: Tensor, state: LowRankState
    ) -> tuple[Tensor, LowRankState]:
        move, old = self.inner.step, state
        # Sums of products, so that no product of matrices depends on how many rows there are.
        to_map = (old.coordinates[..., None] * gradient[:, :, None]).sum(1)
        to_coordinates = (gradient[:, :, None] * old.map[:, None]).sum(-1)
        map_, of_map = move(old.map, to_map, old.of_map)
        coordinates, of_coordinates = move(old.coordinates, to_coordinates, old.of_coordinates)
        offset, of_offset = move(old.offset, gradient, old.of_offset)
        made = (coordinates[..., None] * map_[:, None]).sum(2) + offset
        return made, LowRankState(map_, coordinates, offset, of_map, of_coordinates, of_offset)
