"""results.jsonl lines and summary numbers, against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dcm import Example, Outcome, Status
from dcm.running.summary import finite, result_line, share, summarise

EXAMPLE = Example(id="e", question="q?", answer="a")


def result(status="CONVERGED", steps=1, **changes):
    return {
        "id": "e",
        "status": status,
        "reason": "",
        "steps": steps,
        "row_steps": steps,
        "losses": {},
        "baselines": {},
        "exact": status == "CONVERGED",
        "certified": status == "CONVERGED",
        **changes,
    }


def test_a_line_says_what_the_outcome_says():
    outcome = Outcome(
        EXAMPLE,
        Status.MAX_STEPS,
        torch.zeros(1, 2),
        attempts=3,
        attempt=2,
        steps=7,
        row_steps=30,
        losses={"question": 0.5, "answer": 0.25},
        variant_losses={"question": 2.0},
        cosines=(0.5, -0.25, math.nan),
        exact=True,
        margin=1.5,
        baselines={"random": {"question": 5.0, "answer": math.nan}},
        decoded={"answer": "a"},
        certified=False,
    )
    assert result_line(outcome, {"judge": {"ok": True}}) == {
        "id": "e",
        "status": "MAX_STEPS",
        "reason": "",
        "attempts": 3,
        "steps": 7,
        "row_steps": 30,
        "question": "q?",
        "answer": "a",
        "losses": {"question": 0.5, "answer": 0.25},
        "variant_losses": {"question": 2.0},
        "interference": {"cosine": 0.125, "below_zero": 0.5},
        "baselines": {"random": {"question": 5.0, "answer": None}},
        "exact": True,
        "margin": 1.5,
        "penalty": None,
        "decoded": {"answer": "a"},
        "certified": False,
        "evaluations": {"judge": {"ok": True}},
        "content": None,
    }


@pytest.mark.parametrize("status", [Status.FAILED, Status.NONFINITE])
def test_a_line_of_an_outcome_without_content_is_json(status):
    line = result_line(Outcome(EXAMPLE, status, reason="too long"), {})
    assert line["margin"] is None
    assert line["certified"] is None
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def test_rates_are_shares_of_the_finished_and_steps_those_of_the_converged():
    results = [
        *[result(steps=steps) for steps in (10, 20, 30, 40)],
        result("MAX_STEPS", 500, exact=True, certified=False),
        result("MAX_STEPS", 500),
        result("NONFINITE", 3, certified=None),
        result("FAILED", 0, certified=None, reason="too long: the answer has 300 tokens"),
    ]
    summary = summarise(results, examples=10)
    assert summary["examples"] == 10
    assert summary["finished"] == 8
    assert summary["status_counts"] == {"CONVERGED": 4, "FAILED": 1, "MAX_STEPS": 2, "NONFINITE": 1}
    assert summary["failed_reasons"] == {"too long": 1}
    assert summary["converged_rate"] == 4 / 8
    assert summary["exact_rate"] == 5 / 8
    assert summary["certified_rate"] == 4 / 8
    assert summary["median_steps"] == 25
    assert summary["p90_steps"] == pytest.approx(37)
    assert summary["useful_row_steps"] == 100 + 1000 + 3


def test_the_loss_ratio_is_a_mean_over_examples_of_a_mean_over_modes():
    random = {"random": {"question": 4.0, "answer": 2.0}}
    results = [
        result(losses={"question": 1.0, "answer": 1.5}, baselines=random),  # 0.25 and 0.75
        result(losses={"answer": 0.2}, baselines=random),  # 0.1
        result(losses={"answer": 9.0}),
        result(losses={"answer": 9.0}, baselines={"random": {"answer": None}}),
        result(losses={"answer": None}, baselines=random),
        result("FAILED"),
    ]
    assert summarise(results, 6)["mean_loss_ratio"] == pytest.approx((0.5 + 0.1) / 2)


def test_nothing_gives_no_numbers():
    summary = summarise(iter([]), 3)
    assert summary["finished"] == 0
    assert summary["exact_rate"] == 0.0
    assert summary["median_steps"] is summary["p90_steps"] is summary["mean_loss_ratio"] is None
    assert summarise([result(steps=7)], 1)["median_steps"] == 7
    json.dumps(summary, allow_nan=False)


def test_shares_and_finite_numbers():
    assert (share(1, 4), share(0, 0)) == (0.25, 0.0)
    assert finite(1.5) == 1.5
    assert [finite(value) for value in (math.nan, math.inf, -math.inf)] == [None] * 3


def test_interference_is_the_mean_over_the_examples_that_measured_it():
    measured = [{"cosine": 0.5, "below_zero": 0.25}, None, {"cosine": 0.0, "below_zero": 0.75}]
    summary = summarise((result(interference=each) for each in measured), 3)
    assert summary["interference"] == {"cosine": 0.25, "below_zero": 0.5}
    assert summarise([result()], 1)["interference"] is None
