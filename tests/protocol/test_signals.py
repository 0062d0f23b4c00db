"""Early-stop signals of a run."""

from __future__ import annotations

import pytest

from dcm.protocol.signals import (
    conflict,
    few_converged,
    gradients_apart,
    modes_in_conflict,
    zero_losses,
)


@pytest.mark.parametrize(
    ("verdicts", "fired"),
    [
        ([True] * 9 + [False] * 41, True),  # 18 % of the first 50
        ([True] * 10 + [False] * 40, False),  # 20 %
        ([False] * 49, False),  # too early to say
        ([True] * 10 + [False] * 40 + [False] * 100, False),  # later ones do not count
        ([False] * 50 + [True] * 100, True),
    ],
)
def test_too_few_of_the_first_fifty_stop_the_run(verdicts, fired):
    signal = few_converged(verdicts, "exact")
    assert signal.fired is fired
    assert signal.stops
    assert bool(signal.as_json()["advice"]) is fired


def curve(question, answer):
    return tuple(
        (step, {"question": float(q), "answer": float(a)})
        for step, (q, a) in enumerate(zip(question, answer, strict=True))
    )


def alternating(count: int, phase: int) -> list[float]:
    """A loss that falls by more and by less in turn."""
    losses, loss = [], 100.0
    for step in range(count):
        losses.append(loss)
        loss -= 3 if (step + phase) % 2 else 1 + step / 100
    return losses


def test_conflict_is_the_rank_correlation_of_changes():
    # Both fall all the way, but where one falls fast the other falls slowly.
    against = curve(alternating(12, 0), alternating(12, 1))
    assert conflict(against) < -0.6
    assert conflict(curve(alternating(12, 0), alternating(12, 0))) == pytest.approx(1.0)
    # Eight changes are the fewest.
    assert conflict(curve(alternating(8, 0), alternating(8, 1))) is None
    assert conflict(curve(alternating(9, 0), alternating(9, 1))) is not None
    assert conflict(curve([5.0] * 12, alternating(12, 0))) is None


def test_conflict_needs_both_modes_and_finite_losses():
    single = tuple((step, {"answer": 1.0 / (1 + step)}) for step in range(20))
    assert conflict(single) is None
    broken = curve([float("nan")] * 20, range(20))
    assert conflict(broken) is None


def test_modes_fight_where_the_median_example_does():
    together = curve(alternating(12, 0), alternating(12, 0))
    against = curve(alternating(12, 0), alternating(12, 1))
    assert modes_in_conflict({"a": against, "b": against, "c": together}).fired
    calm = modes_in_conflict({"a": against, "b": together, "c": together})
    assert not calm.fired
    assert calm.measured.value == pytest.approx(1.0)
    assert not modes_in_conflict({}).fired
    assert "paraphrase" in modes_in_conflict({"a": against}).as_json()["advice"]


def test_zero_losses_on_many_examples_warn(make):
    zero = make(losses={"question": 0.0005, "answer": 0.0})
    half = make(losses={"question": 0.0005, "answer": 0.5})
    assert not zero_losses([zero] + [half] * 9).fired  # exactly a tenth
    assert zero_losses([zero, zero] + [half] * 9).fired
    assert not zero_losses([make(losses={})]).fired
    assert not zero_losses([zero]).stops


def test_gradients_are_apart_where_the_cosine_of_the_median_example_says_so(make):
    apart, usual = ({"cosine": cosine, "below_zero": 0.75} for cosine in (-0.5, -0.1))
    fired = gradients_apart([make(interference=each) for each in (apart, apart, usual)])
    assert fired.fired
    assert fired.measured.value == -0.5
    assert "more slots" in fired.as_json()["advice"]
    assert not gradients_apart([make(interference=each) for each in (apart, usual, usual)]).fired
    assert not gradients_apart([make(interference=None), make()]).fired
