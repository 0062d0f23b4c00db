"""Quartiles over rows that ended at different steps, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dcm import Example, Outcome, Status
from dcm.running.curves import curve_rows, quartiles
from dcm.running.run_directory import RunDirectory


def outcome(id, losses, mode="answer", attempt=1):
    return Outcome(
        Example(id=id, question="q", answer="a"),
        Status.CONVERGED,
        torch.zeros(1, 1),
        attempts=5,
        attempt=attempt,
        curve=tuple((step, {mode: loss}) for step, loss in losses),
    )


@pytest.fixture
def saved(tmp_path):
    def save(*outcomes):
        run = RunDirectory.create(tmp_path / "run", {})
        run.save_curves(curve_rows(outcomes))
        run.finish({})
        return run.path / "curves.parquet"

    return save


def test_rows_say_which_attempt_the_curve_is_of():
    assert curve_rows([outcome("e", [(1, 3.0), (2, 1.0)], attempt=2)]) == [
        {"id": "e", "attempt": 2, "step": 1, "mode": "answer", "loss": 3.0},
        {"id": "e", "attempt": 2, "step": 2, "mode": "answer", "loss": 1.0},
    ]


def test_a_row_that_ended_counts_with_its_last_loss(saved):
    path = saved(
        outcome("a", [(1, 8.0)]),
        outcome("b", [(1, 6.0), (2, 4.0)]),
        outcome("c", [(1, 4.0), (2, 2.0), (3, 0.0)]),
    )
    found = quartiles(path)
    assert found["loss/answer/median"] == [(1, 6.0), (2, 4.0), (3, 4.0)]
    assert found["loss/answer/lower_quartile"] == [(1, 5.0), (2, 3.0), (3, 2.0)]
    assert found["loss/answer/upper_quartile"] == [(1, 7.0), (2, 6.0), (3, 6.0)]
    assert found["running"] == [(1, 1.0), (2, pytest.approx(2 / 3)), (3, pytest.approx(1 / 3))]


def test_modes_have_their_own_curves(saved):
    found = quartiles(saved(outcome("a", [(1, 1.0)]), outcome("b", [(1, 3.0)], mode="question")))
    assert found["loss/answer/median"] == [(1, 1.0)]
    assert found["loss/question/median"] == [(1, 3.0)]


def test_a_row_that_ends_by_no_number_spoils_nothing(saved):
    path = saved(
        outcome("a", [(1, 2.0), (2, math.nan)]),
        outcome("b", [(1, 4.0), (2, 3.0), (3, 2.0)]),
        outcome("c", [(1, math.inf)]),
    )
    found = quartiles(path)
    assert found["loss/answer/median"] == [(1, 3.0), (2, 2.5), (3, 2.0)]
    assert all(math.isfinite(value) for points in found.values() for _, value in points)


def test_long_curves_are_thinned_from_end_to_end(saved):
    found = quartiles(saved(outcome("a", [(s, 1.0 / s) for s in range(1, 301)])), points=10)
    steps = [step for step, _ in found["loss/answer/median"]]
    assert len(steps) == 10
    assert (steps[0], steps[-1]) == (1, 300)
    assert steps == sorted(steps)
