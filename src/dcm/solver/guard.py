"""Guard: what a component gives is checked where it comes in, and a failure names the component.

A component that fails on an example fails that example; `solve` lets its neighbours go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dcm.criterion import ConvergenceCriterion, Observation
from dcm.errors import DcmError
from dcm.example import Example
from dcm.generator import Generator
from dcm.hooks import KINDS
from dcm.memory_limit import is_out_of_memory
from dcm.objective import Objective
from dcm.optimizer import Optimizer, RowKey, Space, State
from dcm.outcome import FAILING
from dcm.plugins import installed, interface
from dcm.solver.item import Ended, Item
from dcm.solver.state import over
from dcm.strands import Strands


class ComponentError(DcmError):
    """A component raised, or gave what its interface does not allow.

    Args:
        name: the component's kind and name.
        call: its method.
        cause: what it raised, or what is wrong with what it gave.
    """

    def __init__(self, name: str, call: str, cause: str) -> None:
        super().__init__(f"{name} failed in {call}", cause, "Mend the component")
        self.reason = f"{FAILING}{name}: in {call}, {cause}"


@contextmanager
def blame(component: Any, call: str) -> Iterator[None]:
    """Name the component and its method in whatever is raised, but not where memory ran out.

    Raises:
        ComponentError: something was raised.
    """
    try:
        yield
    except ComponentError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        there = str(error) if isinstance(error, DcmError) else f"{type(error).__name__}: {error}"
        raise ComponentError(name_of(component), call, " ".join(there.split())) from error


def name_of(component: Any) -> str:
    """A component's kind and name, or that of its class where nobody registered it."""
    found = installed().of(component)
    if found is not None:
        return f"{found.kind} {found.name!r}"
    kinds = (kind for kind in KINDS if isinstance(component, interface(kind)))
    return f"{next(kinds, 'component')} {type(component).__name__}"


def item_of(example: Example, objective: Objective, generator: Generator) -> Item:
    """An example made ready; see `Item.of`.

    Raises:
        ComponentError: the objective has no targets for it.
    """
    with blame(objective, "targets"):
        return Item.of(example, objective, generator)


def start(
    optimizer: Optimizer, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]
) -> Tensor:
    """Start contents [R, K, D]."""
    with blame(optimizer, "start"):
        content = optimizer.start(keys, space, texts)
        _check(content, (len(keys), space.slots, space.width), torch.float32)
    return content


def optimizer_state(optimizer: Optimizer, content: Tensor, space: Space) -> State:
    """The optimiser's state of fresh rows."""
    with blame(optimizer, "init"):
        state = optimizer.init(content, space)
        _check_state(state, len(content))
    return state


def criterion_state(criterion: ConvergenceCriterion, rows: int, device: torch.device) -> State:
    """The criterion's state of fresh rows."""
    with blame(criterion, "init"):
        state = criterion.init(rows, device)
        _check_state(state, rows)
        return state


def row_losses(
    objective: Objective, nll: Tensor, strands: Strands, content: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Each row's loss [R], its penalty included, differentiable in `content`; and the penalty by
    itself, without a gradient, if there is one."""
    with blame(objective, "loss"):
        loss = objective.loss(nll, strands)
        _check(loss, (strands.rows,), None)
        if not loss.requires_grad:
            raise ValueError("Its losses do not depend on the contents (was it detached?)")
    with blame(objective, "penalty"):
        penalty = objective.penalty(content)
        if penalty is not None:
            _check(penalty, (strands.rows,), None)
            loss, penalty = loss + penalty, penalty.detach()
    return loss, penalty


def update(
    criterion: ConvergenceCriterion, state: State, seen: Observation
) -> tuple[State, Tensor]:
    """The criterion's new state, and which rows are done [R] bool."""
    with blame(criterion, "update"):
        state, done = criterion.update(state, seen)
        _check(done, tuple(seen.loss.shape), torch.bool)
        _check_state(state, len(done))
    return state, done


def step(
    optimizer: Optimizer, content: Tensor, gradient: Tensor, state: State
) -> tuple[Tensor, State]:
    """The contents [R, K, D] one step on, and the optimiser's new state."""
    with blame(optimizer, "step"):
        moved, state = optimizer.step(content, gradient, state)
        _check(moved, tuple(content.shape), torch.float32)
        _check_state(state, len(content))
    return moved, state


def reason_not_finite(
    generator: Generator, objective: Objective, optimizer: Optimizer, ended: Ended
) -> str:
    """Who gave the first number that was not finite, of an attempt that ended by one."""
    parked, curve = ended.row.parked, ended.row.curve
    if parked is not None and not bool(parked.content.isfinite().all()):
        return f"not finite: contents of the {name_of(optimizer)}"
    if curve and all(map(math.isfinite, curve[-1][1])):
        return f"not finite: loss or gradient of the {name_of(objective)}"
    if generator.dtype == torch.float16:
        return (
            f"not finite: loss of the {name_of(generator)} in float16, which has no number above "
            "65504: use dtype=bfloat16 or float32"
        )
    return f"not finite: loss of the {name_of(generator)}"


def _check(value: Any, shape: tuple[int, ...], dtype: torch.dtype | None) -> None:
    """Refuse what is not a tensor of that shape and dtype; None takes any floating one."""
    wanted = f"{list(shape)} {'float32' if dtype is None else str(dtype).removeprefix('torch.')}"
    if not isinstance(value, Tensor):
        raise TypeError(f"It gave {type(value).__name__}, not a tensor {wanted}")
    right = value.is_floating_point() if dtype is None else value.dtype == dtype
    if tuple(value.shape) != shape or not right:
        found = f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        raise ValueError(f"It gave {found}, not {wanted}")


def _check_state(state: State, rows: int) -> None:
    def first_axis(tensor: Tensor) -> Tensor:
        if not tensor.ndim or len(tensor) != rows:
            raise ValueError(
                f"Its state has a tensor {list(tensor.shape)}, whose first axis is not {rows} rows"
            )
        return tensor

    over(first_axis, state)
