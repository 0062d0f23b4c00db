"""States of optimisers and criteria: rows are taken out and put in, whatever they are made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch

from dcm import Example, RowKey
from dcm.solver.item import Best, Ended, Item, Parked, Row
from dcm.solver.state import copied, join, one, stack, take


class Named(NamedTuple):
    first: torch.Tensor
    inner: tuple


def state(*rows):
    numbers = torch.tensor(rows, dtype=torch.float32)
    return Named(numbers, ({"a": numbers[:, None] * 10, "b": [numbers > 1]}, (), numbers.double()))


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and all(map(equal, one, other)) and len(one) == len(other)


def test_rows_are_taken_in_the_order_asked_for():
    assert equal(take(state(0, 1, 2, 3), torch.tensor([3, 1])), state(3, 1))


def test_states_are_joined():
    assert equal(join(state(0, 1), state(2)), state(0, 1, 2))


def test_single_rows_are_stacked_again():
    whole = state(0, 1, 2)
    assert equal(stack([one(whole, 2), one(whole, 0)]), state(2, 0))


def test_a_row_that_is_kept_is_alone():
    """Else it would keep the memory of all that ended with it."""
    whole = state(0, 1)
    kept = copied(one(whole, 0))
    assert equal(kept, one(state(0, 1), 0))
    kept.first.add_(5)
    assert equal(whole, state(0, 1))


def test_an_attempt_that_is_kept_while_its_example_tries_again_is_alone():
    together = torch.arange(12.0).view(3, 2, 2)
    best = Best(together[1], 0.0, 3, (1.0,), -1.0, math.nan)
    row = Row(Item(Example("id", question="q", answer="a"), (), ()), RowKey(0, "id", 0))
    row.parked = Parked(together[1], together[1:], {"at": together[1]}, best)
    kept = Ended(row, converged=False, finite=True, best=best).alone()
    assert kept.best.content.equal(together[1])
    assert kept.row.parked is not None
    assert kept.row.parked.best is kept.best
    for tensor in (kept.best.content, kept.row.parked.content, kept.row.parked.criterion["at"]):
        assert tensor.untyped_storage().nbytes() == 4 * 4


def test_what_is_no_state_is_refused():
    with pytest.raises(TypeError, match="made of tensors, tuples, lists and dicts, not int"):
        take((torch.zeros(2), 3), torch.tensor([0]))
