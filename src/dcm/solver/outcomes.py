"""What became of attempts that ended, as outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dcm.outcome import Outcome, Status
from dcm.solver.batch import Setup
from dcm.solver.guard import reason_not_finite
from dcm.solver.item import Ended, Item, losses_by_mode
from dcm.solver.measured import by_mode


def outcomes_of(batch: Sequence[Ended], setup: Setup) -> list[Outcome]:
    """What became of each."""
    # One copy for all, since each would wait for a GPU.
    contents = torch.stack([ended.best.content for ended in batch]).to("cpu", torch.float32)
    return [
        _outcome(ended, content.clone(), setup)
        for ended, content in zip(batch, contents, strict=True)
    ]


def failed(item: Item, reason: str) -> Outcome:
    """What becomes of an item that a component failed on."""
    return Outcome(
        item.example,
        Status.FAILED,
        reason=reason,
        attempts=item.attempts,
        row_steps=item.row_steps,
    )


def _outcome(ended: Ended, content: Tensor, setup: Setup) -> Outcome:
    item, best = ended.row.item, ended.best
    measured = best.rank > float("-inf")
    status = Status.MAX_STEPS if ended.finite else Status.NONFINITE
    reason = ""
    if not ended.finite:
        reason = reason_not_finite(setup.generator, setup.objective, setup.optimizer, ended)
    return Outcome(
        example=item.example,
        status=Status.CONVERGED if ended.converged else status,
        content=content if measured else None,
        reason=reason,
        attempts=item.attempts,
        attempt=ended.row.key.attempt + 1,
        steps=best.step,
        row_steps=item.row_steps,
        losses=losses_by_mode(item, best.losses) if measured else {},
        variant_losses=losses_by_mode(item, best.losses, checked=False) if measured else {},
        exact=best.exact,
        margin=best.margin,
        baselines=by_mode(item, item.baselines) if item.baselines else {},
        penalty=None if math.isnan(best.penalty) else best.penalty,
        curve=tuple(_point(item, *each) for each in ended.row.curve),
        cosines=tuple(ended.row.cosines),
    )


def _point(
    item: Item, step: int, nll: tuple[float, ...], penalty: float
) -> tuple[int, Mapping[str, float]]:
    """A point of a curve: the losses by mode and, where there is one, the penalty."""
    losses = losses_by_mode(item, nll)
    return step, losses if math.isnan(penalty) else {**losses, "penalty": penalty}
