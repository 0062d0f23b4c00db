"""Taking rows out of states and putting them together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcm.optimizer import State


def over(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the tensors that stand at the same place in each state."""
    first: Any = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, dict):
        return {key: over(function, *(state[key] for state in states)) for key in first}
    if isinstance(first, tuple | list):
        parts = [over(function, *each) for each in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    raise TypeError(
        f"a state is made of tensors, tuples, lists and dicts, not {type(first).__name__}"
    )


def take(state: State, rows: Tensor) -> State:
    """The rows `rows` [n] int64 of a state."""
    return over(lambda tensor: tensor.index_select(0, rows), state)


def one(state: State, row: int) -> State:
    """One row of a state, without the row axis, in the same memory."""
    return over(lambda tensor: tensor[row], state)


def copied(state: State) -> State:
    """The same in memory of its own."""
    return over(lambda tensor: tensor.clone(), state)


def stack(states: Sequence[State]) -> State:
    """A state of single rows that stand without the row axis."""
    return over(lambda *tensors: torch.stack(tensors), *states)


def join(first: State, second: State) -> State:
    """The rows of one state and then those of another."""
    return over(lambda one, other: torch.cat([one, other]), first, second)
