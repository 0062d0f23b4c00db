"""Gates and data-set thresholds."""

from __future__ import annotations

import pytest

from dcm.protocol.gates import Gate, Verdict, failed
from dcm.protocol.joint import Rates, joint_gates, single_gate
from dcm.protocol.statistics import NOTHING, wilson
from dcm.protocol.thresholds import (
    CONVERGENCE,
    FULL_CONTEXT,
    LOSS_RATIO,
    Grade,
    full_context_ratios,
    grade_all,
    loss_ratio,
)


def gate(successes: int, count: int, relation: str, threshold: float, **more) -> Gate:
    measured = wilson(successes, count) if count else NOTHING
    return Gate("1", "a gate", measured, relation, threshold, "do this", **more)


@pytest.mark.parametrize(
    ("successes", "relation", "threshold", "expected"),
    [
        (7, ">=", 0.7, Verdict.PASSED),
        (6, ">=", 0.7, Verdict.FAILED),
        (5, ">", 0.5, Verdict.FAILED),
        (6, ">", 0.5, Verdict.PASSED),
        (1, "<=", 0.1, Verdict.PASSED),
        (2, "<=", 0.1, Verdict.FAILED),
    ],
)
def test_a_gate_holds_a_number_against_a_threshold(successes, relation, threshold, expected):
    assert gate(successes, 10, relation, threshold).verdict is expected


def test_a_goal_that_is_missed_does_not_stop():
    goal = gate(1, 10, ">", 0.5, stops=False)
    assert goal.verdict is Verdict.MISSED
    assert failed([goal]) == []
    stopping = gate(1, 10, ">", 0.5)
    assert failed([goal, stopping]) == [stopping]


def test_a_gate_on_nothing_measured_is_not_passed():
    assert gate(0, 0, "<=", 0.5).verdict is Verdict.FAILED


def test_a_gate_as_data_gives_advice_only_where_it_is_needed():
    assert gate(10, 10, ">=", 0.7).as_json()["advice"] == ""
    found = gate(1, 10, ">=", 0.7).as_json()
    assert (found["verdict"], found["advice"], found["measured"]["count"]) == (
        "failed",
        "do this",
        10,
    )


def rates(seed_rule: int, exact: int, decides: str) -> Rates:
    shares = {"seed-rule": wilson(seed_rule, 100), "exact": wilson(exact, 100)}
    return Rates({**shares, "certified": wilson(exact, 100)}, decides)


@pytest.mark.parametrize(("exact", "expected"), [(70, "passed"), (69, "failed")])
def test_one_text_alone_must_converge_in_seven_of_ten(exact, expected):
    found = single_gate("answer", rates(100, exact, "exact")).as_json()
    assert (found["verdict"], found["counted_by"]) == (expected, "exact")
    assert found["also"] == {"seed-rule": 1.0, "certified": exact / 100}


@pytest.mark.parametrize(
    ("converged", "expected"),
    [(29, ["failed", "missed"]), (30, ["passed", "missed"]), (51, ["passed", "passed"])],
)
def test_the_joint_run_stops_below_three_of_ten_and_succeeds_above_half(converged, expected):
    gates = joint_gates(rates(converged, 0, "seed-rule"))
    assert [gate.verdict for gate in gates] == expected


@pytest.mark.parametrize(
    ("threshold", "values"),
    [
        (CONVERGENCE, (0.4, 0.41, 0.71, 0.91)),
        (LOSS_RATIO, (0.4, 0.39, 0.24, 0.14)),
        (FULL_CONTEXT, (2.0, 1.99, 1.49, 1.19)),
    ],
)
def test_a_number_is_graded_by_the_steps_it_passes(threshold, values):
    assert [threshold.grade(value) for value in values] == list(Grade)
    assert threshold.grade(None) is Grade.BELOW


def test_the_loss_ratio_by_hand(make):
    # (1 / 5 + 0.5 / 4) / 2 = 0.1625; the second has one usable mode: 3 / 5.
    one = make()
    other = make("b", losses={"question": 3.0, "answer": None})
    assert loss_ratio([one, other]).value == pytest.approx((0.1625 + 0.6) / 2)
    assert loss_ratio([make(losses={})]).value is None


def test_the_full_context_ratios_by_hand_and_the_worse_mode_counts(make):
    # question 1 / 2 and 3 / 2, answer 0.5 / 1 and 0.2 / 1.
    results = [make(), make("b", losses={"question": 3.0, "answer": 0.2})]
    found = full_context_ratios(results)
    assert found["question"].value == pytest.approx(1.0)
    assert found["answer"].value == pytest.approx(0.35)
    graded = {each.threshold.name: each for each in grade_all(wilson(95, 100), results)}
    assert graded["worst mode / full context"].measured == found["question"]
    assert [each.grade for each in graded.values()] == ["excellent", "good", "excellent"]


def test_a_plain_text_that_did_not_fit_counts_for_nothing(make):
    baselines = {"random": {"question": 5.0}, "full_context": {"question": None}}
    graded = grade_all(wilson(1, 1), [make(baselines=baselines)])
    assert graded[2].measured.value is None
    assert graded[2].grade is Grade.BELOW
