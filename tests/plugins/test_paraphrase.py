"""The paraphrase objective."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from dcm import Example, Strands, Target
from dcm.solver import solve
from dcm.testing.doubles import TinyGenerator
from dcm_objectives.paraphrase import Paraphrase

EXAMPLE = Example(
    "a", "Who?", "Ada", variants={"question": ["By whom?", "Which person?"], "answer": ["Ada L."]}
)


def strands(targets, draw=None):
    """The strands of one row."""
    return Strands(
        row=torch.zeros(len(targets), dtype=torch.int64),
        lead=torch.zeros(len(targets), 1),
        ids=[(number,) for number in range(len(targets))],
        weight=torch.tensor([target.weight for target in targets]),
        rows=1,
        modes=[target.mode for target in targets],
        checked=torch.tensor([target.checked for target in targets]),
        draw=None if draw is None else torch.tensor([draw]),
    )


def loss(objective, *nll, draw=None):
    found = objective.loss(torch.tensor(nll), strands(objective.targets(EXAMPLE), draw))
    return found.item()


def test_variants_stand_under_the_mode_of_their_text_and_are_not_checked():
    assert Paraphrase(weight=0.5, answer_weight=2.0).targets(EXAMPLE) == (
        Target("question", "Who?"),
        Target("answer", "Ada", 2.0),
        Target("question", "By whom?", 0.25, checked=False),
        Target("question", "Which person?", 0.25, checked=False),
        Target("answer", "Ada L.", 1.0, checked=False),
    )


def test_variants_with_modes_of_their_own_are_checked():
    assert Paraphrase(modes="own", most=1).targets(EXAMPLE)[2:] == (
        Target("question_variant_1", "By whom?", 0.5),
        Target("answer_variant_1", "Ada L.", 0.5),
    )


def test_without_variants_it_is_the_joint_objective():
    targets = Paraphrase().targets(Example("a", "Who?", "Ada"))
    assert targets == (Target("question", "Who?"), Target("answer", "Ada"))


@pytest.mark.parametrize("modes", ["shared", "own"])
@pytest.mark.parametrize(
    ("fields", "variants"),
    [
        ({}, (4 + 8) / 2 + 2),
        ({"reduce": "sum"}, 4 + 8 + 2),
        ({"weighting": "worst"}, 8 + 2),
        ({"weighting": "worst", "reduce": "sum"}, 2 * 8 + 2),
        ({"weighting": "softmax", "temperature": 1e6}, (4 + 8) / 2 + 2),
        ({"weighting": "softmax", "temperature": 1e-3}, 8 + 2),
    ],
)
def test_the_loss_is_the_joint_one_and_the_weighted_one_of_the_variants(modes, fields, variants):
    objective = Paraphrase(weight=0.5, modes=modes, **fields)
    found = loss(objective, 1.0, 3.0, 4.0, 8.0, 2.0)
    assert found == pytest.approx(1 + 3 + 0.5 * variants, rel=1e-4)


def test_softmax_gives_more_to_the_variant_with_more_loss():
    share = 1 / (1 + math.exp((4 - 8) / 6))  # of 8 beside 4, whose mean is 6
    found = loss(Paraphrase(weight=1.0, weighting="softmax"), 1.0, 3.0, 4.0, 8.0, 2.0)
    assert found == pytest.approx(1 + 3 + share * 8 + (1 - share) * 4 + 2, rel=1e-5)


def test_a_subset_is_drawn_from_row_and_step_and_all_get_their_turn():
    objective = Paraphrase(weight=1.0, subset=1)
    nll = (1.0, 3.0, 4.0, 8.0, 2.0)
    found = [loss(objective, *nll, draw=draw) for draw in range(1, 200)]
    assert set(found) == {1 + 3 + 4 + 2, 1 + 3 + 8 + 2}
    assert 50 < sum(each == 10 for each in found) < 150
    assert found == [loss(objective, *nll, draw=draw) for draw in range(1, 200)]


def test_a_subset_gives_the_others_no_gradient():
    objective = Paraphrase(subset=1)
    targets = objective.targets(EXAMPLE)
    nll = torch.ones(len(targets), requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.loss(nll, strands(targets, 5)).sum(), nll)
    assert (gradient[2:4] > 0).sum() == 1


def test_a_row_is_done_when_question_and_answer_are_exact_whatever_the_variants():
    (outcome,) = solve(TinyGenerator(), [EXAMPLE], objective=Paraphrase(), slots=16, max_steps=300)
    assert outcome.exact
    assert outcome.status == "CONVERGED"
    assert set(outcome.losses) == {"question", "answer"}
    assert set(outcome.variant_losses) == {"question", "answer"}
    assert all(loss > outcome.losses[mode] for mode, loss in outcome.variant_losses.items())


def test_with_modes_of_their_own_a_content_generates_every_variant():
    objective = Paraphrase(modes="own")
    (outcome,) = solve(TinyGenerator(), [EXAMPLE], objective=objective, slots=16, max_steps=300)
    assert outcome.exact
    assert {"question_variant_1", "question_variant_2", "answer_variant_1"} < set(outcome.losses)


def test_a_row_with_a_random_subset_ends_the_same_alone_and_among_others():
    others = [attrs.evolve(EXAMPLE, id=f"b{number}", answer="Bob") for number in range(3)]
    objective = Paraphrase(subset=1, weighting="softmax")

    def solved(*examples):
        found = solve(TinyGenerator(), examples, objective=objective, slots=8, max_steps=20)
        return {each.example.id: each for each in found}["a"]

    alone, among = solved(EXAMPLE), solved(*others, EXAMPLE)
    assert torch.equal(alone.content, among.content)
    assert alone.steps == among.steps


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0},
        {"most": 0},
        {"question_weight": -1},
        {"subset": 0},
        {"reduce": "max"},
        {"weighting": "best"},
        {"modes": "none"},
        {"temperature": 0},
    ],
)
def test_fields_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Paraphrase(**wrong)
