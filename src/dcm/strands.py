"""Strands: what a generator scores; one strand is one target of one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import attrs
from torch import Tensor

from dcm.errors import UsageError

Layout = Literal["prefix", "suffix"]
"""Where the mode vector stands: `prefix` is [mode, c, target], `suffix` is [c, mode, target]."""


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
        temperature: at which the gradient of the losses is taken, see
            `dcm.causal_lm.token_scores`; the losses themselves are those at 1.
        modes: J names; strands of one row that have one name have one mode vector, so that a
            `prefix` prompt can be computed once for them. Empty: no two have.
        checked: [J] bool, which strands decide whether a row is done, see `Target.checked`;
            None: all do.
        draw: [R] int64, a number that row and step alone name, for what is random in a loss;
            None where nothing is drawn.
        owners: J numbers, what `row` holds, where no device need be waited for. Empty: unknown.

    Raises:
        UsageError: not one of each for every strand.
    """

    row: Tensor
    lead: Tensor
    ids: Sequence[tuple[int, ...]]
    weight: Tensor
    rows: int
    layout: Layout = "prefix"
    temperature: float = 1.0
    modes: Sequence[str] = ()
    owners: Sequence[int] = ()
    checked: Tensor | None = None
    draw: Tensor | None = None

    def __attrs_post_init__(self) -> None:
        given = (self.row, self.lead, self.ids, self.modes or self.ids, self.owners or self.ids)
        counts = set(map(len, given))
        if len(counts) > 1:
            there = f"row has {len(self.row)}, lead {len(self.lead)}, ids {len(self.ids)}"
            there += f", modes {len(self.modes)}, owners {len(self.owners)}"
            raise UsageError("strands of different numbers", there, "Give one of each a strand")

    def __len__(self) -> int:
        return len(self.ids)


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
