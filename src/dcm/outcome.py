"""Outcome: what became of an example."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from dcm.example import Example

if TYPE_CHECKING:
    from torch import Tensor


class Status(StrEnum):
    """How an example's last attempt, or the attempt that is kept, ended."""

    CONVERGED = "CONVERGED"
    """The criterion said done."""
    MAX_STEPS = "MAX_STEPS"
    """The step budget was spent in every attempt."""
    NONFINITE = "NONFINITE"
    """A loss or gradient of the attempt that is kept was not finite."""
    FAILED = "FAILED"
    """The example could not be attempted; `reason` says why."""


@attrs.frozen(eq=False)
class Outcome:
    """What became of one example: the best content that was measured, and what was measured of it.

    Attributes:
        example: the example.
        status: how it ended.
        content: [K, D] float32 on the CPU, the measured content; None where status is FAILED or
            nothing finite was measured.
        reason: why it failed, as "class: details"; empty otherwise.
        attempts: how many attempts were made.
        attempt: which of them is kept, the first is 1; 0 where none was made.
        steps: how many times the kept attempt was measured, up to the kept content.
        row_steps: how many times the example was measured in all its attempts.
        losses: mode -> nats, mean over a target's tokens, then over the mode's targets.
        exact: every token of every target is the argmax, teacher-forced.
        margin: smallest margin over the targets, in logits; -inf where nothing was measured.
        baselines: kind -> mode -> nats, with kinds `random`, `single_token`, `full_context`.
        decoded: mode -> what the saved content generates, of the mode's first target.
        certified: the content read back from disk generates every target verbatim; None where
            nobody checked.
        curve: (step, mode -> nats) of the kept attempt, thinned; `penalty` beside the modes where
            the objective has one.
        penalty: the objective's penalty of the content; None where it has none.
    """

    example: Example
    status: Status
    content: Tensor | None = None
    reason: str = ""
    attempts: int = 0
    attempt: int = 0
    steps: int = 0
    row_steps: int = 0
    losses: Mapping[str, float] = attrs.field(factory=dict)
    exact: bool = False
    margin: float = float("-inf")
    baselines: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict)
    decoded: Mapping[str, str] = attrs.field(factory=dict)
    certified: bool | None = None
    curve: tuple[tuple[int, Mapping[str, float]], ...] = ()
    penalty: float | None = None
