"""What a joint run came to: convergence, thresholds, health of curves, signals, gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dcm.protocol import health
from dcm.protocol.counting import CERTIFIED, EXACT, SEED_RULE, Counting
from dcm.protocol.gates import Gate
from dcm.protocol.results import Curve, Result, modes_of
from dcm.protocol.rule import first_step
from dcm.protocol.signals import (
    Signal,
    few_converged,
    gradients_apart,
    modes_in_conflict,
    zero_losses,
)
from dcm.protocol.statistics import Estimate, bootstrap, median, rate
from dcm.protocol.thresholds import Graded, full_context_ratios, grade_all
from dcm.running.summary import finite

STOP_BELOW = 0.3
SUCCESS_ABOVE = 0.5
SINGLE_BELOW = 0.7
_POINTS = 60  # of an example curve, kept in the record


@attrs.frozen
class Rates:
    """Shares of a run's examples by each rule, and which of them decides."""

    by: Mapping[str, Estimate]
    decides: str

    @classmethod
    def of(cls, results: Sequence[Result], counting: Counting) -> Rates:
        """Count a run."""
        by = {name: rate(counting.flags(results, name)) for name in (SEED_RULE, EXACT, CERTIFIED)}
        return cls(by, counting.decides)

    @property
    def deciding(self) -> Estimate:
        """The share by the rule that decides."""
        return self.by[self.decides]

    def gate(
        self, stage: str, name: str, relation: str, threshold: float, advice: str, *, stops: bool
    ) -> Gate:
        """A gate on the deciding share."""
        others = {key: each.value for key, each in self.by.items() if key != self.decides}
        return Gate(
            stage=stage,
            name=name,
            measured=self.deciding,
            relation=relation,
            threshold=threshold,
            advice=advice,
            stops=stops,
            counted_by=self.decides,
            also=others,
        )

    def as_json(self) -> dict[str, Any]:
        """rule -> share."""
        return {name: each.as_json() for name, each in self.by.items()}


@attrs.frozen
class JointReport:
    """A run of stage 1 or 2, measured."""

    rates: Rates
    steps_to_exact: Estimate
    steps_to_rule: Estimate
    graded: Sequence[Graded]
    full_context: Mapping[str, Estimate]
    health: Mapping[str, int]
    curves: Mapping[str, Any]
    signals: Sequence[Signal]

    @classmethod
    def of(
        cls, results: Sequence[Result], curves: Mapping[str, Curve], counting: Counting
    ) -> JointReport:
        """Measure a run from its results and curves."""
        rates = Rates.of(results, counting)
        first = [
            first_step(counting.rule, result, curves[result["id"]])
            for result in results
            if result["id"] in curves
        ]
        found = health.healths({result["id"]: curves.get(result["id"], ()) for result in results})
        return cls(
            rates=rates,
            steps_to_exact=bootstrap([float(r["steps"]) for r in results if r["exact"]], median),
            steps_to_rule=bootstrap([float(step) for step in first if step is not None], median),
            graded=grade_all(rates.deciding, results),
            full_context=full_context_ratios(results),
            health=health.counts(found),
            curves={
                name: {"id": id, "points": _thinned(health.total(curves.get(id, ())))}
                for name, id in health.examples(found).items()
            },
            signals=[
                few_converged(counting.flags(results), counting.decides),
                modes_in_conflict(curves),
                gradients_apart(results),
                zero_losses(results),
            ],
        )

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "rates": self.rates.as_json(),
            "decides": self.rates.decides,
            "steps_to_exact": self.steps_to_exact.as_json(),
            "steps_to_rule": self.steps_to_rule.as_json(),
            "thresholds": [each.as_json() for each in self.graded],
            "full_context_ratio": {mode: e.as_json() for mode, e in self.full_context.items()},
            "health": dict(self.health),
            "health_curves": dict(self.curves),
            "signals": [signal.as_json() for signal in self.signals],
        }


def single_gate(mode: str, rates: Rates) -> Gate:
    """Stage 1: one text alone must be reachable."""
    return rates.gate(
        "1",
        f"{mode} alone converges",
        ">=",
        SINGLE_BELOW,
        (
            "The model cannot be steered to one text: check it and its weights, give more slots "
            "or steps, try learning rates from 0.01 to 1, or shorter texts"
        ),
        stops=True,
    )


def joint_gates(rates: Rates) -> list[Gate]:
    """Stage 2: the gate, and the goal."""
    return [
        rates.gate(
            "2",
            "both converge",
            ">=",
            STOP_BELOW,
            (
                "One content does not hold both texts: give more slots, attempts or steps, or "
                "weigh the worse mode more; compare with stage 1"
            ),
            stops=True,
        ),
        rates.gate(
            "2",
            "success, most converge",
            ">",
            SUCCESS_ABOVE,
            "Look at the failed examples in stage 3, and try more slots",
            stops=False,
        ),
    ]


def summary_of(results: Sequence[Result]) -> dict[str, Any]:
    """How many examples finished, how they ended, and the mean losses of each mode."""
    statuses = [result["status"] for result in results]
    losses = {
        mode: bootstrap([r["losses"][mode] for r in results if r["losses"].get(mode) is not None])
        for mode in modes_of(results)
    }
    return {
        "finished": len(results),
        "status_counts": {name: statuses.count(name) for name in sorted(set(statuses))},
        "losses": {mode: each.as_json() for mode, each in losses.items()},
    }


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float | None]]:
    stride = -(-len(points) // _POINTS) if points else 1
    kept = dict([*points[::stride], *points[-1:]])
    return [(step, finite(loss)) for step, loss in kept.items()]
