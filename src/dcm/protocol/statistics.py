"""Numbers with their counts and intervals: Wilson for rates, a seeded bootstrap for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import attrs
import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000

Statistic = Callable[[Any], Any]
"""An array [..., n] of samples -> [...], reduced over the last axis."""


@attrs.frozen
class Estimate:
    """A number, how many examples it comes from, and its 95 % confidence interval.

    Attributes:
        value: the number; None where there is nothing to compute it from.
        low: lower end of the interval.
        high: upper end of the interval.
        count: how many examples.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int

    def as_json(self) -> dict[str, float | int | None]:
        """`{value, low, high, count}`."""
        return attrs.asdict(self)


NOTHING = Estimate(None, None, None, 0)


def wilson(successes: float, count: int) -> Estimate:
    """A rate with Wilson's score interval (Wilson 1927, JASA 22:209).

    It stays within [0, 1] and is right for rates near 0 and 1, where the usual interval is not.

    Args:
        successes: how many; a mean of several draws of each example need not be whole.
        count: how many examples.
    """
    if not count:
        return NOTHING
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    rate = successes / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (rate * (1 - rate) / count + z * z / (4 * count**2)) ** 0.5
    # Rounding must not put the ends of a rate of 0 or 1 on the wrong side of it.
    return Estimate(
        rate, max(0.0, min(middle - half, rate)), min(1.0, max(middle + half, rate)), count
    )


def rate(flags: Sequence[bool]) -> Estimate:
    """The share of true flags, with Wilson's interval."""
    return wilson(sum(flags), len(flags))


def bootstrap(
    values: Sequence[float], statistic: Statistic | None = None, *, seed: int = 0
) -> Estimate:
    """A statistic of independent values, with its percentile bootstrap interval (Efron 1979).

    Args:
        values: one number an example.
        statistic: reduces the last axis; the mean by default.
        seed: seed of the resamples.
    """
    if not len(values):
        return NOTHING
    reduce = statistic or mean
    sample = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(seed)
    # In parts: ten thousand resamples of a large run would not fit into memory.
    part = max(1, 2_000_000 // len(sample))
    found = [
        reduce(sample[draw.integers(len(sample), size=(min(part, RESAMPLES - start), len(sample)))])
        for start in range(0, RESAMPLES, part)
    ]
    low, high = np.quantile(np.concatenate(found), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(reduce(sample)), float(low), float(high), len(sample))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0
) -> Estimate:
    """The mean of `second - first`, pair by pair, resampled by pairs.

    Raises:
        ValueError: they are not of one length.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    return bootstrap(differences, seed=seed)


def mean(values: Any) -> Any:
    """The mean over the last axis."""
    return np.mean(values, axis=-1)


def median(values: Any) -> Any:
    """The median over the last axis."""
    return np.median(values, axis=-1)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where a side is constant."""
    one, two = _ranks(first), _ranks(second)
    one, two = one - one.mean(), two - two.mean()
    size = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return float((one * two).sum()) / size if size else None


def _ranks(values: Sequence[float]) -> Any:
    _, place, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
