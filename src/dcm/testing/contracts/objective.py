"""What an objective promises."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dcm.example import Example
from dcm.objective import Objective
from dcm.strands import Strands
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.strategies import batches, examples, numbers, strands_of, tensors


class ObjectiveContract(ComponentContract):
    """Targets of an example, and one loss a row that depends on that row alone."""

    kind = "objective"

    @pytest.fixture
    def objective(self) -> Objective:
        raise NotImplementedError("override the fixture `objective`")

    @pytest.fixture
    def component(self, objective: Objective) -> Objective:
        return objective

    @FEW
    @given(example=examples())
    def test_an_example_has_targets(self, objective: Objective, example: Example) -> None:
        targets = objective.targets(example)
        assert isinstance(targets, tuple)
        assert targets
        for target in targets:
            assert target.mode.strip()
            assert target.text.strip()
            assert target.weight > 0

    @FEW
    @given(example=examples())
    def test_targets_are_stable(self, objective: Objective, example: Example) -> None:
        assert objective.targets(example) == objective.targets(attrs.evolve(example))

    @FEW
    @given(batch=batches(), data=st.data())
    def test_there_is_one_loss_a_row(
        self, objective: Objective, batch: list[Example], data: st.DataObject
    ) -> None:
        strands, nll = _scored(objective, batch, data)
        loss = objective.loss(nll, strands)
        assert loss.shape == (len(batch),)
        assert loss.dtype == torch.float32
        assert bool(loss.isfinite().all())

    @FEW
    @given(batch=batches(), data=st.data())
    def test_a_loss_depends_on_its_row_alone(
        self, objective: Objective, batch: list[Example], data: st.DataObject
    ) -> None:
        strands, nll = _scored(objective, batch, data)
        loss = objective.loss(nll, strands)
        for row in range(len(batch)):
            own = strands.row == row
            alone = objective.loss(nll[own], _row(strands, row))
            assert torch.equal(alone, loss[row : row + 1])
            # Not even through a number that is none.
            elsewhere = torch.where(own, nll, torch.nan)
            assert torch.equal(objective.loss(elsewhere, strands)[row], loss[row])

    @FEW
    @given(batch=batches(), data=st.data())
    def test_the_order_of_strands_means_nothing(
        self, objective: Objective, batch: list[Example], data: st.DataObject
    ) -> None:
        strands, nll = _scored(objective, batch, data)
        order = data.draw(st.permutations(range(len(strands))))
        shuffled = objective.loss(nll[order], _strands(strands, order))
        torch.testing.assert_close(shuffled, objective.loss(nll, strands))

    @FEW
    @given(batch=batches(), data=st.data())
    def test_a_row_has_a_gradient_and_no_other_row_is_in_it(
        self, objective: Objective, batch: list[Example], data: st.DataObject
    ) -> None:
        strands, nll = _scored(objective, batch, data)
        nll.requires_grad_()
        loss = objective.loss(nll, strands)
        for row in range(len(batch)):
            (gradient,) = torch.autograd.grad(loss[row], nll, retain_graph=True)
            own = strands.row == row
            assert bool(gradient.isfinite().all())
            assert bool((gradient[own] != 0).any())
            assert bool((gradient[~own] == 0).all())

    @FEW
    @given(batch=batches(), data=st.data())
    def test_a_weight_is_a_factor_of_its_strand(
        self, objective: Objective, batch: list[Example], data: st.DataObject
    ) -> None:
        strands, nll = _scored(objective, batch, data)
        weight = data.draw(tensors(len(strands), elements=numbers(0.25, 4)))
        torch.testing.assert_close(
            objective.loss(nll, attrs.evolve(strands, weight=weight)),
            objective.loss(weight * nll, attrs.evolve(strands, weight=torch.ones(len(strands)))),
        )

    @FEW
    @given(content=st.integers(1, 4).flatmap(lambda rows: tensors(rows, 2, 3)))
    def test_a_penalty_is_one_number_a_row(self, objective: Objective, content: Tensor) -> None:
        content.requires_grad_()
        penalty = objective.penalty(content)
        if penalty is None:
            return
        assert penalty.shape == (len(content),)
        assert bool(penalty.isfinite().all())
        for row in range(len(content)):
            (gradient,) = torch.autograd.grad(penalty[row], content, retain_graph=True)
            others = torch.arange(len(content)) != row
            assert bool(gradient.isfinite().all())
            assert bool((gradient[others] == 0).all())


def _scored(
    objective: Objective, batch: list[Example], data: st.DataObject
) -> tuple[Strands, Tensor]:
    strands = strands_of(objective, batch)
    return strands, data.draw(tensors(len(strands), elements=numbers(0.125, 10)))


def _strands(strands: Strands, places: list[int]) -> Strands:
    return attrs.evolve(
        strands,
        row=strands.row[places],
        lead=strands.lead[places],
        ids=[strands.ids[place] for place in places],
        weight=strands.weight[places],
        modes=[strands.modes[place] for place in places],
        owners=[strands.owners[place] for place in places],
        checked=None if strands.checked is None else strands.checked[places],
    )


def _row(strands: Strands, row: int) -> Strands:
    own = _strands(strands, [place for place, it in enumerate(strands.row.tolist()) if it == row])
    draw = None if own.draw is None else own.draw[row : row + 1]
    nothing = torch.zeros_like(own.row)
    return attrs.evolve(own, row=nothing, owners=nothing.tolist(), rows=1, draw=draw)
