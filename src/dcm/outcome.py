"""Outcome: what became of an example."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from dcm.example import Example

if TYPE_CHECKING:
    from torch import Tensor


FAILING = "failing "
"""How the reason of an example that a component failed begins; the component follows."""


class Status(StrEnum):
    """How an example's last attempt, or the attempt that is kept, ended."""

    CONVERGED = "CONVERGED"
    """The criterion said done."""
    MAX_STEPS = "MAX_STEPS"
    """The step budget was spent in every attempt."""
    NONFINITE = "NONFINITE"
    """A loss or gradient of the attempt that is kept was not finite."""
    FAILED = "FAILED"
    """The example could not be attempted, or a component failed on it; `reason` says why."""


@attrs.frozen(eq=False)
class Outcome:
    """What became of one example: the best content that was measured, and what was measured of it.

    Attributes:
        example: the example.
        status: how it ended.
        content: [K, D] float32 on the CPU, the measured content; None where nothing finite was
            measured, as where the example was not attempted.
        reason: why it failed, was not finite, or cannot be certified, as "class: details"; empty
            otherwise.
        attempts: how many attempts were made.
        attempt: which of them is kept, the first is 1; 0 where none was made.
        steps: how many times the kept attempt was measured, up to the kept content.
        row_steps: how many times the example was measured in all its attempts.
        losses: mode -> nats, mean over a target's tokens, then over the mode's checked targets.
        variant_losses: likewise over the targets that are not checked.
        exact: every token of every checked target is the argmax, teacher-forced.
        margin: smallest margin over the checked targets, in logits; -inf where nothing was
            measured.
        baselines: kind -> mode -> nats, with kinds `random`, `single_token`, `full_context`.
        decoded: mode -> what the saved content generates, of the mode's first target.
        certified: the content read back from disk generates every checked target verbatim; None
            where nobody checked.
        curve: (step, mode -> nats) of the kept attempt, thinned; checked targets.
        cosines: at each step of the kept attempt the cosine between the gradients of its modes
            in the content; empty where that was not asked for.
        penalty: the objective's penalty of the content, whose curve stands beside those of the
            modes; None where the objective has none.
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
    variant_losses: Mapping[str, float] = attrs.field(factory=dict)
    exact: bool = False
    margin: float = float("-inf")
    baselines: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict)
    decoded: Mapping[str, str] = attrs.field(factory=dict)
    certified: bool | None = None
    curve: tuple[tuple[int, Mapping[str, float]], ...] = ()
    penalty: float | None = None
    cosines: tuple[float, ...] = ()
