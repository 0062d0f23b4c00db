"""Joint and single objectives: which targets, and how their losses make one number."""

from __future__ import annotations

import pytest
import torch

from dcm import Example, Strands, Target, build, describe, find

EXAMPLE = Example(id="e", question="q?", answer="a", aliases=("b",), variants=("p?",))


def strands(rows, weights):
    return Strands(
        row=torch.tensor(rows),
        lead=torch.zeros(len(rows), 2),
        ids=[(0,)] * len(rows),
        weight=torch.tensor(weights),
        rows=max(rows) + 1,
    )


def test_joint_has_the_question_and_the_answer():
    joint = find("objective", "joint")
    assert joint().targets(EXAMPLE) == (Target("question", "q?"), Target("answer", "a"))
    weighted = joint(question_weight=0.5, answer_weight=3.0)
    assert weighted.targets(EXAMPLE) == (Target("question", "q?", 0.5), Target("answer", "a", 3.0))
    assert build(describe(weighted)) == weighted


@pytest.mark.parametrize("mode", ["question", "answer"])
def test_single_has_one_of_them(mode):
    single = find("objective", "single")(mode=mode)
    (target,) = single.targets(EXAMPLE)
    assert target == Target(mode, getattr(EXAMPLE, mode))
    assert build(describe(single)) == single


@pytest.mark.parametrize("name", ["joint", "single"])
def test_the_loss_is_the_weighted_sum_of_a_rows_own_strands(name):
    nll = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    objective = find("objective", name)()
    loss = objective.loss(nll, strands([0, 1, 0, 1], [1.0, 1.0, 0.5, 2.0]))
    assert loss.tolist() == [3.0, 18.0]
    (gradient,) = torch.autograd.grad(loss[0], nll)
    assert gradient.tolist() == [1.0, 0.0, 0.5, 0.0]
    assert objective.penalty(torch.zeros(2, 1, 2)) is None


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="question_weight"):
        find("objective", "joint")(question_weight=0.0)
    with pytest.raises(ValueError, match="mode"):
        find("objective", "single")(mode="context")
    with pytest.raises(ValueError, match="weight"):
        Target("answer", "a", 0.0)
