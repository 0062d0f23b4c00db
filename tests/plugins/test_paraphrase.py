"""The paraphrase objective."""

from __future__ import annotations

import pytest
import torch

from dcm import Example, Strands, Target
from dcm.solver import solve
from dcm.testing.doubles import TinyGenerator
from dcm_objectives.paraphrase import Paraphrase

EXAMPLE = Example("a", "Who?", "Ada", variants=("By whom?", "Which person?"))


def test_variants_are_targets_with_modes_of_their_own_that_share_the_weight():
    assert Paraphrase(weight=0.5).targets(EXAMPLE) == (
        Target("question", "Who?"),
        Target("answer", "Ada"),
        Target("variant_1", "By whom?", 0.25),
        Target("variant_2", "Which person?", 0.25),
    )


def test_the_loss_is_the_joint_one_and_the_weighted_mean_over_variants():
    objective = Paraphrase(weight=0.5, answer_weight=2.0)
    targets = objective.targets(EXAMPLE)
    strands = Strands(
        row=torch.zeros(4, dtype=torch.int64),
        lead=torch.zeros(4, 1),
        ids=[(0,)] * 4,
        weight=torch.tensor([target.weight for target in targets]),
        rows=1,
    )
    loss = objective.loss(torch.tensor([1.0, 3.0, 4.0, 8.0]), strands)
    assert loss.tolist() == [1.0 + 2 * 3.0 + 0.5 * (4.0 + 8.0) / 2]


def test_only_the_first_variants_are_used_if_asked():
    modes = [target.mode for target in Paraphrase(most=1).targets(EXAMPLE)]
    assert modes == ["question", "answer", "variant_1"]


def test_without_variants_it_is_the_joint_objective():
    targets = Paraphrase().targets(Example("a", "Who?", "Ada"))
    assert targets == (Target("question", "Who?"), Target("answer", "Ada"))


def test_one_content_can_hold_the_question_the_answer_and_the_variants():
    (outcome,) = solve(TinyGenerator(), [EXAMPLE], objective=Paraphrase(), slots=16, max_steps=300)
    assert outcome.exact
    assert set(outcome.losses) == {"question", "answer", "variant_1", "variant_2"}


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"most": 0}, {"question_weight": -1}])
def test_fields_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Paraphrase(**wrong)
