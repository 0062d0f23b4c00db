"""Strands: what a generator scores; one strand is one target of one row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import attrs
import torch
from torch import Tensor

from dcm.packing import Pack, pack

Layout = Literal["prefix", "suffix"]
"""Where the mode vector stands: `prefix` is [mode, c, target], `suffix` is [c, mode, target]."""


def bucket(length: int) -> int:
    """The padded length of a target of `length` tokens, a function of that length alone.

    A multiple of 8, and beyond 64 of an eighth of the power of two below, so that padding stays
    under an eighth there. A strand must not be padded to its companions' length: another padded
    length changes the last bits of its loss.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


class Group(NamedTuple):
    """The strands of one bucket. n strands, T padded target tokens.

    Attributes:
        places: [n] int64, which of the strands they are.
        ids: [n, T] int64, padded right with 0.
        mask: [n, T] bool, true at target tokens.
        lengths: [n] float32, number of target tokens.
    """

    places: Tensor
    ids: Tensor
    mask: Tensor
    lengths: Tensor


@attrs.frozen(eq=False)
class Strands:
    """J strands that share the content of R rows.

    Attributes:
        row: [J] int64, the row whose content each strand uses.
        lead: [J, D] float32, each strand's mode vector.
        ids: J token sequences, each closed by the end-of-text token.
        weight: [J] float32.
        rows: R.
        layout: where the mode vector stands.
        temperature: at which the gradient of the losses is taken, see `dcm.token_scores`; the
            losses themselves are those at 1.
    """

    row: Tensor
    lead: Tensor
    ids: Sequence[tuple[int, ...]]
    weight: Tensor
    rows: int
    layout: Layout = "prefix"
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The strands by bucket, in ascending order of bucket."""
        buckets: dict[int, list[int]] = {}
        for place, ids in enumerate(self.ids):
            buckets.setdefault(bucket(len(ids)), []).append(place)
        return tuple(self._group(size, buckets[size]) for size in sorted(buckets))

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        """The strands packed by row, for the layout `suffix`."""
        return pack(self)

    def _group(self, size: int, places: list[int]) -> Group:
        ids = torch.zeros(len(places), size, dtype=torch.int64)
        lengths = torch.tensor([len(self.ids[place]) for place in places])
        for line, place in enumerate(places):
            ids[line, : len(self.ids[place])] = torch.tensor(self.ids[place])
        mask = torch.arange(size) < lengths[:, None]
        device = self.row.device
        return Group(
            torch.tensor(places, device=device),
            ids.to(device),
            mask.to(device),
            lengths.to(device, torch.float32),
        )


class StrandScores(NamedTuple):
    """What a generator measures of J strands, teacher-forced.

    Attributes:
        nll: [J] float32, nats, mean over the target's tokens; differentiable in the content.
        exact: [J] bool, every target token is the argmax.
        margin: [J] float32, smallest (target logit - best other logit) over the target tokens.
    """

    nll: Tensor
    exact: Tensor
    margin: Tensor
