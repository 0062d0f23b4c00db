"""Curves: dense where losses fall fast, thin after that, and always with the last step."""

from __future__ import annotations

import itertools

import pytest

from dcm import Example, find, solve
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective


@pytest.mark.parametrize("max_steps", [1, 15, 16, 17, 40, 173])
def test_curves_are_thinned(max_steps):
    (outcome,) = solve(
        QuadraticGenerator(tolerance=0.0),
        [Example(id="e", question="q", answer="900")],
        objective=QuadraticObjective(),
        optimizer=find("optimizer", "adam")(lr=2.4, hypergradient=0.0),
        slots=1,
        max_steps=max_steps,
    )
    steps = [step for step, _ in outcome.curve]
    assert steps == sorted(set(steps))
    assert steps[:16] == list(range(1, min(16, max_steps) + 1))
    assert steps[-1] == max_steps
    for before, after in itertools.pairwise(steps):
        assert after <= max(before + 1, before * 1.05 + 1)
    assert len(steps) <= 16 + 60
    losses = [point["answer"] for _, point in outcome.curve]
    assert losses == sorted(losses, reverse=True)
