"""Intervals, against numbers worked out by hand or printed in the literature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.protocol.statistics import (
    bootstrap,
    median,
    paired_difference,
    rate,
    spearman,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe 1998, Stat Med 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes, count, low, high):
    found = wilson(successes, count)
    assert found.value == successes / count
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.count == count


def test_wilson_by_hand():
    # z = 1.96: middle (0.5 + 0.19208) / 1.38416 = 0.5; half 1.96 / 1.38416 x sqrt(.025 + .0096).
    found = wilson(5, 10)
    assert found.low == pytest.approx(0.5 - 0.26341, abs=1e-4)
    assert found.high == pytest.approx(0.5 + 0.26341, abs=1e-4)


@given(count=st.integers(1, 500), data=st.data())
def test_a_rate_lies_in_its_interval_and_that_in_0_to_1(count, data):
    found = wilson(data.draw(st.integers(0, count)), count)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_a_rate_of_nothing_is_none():
    assert rate([]).as_json() == {"value": None, "low": None, "high": None, "count": 0}
    assert bootstrap([]).value is None
    assert rate([True, False, True, True]).value == 0.75


def test_a_bootstrap_is_seeded_and_covers_the_mean():
    values = list(np.random.default_rng(1).normal(5, 2, size=100))
    found = bootstrap(values)
    assert found == bootstrap(values)
    assert found != bootstrap(values, seed=1)
    assert found.value == pytest.approx(np.mean(values))
    # The interval of a mean is about +- 1.96 standard errors.
    error = 1.96 * np.std(values) / 10
    assert found.low == pytest.approx(found.value - error, abs=0.1 * error)
    assert found.high == pytest.approx(found.value + error, abs=0.1 * error)


def test_a_bootstrap_of_equal_values_has_no_width():
    found = bootstrap([3.0, 3.0, 3.0], median)
    assert (found.value, found.low, found.high, found.count) == (3.0, 3.0, 3.0, 3)


def test_the_bootstrap_of_two_values_has_their_three_means():
    # Resamples of {0, 1} have the means 0, 1/2, 1 with 1/4, 1/2, 1/4: the 2.5 % quantile is 0.
    found = bootstrap([0.0, 1.0])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_a_paired_difference_is_of_the_pairs():
    # Pairs differ by 1 each, however much they differ among themselves.
    found = paired_difference([0.0, 100.0, -50.0], [1.0, 101.0, -49.0])
    assert (found.value, found.low, found.high, found.count) == (1.0, 1.0, 1.0, 3)
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


def test_a_large_sample_is_resampled_in_parts():
    found = bootstrap([float(n % 2) for n in range(5_001)])
    assert found.low < 0.4999 < found.high


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [30, 20, 10], -1.0),
        # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 x 4 / (4 x 15) = 0.6.
        ([1, 2, 3, 4], [0.2, 0.1, 0.4, 0.3], 0.6),
        # Ranks 1, 2.5, 2.5 against 1 2 3: 1.5 / sqrt(1.5 x 2).
        ([0, 5, 5], [1, 2, 3], 0.8660254),
    ],
)
def test_spearman_by_hand(first, second, expected):
    assert spearman(first, second) == pytest.approx(expected)


def test_a_constant_side_has_no_correlation():
    assert spearman([1, 1, 1], [1, 2, 3]) is None
