"""The seed rule applied to measured losses, its false convergence, and what decides."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from dcm import Example, Modes, StrandScores
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.counting import Counting
from dcm.protocol.rule import (
    VACUOUS_ABOVE,
    FalseConvergence,
    converged,
    false_convergence,
    first_step,
    judge,
)
from dcm.protocol.statistics import wilson
from dcm.testing.doubles import QuadraticGenerator
from dcm_criteria.exact import Exact
from dcm_criteria.ratios import RatioToRandom, SeedRule
from dcm_objectives.joint import Joint

NAN = math.nan


@pytest.mark.parametrize(
    ("loss", "random", "full_context", "expected"),
    [
        (1.49, 5.0, 0.1, True),  # below 0.3 x 5 = 1.5
        (1.51, 5.0, 0.1, False),
        (3.99, 5.0, 2.0, True),  # below 2 x 2
        (4.01, 5.0, 2.0, False),
        (1.0, 5.0, NAN, True),  # plain text did not fit: the other half decides
        (2.0, 5.0, NAN, False),
        (NAN, 5.0, 2.0, False),
    ],
)
def test_the_seed_rule_is_below_either_bound(loss, random, full_context, expected):
    assert judge(SeedRule(), [{"answer": (loss, random, full_context)}]) == [expected]


def test_every_text_must_pass_each_by_its_own_half():
    near_random, near_text, neither = (1.0, 5.0, 0.1), (3.0, 5.0, 2.0), (4.5, 5.0, 2.0)
    rows = [
        {"question": near_random, "answer": near_text},
        {"question": near_random, "answer": neither},
        {},
    ]
    assert judge(SeedRule(), rows) == [True, False, False]
    assert judge(SeedRule(), [{}, {}]) == [False, False]
    assert judge(RatioToRandom(), rows[:1]) == [False]


def test_results_are_judged_by_their_measured_losses(make):
    # By hand: 1.0 < 0.3 x 5, 0.5 < 0.3 x 4; then 4.1 > 1.5 and > 2 x 2.
    results = [make(), make(losses={"question": 4.1, "answer": 0.5}), make(losses={})]
    assert converged(SeedRule(), results) == [True, False, False]


def test_the_first_step_at_which_it_held(make):
    losses = [(9.0, 9.0), (3.9, 9.0), (3.9, 1.9), (1.0, 1.0)]
    curve = tuple(
        (step, {"question": question, "answer": answer})
        for step, (question, answer) in zip((1, 2, 5, 8), losses, strict=True)
    )
    assert first_step(SeedRule(), make(), curve) == 5
    assert first_step(SeedRule(), make(), curve[:2]) is None


EXAMPLES = [Example(str(n), "a question", "an answer") for n in range(8)]


@attrs.frozen
class Dial(QuadraticGenerator):
    """Scores every content of positive mean 1 nat, any other 9 nats."""

    def score(self, content, strands):
        good = content[strands.row].mean((1, 2)) > 0
        nll = torch.where(good, 1.0, 9.0)
        return StrandScores(nll, good, nll)


def table(random: float, full_context: float) -> BaselineTable:
    kinds = {
        "random": {"question": [random] * 2, "answer": [random] * 2},
        "full_context": {"question": [full_context], "answer": [full_context]},
    }
    return BaselineTable({example.id: kinds for example in EXAMPLES}, {})


def measure(baselines: BaselineTable, draws: int = 50) -> FalseConvergence:
    generator = Dial()
    return false_convergence(
        SeedRule(),
        generator,
        EXAMPLES,
        Joint(),
        baselines,
        Modes(generator),
        slots=2,
        draws=draws,
        seed=0,
    )


def test_a_rule_that_half_of_all_random_contents_pass_is_vacuous():
    found = measure(table(random=5.0, full_context=1.0))
    # 400 fair draws: within four standard errors of a half.
    assert abs(found.rate.value - 0.5) < 0.1
    # The interval is that of 8 examples, not of 400 draws.
    assert found.rate == wilson(8 * found.rate.value, 8)
    assert found.vacuous
    assert found.as_json()["vacuous_above"] == VACUOUS_ABOVE


@pytest.mark.parametrize(("random", "full_context", "expected"), [(5.0, 5.0, 1.0), (3.0, 0.4, 0.0)])
def test_a_rule_that_all_or_none_pass(random, full_context, expected):
    found = measure(table(random, full_context), draws=2)
    assert found.rate.value == expected
    assert found.by_mode["question"].value == expected
    assert found.vacuous is (expected == 1.0)


def test_false_convergence_is_measured_on_other_draws_than_the_baselines():
    generator, seen = Dial(), []
    original = Dial.score

    def record(self, content, strands):
        seen.append(content.clone())
        return original(self, content, strands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dial, "score", record)
        modes = Modes(generator)
        baselines = BaselineTable.measure(
            generator, EXAMPLES, Joint(), modes, slots=2, draws=3, seed=0
        )
        count = len(seen)
        false_convergence(
            SeedRule(), generator, EXAMPLES, Joint(), baselines, modes, slots=2, draws=3, seed=0
        )
    drawn = {tuple(row.flatten().tolist()) for each in seen[:count] for row in each}
    fresh = {tuple(row.flatten().tolist()) for each in seen[count:] for row in each}
    assert len(fresh) == 3 * len(EXAMPLES)
    assert not drawn & fresh


def test_gates_count_exact_examples_where_the_rule_is_vacuous(make):
    vacuous = FalseConvergence(wilson(8, 8), {}, 1)
    sound = FalseConvergence(wilson(0, 8), {}, 1)
    results = [make(exact=False, certified=False), make(certified=False), make(losses={})]
    rule = SeedRule()
    assert Counting.choose(rule, vacuous).decides == "exact"
    assert Counting.choose(rule, sound).decides == "seed-rule"
    assert Counting.choose(rule, vacuous, "seed-rule").decides == "seed-rule"
    assert Counting.choose(rule, vacuous).flags(results) == [False, True, True]
    assert Counting.choose(rule, sound).flags(results) == [True, True, False]
    assert Counting.choose(rule, sound).flags(results, "certified") == [False, False, True]


def test_a_rule_on_tokens_says_nothing_of_losses():
    assert judge(Exact(), [{"answer": (0.0, 5.0, 5.0)}]) == [False]
