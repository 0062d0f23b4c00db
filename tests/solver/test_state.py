"""States of optimisers and criteria: rows are taken out and put in, whatever they are made of."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from dcm.solver.state import join, one, stack, take


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


def test_a_single_row_is_a_copy():
    whole = state(0, 1)
    one(whole, 0).first.add_(5)
    assert equal(whole, state(0, 1))


def test_what_is_no_state_is_refused():
    with pytest.raises(TypeError, match="made of tensors, tuples, lists and dicts, not int"):
        take((torch.zeros(2), 3), torch.tensor([0]))
