"""Trial: what one run came to, in the numbers that runs are compared by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from dcm.protocol.counting import CERTIFIED, EXACT, SEED_RULE, Counting
from dcm.protocol.results import Result, baseline_of, loss_of
from dcm.protocol.statistics import Estimate, bootstrap, median, paired_difference, rate

Encode = Callable[[str], Sequence[int]]


@attrs.frozen
class Trial:
    """One run, measured.

    Attributes:
        rates: "seed-rule", "exact" and "certified" -> share of the finished examples.
        steps_to_exact: median over the exact examples of the step at which the kept attempt was.
        capped_steps: mean over all examples of that step, the budget for those that never were.
        nats_per_slot: mean over all examples of `nats_per_slot`.
        exact: id -> 1.0 or 0.0.
        steps: id -> capped steps.
        nats: id -> nats per slot.
    """

    rates: Mapping[str, Estimate]
    steps_to_exact: Estimate
    capped_steps: Estimate
    nats_per_slot: Estimate
    exact: Mapping[str, float]
    steps: Mapping[str, float]
    nats: Mapping[str, float]

    @classmethod
    def of(
        cls,
        results: Sequence[Result],
        counting: Counting,
        *,
        slots: int,
        max_steps: int,
        encode: Encode,
        key: Callable[[str], str] = str,
    ) -> Trial:
        """Measure a run.

        Args:
            results: its results.
            counting: has the protocol's rule.
            slots: K.
            max_steps: the budget of an attempt.
            encode: the generator's, to count tokens.
            key: makes of an example's id the one by which it is paired with those of other runs.
        """
        steps = {
            key(result["id"]): float(result["steps"] if result["exact"] else max_steps)
            for result in results
        }
        nats = {key(result["id"]): nats_per_slot(result, slots, encode) for result in results}
        return cls(
            rates={by: rate(counting.flags(results, by)) for by in (SEED_RULE, EXACT, CERTIFIED)},
            steps_to_exact=bootstrap(
                [float(result["steps"]) for result in results if result["exact"]], median
            ),
            capped_steps=bootstrap(list(steps.values())),
            nats_per_slot=bootstrap([value for value in nats.values() if math.isfinite(value)]),
            exact={key(result["id"]): float(result["exact"]) for result in results},
            steps=steps,
            nats=nats,
        )

    def as_json(self) -> dict[str, Any]:
        """The numbers over all examples."""
        return {
            **{f"{name}_rate": each.as_json() for name, each in self.rates.items()},
            "steps_to_exact": self.steps_to_exact.as_json(),
            "capped_steps": self.capped_steps.as_json(),
            "nats_per_slot": self.nats_per_slot.as_json(),
        }


def nats_per_slot(result: Result, slots: int, encode: Encode) -> float:
    """Sum over the question and the answer of tokens x (loss under random contents - final loss),
    divided by K: nats. The closing end-of-text token counts. NaN where a loss is missing.

    It is the information gain of Kuratov et al. 2025 (arXiv 2502.13063) with random contents in
    place of no context: what the content saves against one that knows nothing of the texts.
    """
    gains = [
        len(encode(result[mode])) * (baseline_of(result, "random", mode) - loss_of(result, mode))
        for mode in ("question", "answer")
        if mode in result["losses"]
    ]
    return sum(gains) / slots if gains else math.nan


@attrs.frozen
class Difference:
    """Another run minus a first, over the examples that both have.

    Attributes:
        exact_rate: difference of the exact rates.
        steps: difference of the mean capped steps; positive where the other needs more.
        nats_per_slot: difference of the means.
    """

    exact_rate: Estimate
    steps: Estimate
    nats_per_slot: Estimate

    @classmethod
    def between(cls, first: Trial, other: Trial) -> Difference:
        """Pair the runs' examples and take differences."""
        return cls(
            _paired(first.exact, other.exact),
            _paired(first.steps, other.steps),
            _paired(first.nats, other.nats),
        )

    def as_json(self) -> dict[str, Any]:
        """The three differences."""
        return {
            field.name: getattr(self, field.name).as_json() for field in attrs.fields(type(self))
        }


def mean_step_difference(pairs: Sequence[tuple[Trial, Trial]]) -> Estimate:
    """Other minus first in capped steps, averaged for each example over several pairs of runs,
    over the examples that all of them have."""
    if not pairs:
        return bootstrap([])
    shared = [
        id
        for id in pairs[0][0].steps
        if all(id in first.steps and id in other.steps for first, other in pairs)
    ]
    return bootstrap(
        [
            sum(other.steps[id] - first.steps[id] for first, other in pairs) / len(pairs)
            for id in shared
        ]
    )


def _paired(first: Mapping[str, float], other: Mapping[str, float]) -> Estimate:
    shared = [
        id for id in first if id in other and math.isfinite(first[id]) and math.isfinite(other[id])
    ]
    return paired_difference([first[id] for id in shared], [other[id] for id in shared])
