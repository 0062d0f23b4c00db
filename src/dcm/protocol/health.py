"""Health: what a row's loss curve looks like, by written definitions.

A curve is the row's loss, the sum over its modes in nats, at the recorded steps of the kept
attempt. `first`, `last` and `best` are its first, last and smallest value, and the `drop` is
first - best. The definitions are asked in this order, and the first that holds names the curve:

- too-short: fewer than three recorded steps, which have no shape.
- failed-diverged: a value is not finite, or last > 1.1 x first.
- failed-flat: best > 0.9 x first: a tenth of the loss was never gained.
- warning-oscillating: the rises along the curve add up to more than a fifth of the drop.
- healthy-plateau-then-drop: for a stretch of at least 30 % of the steps the best loss so far
  falls by at most a tenth of the drop, and at least two fifths of the drop come after it.
- healthy-monotonic: all others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import accumulate, pairwise

from dcm.protocol.results import Curve

Points = Sequence[tuple[int, float]]
"""(step, loss in nats), by step."""

SHORTEST = 3
DIVERGED = 1.1
FLAT = 0.9
RISES = 0.2
PLATEAU_STEPS = 0.3
PLATEAU_DROP = 0.1
DROP_AFTER = 0.4

_BARS = "▁▂▃▄▅▆▇█"


class Health(StrEnum):
    """What a loss curve looks like."""

    MONOTONIC = "healthy-monotonic"
    PLATEAU = "healthy-plateau-then-drop"
    OSCILLATING = "warning-oscillating"
    FLAT = "failed-flat"
    DIVERGED = "failed-diverged"
    TOO_SHORT = "too-short"


def classify(points: Points) -> Health:
    """The health of a curve, by the definitions of this module."""
    if len(points) < SHORTEST:
        return Health.TOO_SHORT
    losses = [loss for _, loss in points]
    first, best = losses[0], min(losses)
    if not all(map(math.isfinite, losses)) or losses[-1] > DIVERGED * first:
        return Health.DIVERGED
    if best > FLAT * first:
        return Health.FLAT
    drop = first - best
    if sum(max(0.0, after - before) for before, after in pairwise(losses)) > RISES * drop:
        return Health.OSCILLATING
    return Health.PLATEAU if _has_plateau(points, drop) else Health.MONOTONIC


def _has_plateau(points: Points, drop: float) -> bool:
    steps = [step for step, _ in points]
    lowest = list(accumulate((loss for _, loss in points), min))
    length = PLATEAU_STEPS * (steps[-1] - steps[0])
    return any(
        steps[end] - steps[start] >= length
        and lowest[start] - lowest[end] <= PLATEAU_DROP * drop
        and lowest[end] - lowest[-1] >= DROP_AFTER * drop
        for start in range(len(points))
        for end in range(start + 1, len(points))
    )


def total(curve: Curve) -> list[tuple[int, float]]:
    """The sum over the modes of a curve."""
    return [(step, sum(losses.values())) for step, losses in curve]


def healths(curves: Mapping[str, Curve]) -> dict[str, Health]:
    """id -> health."""
    return {id: classify(total(curve)) for id, curve in curves.items()}


def counts(found: Mapping[str, Health]) -> dict[str, int]:
    """How many curves there are of each health; every health is named."""
    counter = Counter(found.values())
    return {health.value: counter[health] for health in Health}


def examples(found: Mapping[str, Health]) -> dict[str, str]:
    """health -> id of an example of it: the first by id, so that a report says the same twice."""
    return {health.value: id for id, health in sorted(found.items(), reverse=True)}


def sparkline(points: Points, width: int = 40) -> str:
    """A curve as a line of bars, steps from left to right, evenly spaced, loss as height."""
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    if not finite:
        return ""
    low, high = min(loss for _, loss in finite), max(loss for _, loss in finite)
    first, last = finite[0][0], finite[-1][0]
    width = min(width, last - first + 1)
    bars = []
    for place in range(width):
        step = first + (last - first) * place / max(1, width - 1)
        loss = next(value for at, value in reversed(finite) if at <= step)
        bars.append(
            _BARS[round((loss - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0]
        )
    return "".join(bars)
