"""Health of loss curves, on curves whose label is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.protocol.health import Health, classify, counts, examples, healths, sparkline, total

FIRST = st.floats(0.5, 30)
STEPS = st.integers(12, 400)
JITTER = st.integers(0, 2**16)


def noise(seed: int, step: int, size: float) -> float:
    """A repeatable jitter in +- size."""
    return size * math.sin(12.9898 * step + seed)


@given(first=FIRST, steps=STEPS, left=st.floats(0.001, 0.3), jitter=JITTER)
def test_an_exponential_decay_is_monotonic(first, steps, left, jitter):
    points = [
        (step, first * (left + (1 - left) * math.exp(-6 * step / steps))) for step in range(steps)
    ]
    wavy = [(step, loss * (1 + noise(jitter, step, 1e-4))) for step, loss in points]
    assert classify(points) is Health.MONOTONIC
    assert classify(wavy) is Health.MONOTONIC


@given(first=FIRST, steps=STEPS)
def test_a_straight_fall_is_monotonic(first, steps):
    points = [(step, first * (1 - 0.9 * step / steps)) for step in range(steps + 1)]
    assert classify(points) is Health.MONOTONIC


@given(first=FIRST, steps=st.integers(30, 400), share=st.floats(0.4, 0.8), early=st.floats(0, 0.4))
def test_a_long_flat_stretch_before_much_of_the_drop_is_a_plateau(first, steps, share, early):
    # An early part of the drop at once, nothing for `share` of the steps, then the rest.
    def loss(step: int) -> float:
        if step == 0:
            return first
        if step <= share * steps:
            return first * (1 - 0.8 * early)
        return first * 0.2

    assert classify([(step, loss(step)) for step in range(steps + 1)]) is Health.PLATEAU


@given(first=FIRST, steps=STEPS, best=st.floats(0.91, 1.0), jitter=JITTER)
def test_a_loss_that_hardly_falls_is_flat(first, steps, best, jitter):
    points = [
        (step, first * (1 - (1 - best) * abs(noise(jitter, step, 1)))) for step in range(steps)
    ]
    points[0] = (0, first)
    assert classify(points) is Health.FLAT


@given(first=FIRST, steps=STEPS, factor=st.floats(1.11, 50), dip=st.floats(0, 1))
def test_a_loss_that_ends_above_its_start_has_diverged(first, steps, factor, dip):
    points = [(step, first * (dip if step else 1)) for step in range(steps)]
    points.append((steps, first * factor))
    assert classify(points) is Health.DIVERGED


@given(steps=STEPS, place=st.integers(0, 400), wrong=st.sampled_from([math.nan, math.inf]))
def test_a_value_that_is_not_finite_has_diverged(steps, place, wrong):
    points = [(step, 5 / (1 + step)) for step in range(steps)]
    points[place % steps] = (place % steps, wrong)
    assert classify(points) is Health.DIVERGED


@given(first=FIRST, steps=st.integers(20, 400), depth=st.floats(0.2, 0.7))
def test_a_loss_that_jumps_back_again_and_again_oscillates(first, steps, depth):
    points = [
        (step, first * (0.1 + 0.9 * math.exp(-6 * step / steps)) + first * depth * (step % 2) * 0.5)
        for step in range(steps)
    ]
    assert classify(points) is Health.OSCILLATING


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([10, 5], Health.TOO_SHORT),
        ([], Health.TOO_SHORT),
        ([10, 9.05, 9.01], Health.FLAT),  # best above 9
        ([10, 8.9, 8.8], Health.MONOTONIC),
        ([10, 2, 11.01], Health.DIVERGED),
        ([10, 2, 10.9], Health.OSCILLATING),  # rises 8.9 of a drop of 8
        ([10, 2, 3.5, 2], Health.MONOTONIC),  # rises 1.5, a fifth of 8 is 1.6
        ([10, 2, 3.7, 2], Health.OSCILLATING),
        # Steps 1 to 5 of 0 to 10 fall by 0.8 of a drop of 9, and 7 come after.
        ([10, 8.8, 8.6, 8.4, 8.2, 8, 6, 5, 4, 2, 1], Health.PLATEAU),
        # The same stretch after most of the drop.
        ([10, 3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.0, 1.5, 1], Health.MONOTONIC),
    ],
)
def test_curves_by_hand(losses, expected):
    assert classify(list(enumerate(losses))) is expected


def test_a_plateau_is_measured_in_steps_and_not_in_recorded_points():
    # Two recorded points 60 steps apart, of 100.
    points = [(1, 10.0), (2, 8.0), (62, 7.8), (80, 3.0), (101, 1.0)]
    assert classify(points) is Health.PLATEAU
    assert classify([(n, loss) for n, (_, loss) in enumerate(points)]) is Health.MONOTONIC


def test_counts_name_every_health_and_have_an_example_of_those_that_occur():
    falling = tuple((step, {"question": 5.0 - step, "answer": 1.0}) for step in range(5))
    flat = tuple((step, {"question": 5.0, "answer": 1.0}) for step in range(5))
    assert total(falling)[0] == (0, 6.0)
    found = healths({"b": falling, "a": falling, "c": flat})
    assert counts(found) == {
        "healthy-monotonic": 2,
        "healthy-plateau-then-drop": 0,
        "warning-oscillating": 0,
        "failed-flat": 1,
        "failed-diverged": 0,
        "too-short": 0,
    }
    assert examples(found) == {"healthy-monotonic": "a", "failed-flat": "c"}


def test_a_sparkline_shows_height_over_steps():
    assert sparkline([(1, 8.0), (2, 4.0), (3, 1.0)]) == "█▄▁"
    assert sparkline([(1, 1.0), (5, 0.0)], width=5) == "████▁"
    assert sparkline([(1, 2.0), (2, 2.0)]) == "▁▁"
    assert sparkline([(1, math.nan)]) == ""
