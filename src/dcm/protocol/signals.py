"""Signals: what the course of a run says early, before its end or beside its result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs

from dcm.protocol.results import Curve, Result, loss_of
from dcm.protocol.statistics import NOTHING, Estimate, bootstrap, median, rate, spearman

AFTER = 50
"""Finished examples after which the first look is taken."""
LEAST_CONVERGED = 0.2
CONFLICT = -0.3
FEWEST_CHANGES = 8
ZERO_LOSS = 1e-3
MANY_ZERO = 0.1


@attrs.frozen
class Signal:
    """Something about a run that calls for a change of plan.

    Attributes:
        name: what was looked at.
        statistic: how it is computed, in words.
        measured: the number.
        relation: "<" where it fires below the threshold, ">" where above.
        threshold: where it fires.
        advice: what to do if it fires.
        stops: whether the protocol stops if it fires.
    """

    name: str
    statistic: str
    measured: Estimate
    relation: str = attrs.field(validator=attrs.validators.in_(("<", ">")))
    threshold: float
    advice: str
    stops: bool = False

    @property
    def fired(self) -> bool:
        """Whether it calls; nothing measured is no call."""
        value = self.measured.value
        if value is None:
            return False
        return value < self.threshold if self.relation == "<" else value > self.threshold

    def as_json(self) -> dict[str, Any]:
        """All of it; the advice only where it fired."""
        return {
            "name": self.name,
            "statistic": self.statistic,
            "measured": self.measured.as_json(),
            "relation": self.relation,
            "threshold": self.threshold,
            "fired": self.fired,
            "stops": self.stops,
            "advice": self.advice if self.fired else "",
        }


def few_converged(verdicts: Sequence[bool], counted_by: str) -> Signal:
    """Too few of the first examples to finish have converged."""
    first = verdicts[:AFTER]
    return Signal(
        name="few converged early",
        statistic=f"share converged by {counted_by} of the first {AFTER} examples to finish",
        measured=rate(first) if len(first) == AFTER else NOTHING,
        relation="<",
        threshold=LEAST_CONVERGED,
        advice=(
            "Stop and look: give more slots or steps, another learning rate, or shorter texts; "
            "check the single-target stage and the model"
        ),
        stops=True,
    )


def conflict(curve: Curve) -> float | None:
    """Spearman's correlation of the changes of question and answer loss between recorded steps.

    Changes and not levels: both losses fall, so that levels always correlate. None where fewer
    than `FEWEST_CHANGES` changes were recorded, or either loss never changed.
    """
    pairs = [
        (losses["question"], losses["answer"])
        for _, losses in curve
        if {"question", "answer"} <= set(losses)
    ]
    changes = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(pairs)]
    changes = [each for each in changes if all(map(math.isfinite, each))]
    if len(changes) < FEWEST_CHANGES:
        return None
    question, answer = zip(*changes, strict=True)
    return spearman(question, answer)


def modes_in_conflict(curves: Mapping[str, Curve]) -> Signal:
    """Question and answer fight: where one falls, the other rises."""
    found = [value for value in map(conflict, curves.values()) if value is not None]
    return Signal(
        name="question and answer in conflict",
        statistic=(
            "median over examples of Spearman's correlation between the step-to-step changes of "
            "the question's and the answer's loss"
        ),
        measured=bootstrap(found, median),
        relation="<",
        threshold=CONFLICT,
        advice=(
            "Try paraphrase regularisation (--objective paraphrase, on a set with variants), "
            "more slots, or a smaller learning rate"
        ),
    )


def gradients_apart(results: Sequence[Result]) -> Signal:
    """The gradients of question and answer point against each other.

    A cosine a little below 0 at most steps is what runs that do well have, too.
    """
    found = [each["interference"]["cosine"] for each in results if each.get("interference")]
    return Signal(
        name="gradients of question and answer apart",
        statistic=(
            "median over examples of the mean cosine, along the steps, between the gradients of "
            "the question's and the answer's loss in the content"
        ),
        measured=bootstrap(found, median),
        relation="<",
        threshold=CONFLICT,
        advice=(
            "Nothing, where pairs become exact in few steps all the same, as they may from texts; "
            "else give more slots, and compare with --objective project-conflicts, which takes out "
            "what one mode's gradient has against the other's"
        ),
    )


def zero_losses(results: Sequence[Result]) -> Signal:
    """Many examples have no loss left at all, which optimising up to `exact` does not ask for."""
    flags = [
        all(loss_of(result, mode) < ZERO_LOSS for mode in result["losses"])
        for result in results
        if result["losses"]
    ]
    return Signal(
        name="zero loss on many examples",
        statistic=f"share of examples with every mode's final loss below {ZERO_LOSS} nats",
        measured=rate(flags),
        relation=">",
        threshold=MANY_ZERO,
        advice=(
            "Look for leakage (the model has seen these texts), targets of one token, or the "
            "same text in all examples"
        ),
    )
