"""What became of attempts that ended, as outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dcm.outcome import Outcome, Status
from dcm.solver.batch import Setup
from dcm.solver.guard import reason_not_finite
from dcm.solver.item import Ended, losses_by_mode
from dcm.solver.measured import by_mode


def outcomes_of(batch: Sequence[Ended], setup: Setup) -> list[Outcome]:
    """What became of each."""
    # One copy for all, since each would wait for a GPU.
    contents = torch.stack([ended.best.content for ended in batch]).to("cpu", torch.float32)
    return [
        _outcome(ended, content.clone(), setup)
        for ended, content in zip(batch, contents, strict=True)
    ]


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
        curve=tuple((step, losses_by_mode(item, nll)) for step, nll in ended.row.curve),
        cosines=tuple(ended.row.cosines),
    )
